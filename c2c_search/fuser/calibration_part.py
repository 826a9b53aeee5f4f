"""What a fuser is shown before it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import torch

    from c2c_search.fuser.rotations import Rotations


@dataclass(frozen=True)
class CalibrationPart:
    """Packed caches of some calibration prompts.

    Args:
        receiver: As in `Fuser.forward`. For a side memory, the keys are what such a memory's are
            before the receiver's key norm: without RoPE, and without that norm's own scale.
        sharer: The sharer's at the aligned positions, as in `Fuser.forward` (aligned too for what
            stands beside: both models must have read the same here).
        rotations: As in `Fuser.forward`.
        attention: What each token receives from later ones, ``(receiver_layers, heads, tokens)``;
            needed by ``ridge_weighting: attention``.
    """

    receiver: torch.Tensor
    sharer: torch.Tensor
    rotations: Rotations | None = None
    attention: torch.Tensor | None = None
