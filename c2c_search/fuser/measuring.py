"""What calibration prompts tell a fuser: its layers, their scale, and maps in closed form."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch

from c2c_search.fuser.calibration_part import CalibrationPart
from c2c_search.fuser.layer_alignment import linear_cka
from c2c_search.fuser.layers import aligned_sources
from c2c_search.fuser.layers import given_sources
from c2c_search.fuser.moments import ChannelMoments
from c2c_search.fuser.moments import HeadMoments
from c2c_search.fuser.moments import Moments
from c2c_search.fuser.moments import Regression


if TYPE_CHECKING:
    from c2c_search.fuser.fuser import Fuser


Parts = Callable[[], Iterable[CalibrationPart]]
"""Gives the prompts, some at a time, anew at every call."""


def choose_layers(fuser: Fuser, parts: Parts, scores: torch.Tensor | None) -> None:
    """Which layers are fused, and which feed them, where calibration prompts decide.

    Args:
        fuser: Its ``layers`` and ``sources`` are set.
        parts: The prompts.
        scores: How well each receiver layer can be told from the sharer, ``(receiver_layers,)``.

    Raises:
        ValueError: Scores are needed and missing.
    """
    config = fuser.config
    if config.scores_layers:
        if scores is None:
            raise ValueError("layers attention needs the scores of all layers")
        fuser.layers = sorted(scores.topk(len(fuser.layers)).indices.tolist())
    cka = None
    if config.aligned.measured:
        both = [partial(_of_kind, parts, kind) for kind in range(2)]
        cka = torch.stack([linear_cka(features) for features in both]).mean(dim=0)
    depths = fuser.receiver_shape.layers, fuser.sharer_shape.layers
    if given_sources(config, depths[1]) is None and not config.aligned.stored:
        fuser.sources.copy_(torch.tensor(aligned_sources(config, fuser.layers, depths, cka)))


def measure_channels(fuser: Fuser, parts: Parts) -> None:
    """Mean and spread of every channel that a fuser brings to scale."""
    of_receiver, of_sharer = ChannelMoments(), ChannelMoments()
    few = fuser.few_sources()
    for part in parts():
        of_receiver.add(_fused_unrotated(fuser, part))
        of_sharer.add(fuser.unrotated_sources(part.sharer, part.rotations))
    fuser.receiver_norm.calibrate(of_receiver)
    fuser.sharer_norm.calibrate(of_sharer, few)


def fit_map(fuser: Fuser, parts: Parts) -> None:
    """Give the projector the map in closed form; see `ridge`."""
    if fuser.config.ridge_weighting == "attention":
        heads = fuser.receiver_shape.heads, fuser.receiver_shape.head_dim
        fuser.projector.fit(HeadMoments(partial(_regressions, fuser, parts), *heads))
        return
    moments = Moments()
    for each in _regressions(fuser, parts):
        moments.add(each.inputs, each.targets)
    fuser.projector.fit(moments)


def _regressions(fuser: Fuser, parts: Parts) -> Iterator[Regression]:
    for part in parts():
        features = fuser.aligned(part.sharer, part.rotations, torch.float32)
        targets = fuser.receiver_norm(_fused_unrotated(fuser, part).float())
        attention = None if part.attention is None else part.attention[fuser.layers]
        yield Regression(*fuser.projector.regression(features, targets), attention)


def _fused_unrotated(fuser: Fuser, part: CalibrationPart) -> torch.Tensor:
    """The receiver's caches of the fused layers, as the projector is to tell them."""
    return fuser.unrotated(part.receiver[:, fuser.layers], part.rotations)


def _of_kind(parts: Parts, kind: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Keys (0) or values (1) of both models."""
    for part in parts():
        yield part.receiver[kind], part.sharer.expand(2, -1, -1, -1)[kind]
