"""Fuser room: closed-form maps from the sharer's features to the receiver's, and their error."""

from __future__ import annotations

import torch


def fit(
    inputs: torch.Tensor, targets: torch.Tensor, penalty: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ridge regression with an intercept, one for each group.

    Args:
        inputs: ``(groups, tokens, inputs)``.
        targets: ``(groups, tokens, outputs)``.
        penalty: Of the squared weights, relative to the mean variance of an input feature.

    Returns:
        Weights ``(groups, inputs, outputs)`` and intercepts ``(groups, 1, outputs)``, in float32.

    Source: arXiv 2608.03893, here over all heads of a layer at once.
    """
    # On the CPU: not every accelerator computes in float64, and it is done once a trial.
    x, y = inputs.cpu().double(), targets.cpu().double()
    x_mean, y_mean = x.mean(dim=1, keepdim=True), y.mean(dim=1, keepdim=True)
    x, y = x - x_mean, y - y_mean
    gram = x.transpose(1, 2) @ x
    scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-12)
    gram = gram + torch.diag_embed((penalty * scale)[:, None].expand(-1, gram.shape[-1]))
    # Not `torch.linalg.solve`: its batched LU fails after `torch.set_num_threads` (torch 2.13 with
    # MKL), and the matrix is symmetric and positive.
    factor = torch.linalg.cholesky(gram)
    weight = torch.cholesky_solve(x.transpose(1, 2) @ y, factor)
    bias = y_mean - x_mean @ weight
    return weight.float().to(inputs.device), bias.float().to(inputs.device)


def factorise(
    weight: torch.Tensor, inputs: torch.Tensor, rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best map of a lower rank, measured by what it says on the inputs.

    Args:
        weight: ``(groups, inputs, outputs)``, of `fit`.
        inputs: ``(groups, tokens, inputs)`` that the fit was made from.
        rank: Of the factors.

    Returns:
        ``(groups, inputs, rank)`` and ``(groups, rank, outputs)``, zeros beyond the true rank.

    Source: reduced-rank regression (Izenman 1975): project on the fitted values' main directions.
    """
    centred = inputs.float() - inputs.float().mean(dim=1, keepdim=True)
    fitted = centred @ weight
    covariance = (fitted.transpose(1, 2) @ fitted).cpu().double()
    directions = torch.linalg.eigh(covariance).eigenvectors.flip(-1)[..., :rank]
    directions = directions.float().to(weight.device)
    missing = rank - directions.shape[-1]
    directions = torch.nn.functional.pad(directions, (0, missing))
    return weight @ directions, directions.transpose(1, 2)
