"""Closed-form maps from the sharer's features to the receiver's."""

from __future__ import annotations

import torch

from c2c_search.fuser.moments import HeadMoments
from c2c_search.fuser.moments import Moments


def fit(moments: Moments, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Ridge regression with an intercept, one for each group.

    Args:
        moments: Of inputs and targets; each head has a map of its own
            where heads weigh tokens (`HeadMoments`).
        penalty: Of the squared weights, relative to the mean variance of an input feature.

    Returns:
        Weights ``(groups, inputs, outputs)`` and intercepts ``(groups, 1, outputs)``, in float32
        on the CPU.

    Source: arXiv 2608.03893, here over all heads of a layer at once; by heads, each weighing
    tokens by its attention: CacheBridge (arXiv 2609.00891).
    """
    if isinstance(moments, HeadMoments):
        return _fit_heads(moments, penalty)
    gram = moments.gram()
    scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-12)
    gram = gram + torch.diag_embed((penalty * scale)[:, None].expand(-1, gram.shape[-1]))
    # Not `torch.linalg.solve`: its batched LU fails after `torch.set_num_threads` (torch 2.13 with
    # MKL), and the matrix is symmetric and positive.
    weight = torch.cholesky_solve(moments.cross(), torch.linalg.cholesky(gram))
    input_mean, target_mean = moments.means()
    bias = target_mean - input_mean @ weight
    return weight.float(), bias.float()


def _fit_heads(moments: HeadMoments, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    fits = [fit(moments.of_head(head), penalty) for head in range(moments.heads)]
    weight, bias = (
        torch.stack([each.unflatten(-1, (-1, moments.head_dim)) for each in of_heads], dim=-2)
        for of_heads in zip(*fits, strict=True)
    )
    return weight.flatten(-3), bias.flatten(-3)


def factorise(
    weight: torch.Tensor, moments: Moments, rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best map of a lower rank, measured by what it says on the inputs.

    Args:
        weight: ``(groups, inputs, outputs)``, of `fit`.
        moments: Those that the fit was made from.
        rank: Of the factors.

    Returns:
        ``(groups, inputs, rank)`` and ``(groups, rank, outputs)``, zeros beyond the true rank.

    Source: reduced-rank regression (Izenman 1975): project on the fitted values' main directions.
    """
    exact = weight.double()
    fitted = exact.transpose(1, 2) @ moments.gram() @ exact
    directions = torch.linalg.eigh(fitted).eigenvectors.flip(-1)[..., :rank].float()
    missing = rank - directions.shape[-1]
    directions = torch.nn.functional.pad(directions, (0, missing))
    return weight @ directions, directions.transpose(1, 2)
