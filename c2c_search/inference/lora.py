"""A fuser's LoRA on the receiver, while it reads and writes on a fused cache."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING
from typing import Any

import torch

from c2c_search.errors import ConfigError
from c2c_search.models.attention_maps import attention_maps
from c2c_search.models.attention_maps import projections


if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from c2c_search.fuser.fuser import Fuser
    from c2c_search.fuser.lora import Lora
    from c2c_search.fuser.lora import Update


class Adaptation:
    """A fuser's low-rank updates, on one receiver.

    The receiver is shared with other models and reads its prompts unadapted, so it is changed
    for one forward pass at a time.

    Args:
        lora: The updates.
        receiver: The model that they are for.

    Raises:
        ConfigError: Its attention has other maps.
    """

    def __init__(self, lora: Lora, receiver: PreTrainedModel) -> None:
        self.lora = lora
        self.maps = attention_maps(receiver)
        if (found := projections(self.maps)) != lora.projections:
            raise ConfigError(
                f"The receiver's attention must have the maps that the fuser's LoRA is for: "
                f"{_words(lora.projections)}.",
                value=_words(found),
                hint="Load the receiver that the fuser was trained with.",
            )

    @classmethod
    def of(cls, fuser: Fuser, receiver: PreTrainedModel) -> Adaptation | None:
        """Of a fuser; None if it adapts nothing."""
        return None if fuser.lora is None else cls(fuser.lora, receiver)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Adapt the receiver within the block, for what this thread has it do.

        Gradients flow into the updates.
        """
        this = object()
        handles = []
        before = _now.set(this)
        try:
            for role, updates in self.lora.updates().items():
                for module, update in zip(self.maps[role], updates, strict=True):
                    handles.append(module.register_forward_hook(_adding(update, this)))
            yield
        finally:
            for handle in handles:
                handle.remove()
            _now.reset(before)


# Whoever runs the model beside a block, in another thread or deeper in this one, is not it.
_now: ContextVar[object] = ContextVar("c2c_search_lora", default=None)


def _adding(
    update: Update, block: object
) -> Callable[[nn.Module, Any, torch.Tensor], torch.Tensor]:
    def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output + update(inputs[0]) if _now.get() is block else output

    return hook


def _words(maps: Any) -> str:
    return ", ".join(f"{each.role} {each.inputs} to {each.outputs}" for each in maps)
