"""The state of torch's random numbers, to go on from later."""

from __future__ import annotations

import torch


def random_state() -> dict[str, torch.Tensor]:
    """The state now, by the kind of device."""
    state = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """Go on from what `random_state` gave."""
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
