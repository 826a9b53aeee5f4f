"""A made-up pair of models' caches, and fusers between them, for the suites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError

from c2c_search.fuser.calibration_part import CalibrationPart
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.lora import Update
from c2c_search.fuser.pooling import window_middles
from c2c_search.fuser.rotations import Rotations
from c2c_search.fuser.shapes import AttentionMap
from c2c_search.fuser.shapes import CacheShape


MAPS = (
    AttentionMap(role="output", inputs=18, outputs=10),
    AttentionMap(role="query", inputs=10, outputs=18),
    AttentionMap(role="value", inputs=10, outputs=12),
)
RECEIVER = CacheShape(layers=4, heads=2, head_dim=6, projections=MAPS)
SHARER = CacheShape(layers=3, heads=1, head_dim=10, hidden_size=14)
_SCORES = (0.1, 0.9, 0.3, 0.8)


@dataclass(frozen=True)
class Turned:
    """Stands in for RoPE: turns the numbers of a key round by its token's position, in pairs."""

    positions: torch.Tensor

    def _turn(self, keys: torch.Tensor, sign: int) -> torch.Tensor:
        angle = (sign * self.positions[:, None]).to(keys.dtype)
        first, second = keys.chunk(2, dim=-1)
        cos, sin = torch.cos(angle), torch.sin(angle)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)

    def apply(self, keys: torch.Tensor) -> torch.Tensor:
        return self._turn(keys, 1)

    def undo(self, keys: torch.Tensor) -> torch.Tensor:
        return self._turn(keys, -1)

    def select(self, layers: torch.Tensor) -> Turned:
        return self

    def take(self, tokens: torch.Tensor) -> Turned:
        return Turned(self.positions[tokens])

    def to(self, device: torch.device) -> Turned:
        return self


def rotations(
    config: FuserConfig, tokens: int, first: int = 0, lengths: Sequence[int] | None = None
) -> Rotations | None:
    """Of tokens at the positions from ``first``; None where keys stay rotated.

    Args:
        config: Of the fuser.
        tokens: Of both models.
        first: Position of the first.
        lengths: Tokens of each prompt; one prompt when left out.
    """
    if config.keys == "rotated":
        return None
    positions = entries = torch.arange(first, first + tokens)
    if config.slots is not None:
        of_prompts = positions.split([tokens] if lengths is None else list(lengths))
        entries = torch.cat([window_middles(each, config.slots) for each in of_prompts])
    return Rotations(Turned(entries), Turned(positions) if config.source == "kv" else None)


def caches(
    tokens: int = 7, *, seed: int = 0, linear: bool = False, config: FuserConfig | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random caches of receiver and sharer, or, where a fuser hears them, the sharer's states.

    Args:
        tokens: Of both.
        seed: Of the numbers.
        linear: Whether the receiver's is an affine map of the sharer's, layer by layer from its
            terminal counterpart.
        config: Of the fuser that hears them; one that hears keys and values when left out.
    """
    generator = torch.Generator().manual_seed(seed)
    source = "kv" if config is None else config.source
    kinds, size = 2 if source == "kv" else 1, SHARER.heard_size(source)
    sharer = 5 + 3 * torch.randn(kinds, SHARER.layers, tokens, size, generator=generator)
    if linear:
        maps = torch.randn(2, RECEIVER.layers, SHARER.size, RECEIVER.size, generator=generator)
        return sharer[:, [0, 0, 1, 2]] @ maps + 1, sharer
    receiver = torch.randn(2, RECEIVER.layers, tokens, RECEIVER.size, generator=generator)
    return receiver, sharer


def calibrated(config: FuserConfig) -> Fuser:
    """A fuser as training begins with it."""
    torch.manual_seed(0)
    fuser = Fuser(config, RECEIVER, SHARER)
    aligned = config.model_copy(update={"slots": None})
    received = torch.linspace(0.1, 2, RECEIVER.layers * RECEIVER.heads * 50)
    attention = received.view(RECEIVER.layers, RECEIVER.heads, 50)
    both = caches(50, seed=1, config=config)
    part = CalibrationPart(*both, rotations(aligned, 50), attention)
    fuser.calibrate(lambda: [part], layer_scores=torch.tensor(_SCORES))
    return fuser


def trained(config: FuserConfig) -> Fuser:
    """A fuser whose output map is not at its zero start any more."""
    fuser = calibrated(config)
    with torch.no_grad():
        for parameter in fuser.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return fuser


def updates(fuser: Fuser) -> list[tuple[Update, int]]:
    """Every update of a LoRA, with the size of what it reads; none without one."""
    if fuser.lora is None:
        return []
    sizes = {each.role: each.inputs for each in MAPS}
    return [
        (update, sizes[role])
        for role, of_layers in fuser.lora.updates().items()
        for update in of_layers
    ]


def shut(fuser: Fuser, groups: Sequence[int]) -> None:
    """Shut the gates of some groups: the layers' keys, if they have any, and then their values.

    Their rows become those of a gate that begins at logit -10,000: sigmoid underflows to 0. Where
    tanh opens the gate, they become 0.
    """
    gate = fuser.config.gate.model_copy(update={"initial_logit": -1e4})
    closed = Fuser(
        fuser.config.model_copy(update={"gate": gate}),
        fuser.receiver_shape,
        fuser.sharer_shape,
        layers=fuser.layers,
        sources=fuser.sources.tolist(),
    )
    assert fuser.gate is not None
    assert closed.gate is not None
    others = dict(closed.gate.named_parameters())
    chosen = list(groups)
    with torch.no_grad():
        for name, parameter in fuser.gate.named_parameters():
            of_tanh = fuser.config.gate.rule == "tanh"
            parameter[chosen] = 0.0 if of_tanh else others[name][chosen]


def valid(candidates: list[dict[str, Any]]) -> list[FuserConfig]:
    """Those of some configurations that hold, each once.

    Raises:
        ValidationError: None does; the first one's.
    """
    found: list[FuserConfig] = []
    for fields in candidates:
        try:
            config = FuserConfig.model_validate(fields)
        except ValidationError:
            continue
        if config not in found:
            found.append(config)
    return found or [FuserConfig.model_validate(candidates[0])]
