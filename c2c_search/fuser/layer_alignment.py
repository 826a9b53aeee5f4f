"""Fuser room: which sharer layers feed which receiver layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import torch


Sources = list[list[int]]
"""For each receiver layer, the sharer layers that feed it."""

AlignmentFunction = Callable[[int, int, int, "torch.Tensor | None"], Sources]
"""``(receiver_layers, sharer_layers, window, similarity) -> Sources``."""

LAYER_ALIGNMENTS: dict[str, AlignmentFunction] = {}
REFERENCES: dict[str, str] = {}


def layer_alignment(
    name: str, *, reference: str
) -> Callable[[AlignmentFunction], AlignmentFunction]:
    """Register a layer alignment under ``name``; ``reference`` says where it comes from."""

    def register(function: AlignmentFunction) -> AlignmentFunction:
        LAYER_ALIGNMENTS[name] = function
        REFERENCES[name] = reference
        return function

    return register


def _proportional_layer(layer: int, receiver_layers: int, sharer_layers: int) -> int:
    if receiver_layers == 1:
        return sharer_layers - 1
    return round(layer * (sharer_layers - 1) / (receiver_layers - 1))


@layer_alignment("terminal", reference="C2C (arXiv 2510.03215), `last_aligned`")
def terminal(
    receiver_layers: int, sharer_layers: int, window: int, similarity: torch.Tensor | None
) -> Sources:
    """Last layer to last layer, and so on downwards; what is left over takes the first."""
    shift = sharer_layers - receiver_layers
    return [[max(0, layer + shift)] for layer in range(receiver_layers)]


@layer_alignment("proportional", reference="C2C (arXiv 2510.03215), `k_nearest`")
def proportional(
    receiver_layers: int, sharer_layers: int, window: int, similarity: torch.Tensor | None
) -> Sources:
    """The sharer layer at the same relative depth."""
    return [
        [_proportional_layer(layer, receiver_layers, sharer_layers)]
        for layer in range(receiver_layers)
    ]


@layer_alignment("similarity", reference="linear CKA, Kornblith et al. 2019 (arXiv 1905.00414)")
def similarity(
    receiver_layers: int, sharer_layers: int, window: int, similarity: torch.Tensor | None
) -> Sources:
    """The sharer layer whose prompt caches are most alike (linear CKA) on calibration prompts.

    Raises:
        ValueError: ``similarity`` of shape ``(receiver_layers, sharer_layers)`` is missing.
    """
    if similarity is None:
        raise ValueError("similarity alignment needs the CKA of the pair's calibration prompts")
    return [[int(best)] for best in similarity.argmax(dim=1)]


@layer_alignment("learned", reference="softmax over a window of sharer layers, this project")
def learned(
    receiver_layers: int, sharer_layers: int, window: int, similarity: torch.Tensor | None
) -> Sources:
    """A window of sharer layers around the proportional one; the fuser learns their weights.

    The proportional layer comes first, so that the weights can start there.
    """
    window = min(window, sharer_layers)
    sources = []
    for layer in range(receiver_layers):
        centre = _proportional_layer(layer, receiver_layers, sharer_layers)
        low = min(max(0, centre - window // 2), sharer_layers - window)
        others = [source for source in range(low, low + window) if source != centre]
        sources.append([centre, *others])
    return sources


def linear_cka(receiver: torch.Tensor, sharer: torch.Tensor) -> torch.Tensor:
    """Linear CKA between every receiver layer and every sharer layer.

    Args:
        receiver: Features of shape ``(receiver_layers, tokens, receiver_size)``.
        sharer: Features of the aligned tokens, ``(sharer_layers, tokens, sharer_size)``.

    Returns:
        Similarities in [0, 1], shape ``(receiver_layers, sharer_layers)``.

    Source: Kornblith et al. 2019 (arXiv 1905.00414), equation 4 with linear kernels.
    """
    import torch

    receiver = receiver - receiver.mean(dim=1, keepdim=True)
    sharer = sharer - sharer.mean(dim=1, keepdim=True)

    def self_norm(features: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.linalg.matrix_norm(x.T @ x) for x in features])

    cross = torch.stack(
        [torch.stack([torch.linalg.matrix_norm(r.T @ s) ** 2 for s in sharer]) for r in receiver]
    )
    return cross / (self_norm(receiver)[:, None] * self_norm(sharer)[None, :]).clamp_min(1e-12)
