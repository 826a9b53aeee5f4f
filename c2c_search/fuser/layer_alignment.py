"""Which sharer layers feed which receiver layer."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import TypeVar

from c2c_search.plugins import Register


if TYPE_CHECKING:
    import torch


Sources = list[list[int]]
"""For each receiver layer, the sharer layers that feed it."""

AlignmentFunction = Callable[[int, int, int, "torch.Tensor | None"], Sources]
"""``(receiver_layers, sharer_layers, count, similarity) -> Sources``, ``count`` a layer."""

Features = Callable[[], Iterable[tuple["torch.Tensor", "torch.Tensor"]]]
"""Gives features of both models' layers, some tokens at a time; see `linear_cka`."""

_LARGEST_MATRIX = 2**25  # numbers, 134 MB in float32

_Function = TypeVar("_Function", bound=AlignmentFunction)


@dataclass(frozen=True)
class LayerAlignment:
    """A layer alignment; see `layer_alignment` for what is declared."""

    name: str
    reference: str
    align: AlignmentFunction
    measured: bool
    learned: bool
    stored: bool


LAYER_ALIGNMENTS: Register[LayerAlignment] = Register("layer alignment", {})


def layer_alignment(
    name: str,
    *,
    reference: str,
    measured: bool = False,
    learned: bool = False,
    stored: bool = False,
) -> Callable[[_Function], _Function]:
    """Declare a layer alignment.

    Args:
        name: As in ``fuser.layer_alignment``.
        reference: Where it comes from: a paper, or whose idea it is.
        measured: Whether it needs the similarity of the layers, which calibration prompts give;
            without it, it raises a ValueError that says so.
        learned: Whether its layers are a window of ``alignment_window``, of which the fuser
            learns the weights; the first one's begins highest.
        stored: Whether the map is given with the weights and cannot be made from the pair: it
            always raises a ValueError.

    Raises:
        ConfigError: The name is taken.
    """

    def register(function: _Function) -> _Function:
        declared = LayerAlignment(name, reference, function, measured, learned, stored)
        LAYER_ALIGNMENTS.add(name, function, declared)
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


@layer_alignment(
    "similarity",
    reference="linear CKA, Kornblith et al. 2019 (arXiv 1905.00414)",
    measured=True,
)
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


@layer_alignment(
    "learned", reference="softmax over a window of sharer layers, this project", learned=True
)
def learned(
    receiver_layers: int, sharer_layers: int, count: int, similarity: torch.Tensor | None
) -> Sources:
    """A window of sharer layers around the proportional one; the fuser learns their weights.

    The proportional layer comes first, so that the weights can start there.
    """
    return proportional(receiver_layers, sharer_layers, count, similarity)


@layer_alignment(
    "explicit", reference="a map given layer by layer, as a published checkpoint's", stored=True
)
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


def linear_cka(parts: Features) -> torch.Tensor:
    """Linear CKA between every receiver layer and every sharer layer.

    Args:
        parts: Gives the tokens, some at a time, anew at every call: features of shape
            ``(receiver_layers, tokens, receiver_size)``, and those of the aligned tokens,
            ``(sharer_layers, tokens, sharer_size)``.

    Returns:
        Similarities in [0, 1], shape ``(receiver_layers, sharer_layers)``.

    Source: Kornblith et al. 2019 (arXiv 1905.00414), equation 4 with linear kernels.
    """
    import torch

    from c2c_search.fuser.moments import Products

    of_receiver, of_sharer = Products(), Products()
    for receiver, sharer in parts():
        of_receiver.add(receiver.float(), receiver.float())
        of_sharer.add(sharer.float(), sharer.float())
        (layers, _, size), others = receiver.shape, sharer.shape
    # Every layer of one model with every layer of the other is one matrix, and a large one.
    at_once = max(1, _LARGEST_MATRIX // (size * others[0] * others[2]))
    cross = []
    for first in range(0, layers, at_once):
        both = Products()
        for receiver, sharer in parts():
            few = receiver[first : first + at_once]
            both.add(_in_one(few.float()), _in_one(sharer.float()))
        squares = both.centred()[0].square_()
        by_layer = squares.unflatten(1, (others[0], -1)).unflatten(0, (-1, size))
        cross.append(by_layer.sum(dim=(1, 3)))
    rows, columns = (products.centred().norm(dim=(1, 2)) for products in (of_receiver, of_sharer))
    return torch.cat(cross) / (rows[:, None] * columns[None, :]).clamp_min(1e-12)


def _in_one(features: torch.Tensor) -> torch.Tensor:
    """``(layers, tokens, size)`` to ``(1, tokens, layers * size)``."""
    return features.transpose(0, 1).flatten(1)[None]
