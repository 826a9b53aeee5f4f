"""What a model's layers put out for a prompt, computed and kept as its prompt caches are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from c2c_search.errors import ConfigError
from c2c_search.fuser.shapes import Source
from c2c_search.models.geometry import geometry
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.prompt_cache.prefill import behind
from c2c_search.prompt_cache.prefill import cache_argument


if TYPE_CHECKING:
    from transformers import PreTrainedModel


def planned(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], source: Source = "kv"
) -> Prefill:
    """Prompts that are to be read for what a fuser hears of them.

    Args:
        model: A frozen causal language model.
        prompts: Token ids of each prompt.
        source: What is kept.

    Raises:
        ConfigError: A prompt is longer than the model's `rope_window`.
    """
    return Prefill(model, prompts) if source == "kv" else HiddenPrefill(model, prompts)


def token_shape(model: PreTrainedModel, source: Source = "kv") -> tuple[int, int, int]:
    """What is kept of a token: kinds (keys and values, or one), layers, and numbers of each."""
    found = geometry(model)
    if source == "kv":
        return 2, found.layers, found.kv_heads * found.head_dim
    return 1, found.layers, found.hidden_size


class HiddenPrefill(Prefill):
    """Keeps the residual stream behind each layer, instead of keys and values.

    Of each layer as transformers' ``hidden_states`` tells it: the last layer's behind the model's
    final normalisation, the others' without any.
    """

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """As `Prefill.read`; ``(batch, tokens, 1, layers, hidden size)``."""
        if not self.shared:
            return _hidden_states(self.model, ids, None)[0]
        before, prefix = self._before
        states, _ = _hidden_states(self.model, ids, prefix)
        return torch.cat([before.expand(len(ids), -1, -1, -1, -1), states], dim=1)

    @cached_property
    def _before(self) -> tuple[torch.Tensor, DynamicCache]:
        """What the shared tokens are read as, and their cache."""
        ids = torch.tensor([list(self.prompts[0][: self.shared])])
        return _hidden_states(self.model, ids, None)


@torch.no_grad()
def _hidden_states(
    model: PreTrainedModel, ids: torch.Tensor, prefix: DynamicCache | None
) -> tuple[torch.Tensor, DynamicCache]:
    """Of tokens behind a prefix, ``(batch, tokens, 1, layers, hidden size)``, and the cache."""
    cache, positions = behind(prefix, ids)
    told = model.base_model(
        input_ids=ids.to(model.device),
        position_ids=positions.to(model.device),
        use_cache=True,
        output_hidden_states=True,
        **cache_argument(model.base_model, cache),
    ).hidden_states
    _, layers, size = token_shape(model, "hidden")
    each = () if told is None else told[1:]  # the first is the embedded tokens
    if len(each) != layers or any(one.shape[-1] != size for one in each):
        raise ConfigError(
            f"fuser.source hidden needs a sharer that tells what each of its {layers} layers puts "
            f"out, {size} numbers a token.",
            value=f"{model.config.model_type}: {[one.shape[-1] for one in each]}",
            hint="Set fuser.source to kv.",
        )
    return torch.stack(list(each), dim=2)[:, :, None], cache
