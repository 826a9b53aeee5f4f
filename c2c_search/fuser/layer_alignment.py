"""Fuser room: which sharer layers feed which receiver layer."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import torch


Sources = list[list[int]]
"""For each receiver layer, the sharer layers that feed it."""

AlignmentFunction = Callable[[int, int, int, "torch.Tensor | None"], Sources]
"""``(receiver_layers, sharer_layers, count, similarity) -> Sources``, ``count`` a layer."""

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


def nearest(centre: int, count: int, total: int) -> list[int]:
    """``count`` layers around ``centre``, itself first, then by distance, the lower one first."""
    by_distance = sorted(range(total), key=lambda layer: (abs(layer - centre), layer))
    return by_distance[: min(count, total)]


@layer_alignment("terminal", reference="C2C (arXiv 2510.03215), `last_aligned`")
def terminal(
    receiver_layers: int, sharer_layers: int, count: int, similarity: torch.Tensor | None
) -> Sources:
    """Last layer to last layer, and so on downwards; what is left over takes the first."""
    shift = sharer_layers - receiver_layers
    return [
        nearest(max(0, layer + shift), count, sharer_layers) for layer in range(receiver_layers)
    ]


@layer_alignment("proportional", reference="C2C (arXiv 2510.03215), `k_nearest`")
def proportional(
    receiver_layers: int, sharer_layers: int, count: int, similarity: torch.Tensor | None
) -> Sources:
    """The sharer layers at the same relative depth."""
    return [
        nearest(_proportional_layer(layer, receiver_layers, sharer_layers), count, sharer_layers)
        for layer in range(receiver_layers)
    ]


@layer_alignment("similarity", reference="linear CKA, Kornblith et al. 2019 (arXiv 1905.00414)")
def similarity(
    receiver_layers: int, sharer_layers: int, count: int, similarity: torch.Tensor | None
) -> Sources:
    """The sharer layers whose prompt caches are most alike (linear CKA) on calibration prompts.

    Raises:
        ValueError: ``similarity`` of shape ``(receiver_layers, sharer_layers)`` is missing.
    """
    if similarity is None:
        raise ValueError("similarity alignment needs the CKA of the pair's calibration prompts")
    best = similarity.topk(min(count, sharer_layers), dim=1).indices
    return [[int(source) for source in sources] for sources in best]


@layer_alignment("learned", reference="softmax over a window of sharer layers, this project")
def learned(
    receiver_layers: int, sharer_layers: int, count: int, similarity: torch.Tensor | None
) -> Sources:
    """A window of sharer layers around the proportional one; the fuser learns their weights.

    The proportional layer comes first, so that the weights can start there.
    """
    return proportional(receiver_layers, sharer_layers, count, similarity)


@layer_alignment("explicit", reference="a map given layer by layer, as a published checkpoint's")
def explicit(
    receiver_layers: int, sharer_layers: int, count: int, similarity: torch.Tensor | None
) -> Sources:
    """A map that is stored with the fuser and cannot be made from the pair.

    Raises:
        ValueError: Always: the sources must be given.
    """
    raise ValueError("explicit alignment must be given its sources, it is not made from the pair")


def _proportional_layer(layer: int, receiver_layers: int, sharer_layers: int) -> int:
    if receiver_layers == 1:
        return sharer_layers - 1
    return round(layer * (sharer_layers - 1) / (receiver_layers - 1))


def linear_cka(parts: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Linear CKA between every receiver layer and every sharer layer.

    Args:
        parts: The tokens, some at a time: features of shape ``(receiver_layers, tokens,
            receiver_size)``, and those of the aligned tokens, ``(sharer_layers, tokens,
            sharer_size)``.

    Returns:
        Similarities in [0, 1], shape ``(receiver_layers, sharer_layers)``.

    Source: Kornblith et al. 2019 (arXiv 1905.00414), equation 4 with linear kernels.
    """
    from c2c_search.fuser.moments import Products

    own, heard, both = Products(), Products(), Products()
    for receiver, sharer in parts:
        receiver, sharer = receiver.float(), sharer.float()
        # Every layer with itself alone, but with every layer of the other model at once.
        own.add(receiver, receiver)
        heard.add(sharer, sharer)
        both.add(_in_one(receiver), _in_one(sharer))
        layers = len(receiver), len(sharer)
    squares = both.centred()[0].square()
    cross = squares.unflatten(1, (layers[1], -1)).unflatten(0, (layers[0], -1)).sum(dim=(1, 3))
    norms = own.centred().norm(dim=(1, 2))[:, None] * heard.centred().norm(dim=(1, 2))[None, :]
    return cross / norms.clamp_min(1e-12)


def _in_one(features: torch.Tensor) -> torch.Tensor:
    """``(layers, tokens, size)`` to ``(1, tokens, layers * size)``."""
    return features.transpose(0, 1).flatten(1)[None]
