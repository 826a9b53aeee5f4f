"""Inference room: a model goes on from (fused) prompt caches, many prompts in one sequence.

Prompts are packed: their caches stand one after the other in one sequence, and an attention mask
keeps them apart. Nothing is padded, on either side, and options of a question share its cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache


if TYPE_CHECKING:
    from transformers import PreTrainedModel


TRUNK = -1
"""Branch of the tokens that every branch of a prompt sees."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of packed prompts, and where each belongs; all of shape ``(tokens,)``.

    Args:
        prompt: Number of its prompt.
        branch: `TRUNK`, or which of the prompt's alternatives (options) it is part of.
        position: Position in its prompt, counted along its branch.
    """

    prompt: torch.Tensor
    branch: torch.Tensor
    position: torch.Tensor

    def __len__(self) -> int:
        return len(self.prompt)

    def then(self, more: Tokens) -> Tokens:
        return Tokens(
            torch.cat([self.prompt, more.prompt]),
            torch.cat([self.branch, more.branch]),
            torch.cat([self.position, more.position]),
        )


class PackedContext:
    """What a model has read: the caches of packed prompts, and what was fed on top.

    Args:
        model: The model that goes on.
        packed: Its (fused) prompt caches, ``(2, layers, tokens, size)``, one prompt after the
            other. Gradients flow back into it.
        lengths: Tokens of each prompt.
    """

    def __init__(
        self, model: PreTrainedModel, packed: torch.Tensor, lengths: Sequence[int]
    ) -> None:
        self.model = model
        kinds, layers, tokens, size = packed.shape
        heads = kv_heads(model)
        by_head = packed.to(model.dtype).view(kinds, layers, 1, tokens, heads, size // heads)
        keys, values = by_head.transpose(3, 4).unbind(0)
        # Without a config every layer keeps all its tokens, also those with a sliding window.
        self.cache = DynamicCache()
        for layer, (key, value) in enumerate(zip(keys.unbind(0), values.unbind(0), strict=True)):
            self.cache.update(key, value, layer)
        counts = torch.tensor(list(lengths))
        self.read = Tokens(
            prompt=torch.repeat_interleave(torch.arange(len(counts)), counts),
            branch=torch.full((tokens,), TRUNK),
            position=torch.cat([torch.arange(length) for length in lengths]),
        )

    def feed(self, ids: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """Feed tokens; each sees the trunk of its prompt and its own branch, up to itself.

        Args:
            ids: ``(tokens,)``.
            tokens: Where each belongs.

        Returns:
            Last hidden states, ``(tokens, hidden_size)``.
        """
        device = self.cache.layers[0].keys.device
        self.read = self.read.then(tokens)
        output = self.model.base_model(
            input_ids=ids[None].to(device),
            past_key_values=self.cache,
            attention_mask=self._masks(tokens, device),
            position_ids=tokens.position[None].to(device),
            use_cache=True,
        )
        hidden: torch.Tensor = output.last_hidden_state[0]
        return hidden

    def _masks(
        self, tokens: Tokens, device: torch.device
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Additive masks, ``(1, 1, tokens fed, tokens read)``; one a layer type if it has any."""
        read = self.read
        slots = torch.arange(len(read))
        own_slots = slots[len(read) - len(tokens) :]
        visible = tokens.prompt[:, None] == read.prompt[None, :]
        visible &= (read.branch[None, :] == TRUNK) | (
            read.branch[None, :] == tokens.branch[:, None]
        )
        visible &= slots[None, :] <= own_slots[:, None]
        config = self.model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        near = visible
        if window is not None:
            near = visible & (tokens.position[:, None] - read.position[None, :] < window)
        layer_types = getattr(config, "layer_types", None)
        if layer_types is None:
            return self._additive(near, device)
        masks = {"full_attention": visible, "sliding_attention": near}
        return {kind: self._additive(masks[kind], device) for kind in sorted(set(layer_types))}

    def _additive(self, visible: torch.Tensor, device: torch.device) -> torch.Tensor:
        lowest = torch.finfo(self.model.dtype).min
        mask = torch.zeros(visible.shape, dtype=self.model.dtype)
        return mask.masked_fill_(~visible, lowest)[None, None].to(device)


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    packed: torch.Tensor,
    lengths: Sequence[int],
    last_ids: Sequence[int],
    *,
    stop: set[int],
    max_new_tokens: int,
) -> list[list[int]]:
    """Greedy decoding on top of (fused) prompt caches.

    Args:
        packed: ``(2, layers, tokens, size)``, the prompts one after the other.
        lengths: Tokens of each prompt in the pack.
        last_ids: Each prompt's last token, which is not in the cache.
        stop: Token ids that end an answer.
        max_new_tokens: Where a long answer is cut.

    Returns:
        New token ids of each prompt, without the stop token.
    """
    context = PackedContext(model, packed, lengths)
    answers: list[list[int]] = [[] for _ in lengths]
    running = list(range(len(lengths)))
    ids = torch.tensor(list(last_ids))
    for new in range(max_new_tokens):
        tokens = Tokens(
            prompt=torch.tensor(running),
            branch=torch.full((len(running),), TRUNK),
            position=torch.tensor([lengths[row] + new for row in running]),
        )
        hidden = context.feed(ids, tokens)
        chosen = model.get_output_embeddings()(hidden).argmax(dim=-1).tolist()
        going_on = [(row, token) for row, token in zip(running, chosen, strict=True)]
        going_on = [(row, token) for row, token in going_on if token not in stop]
        for row, token in going_on:
            answers[row].append(token)
        if not going_on:
            break
        running = [row for row, _ in going_on]
        ids = torch.tensor([token for _, token in going_on])
    return answers


def kv_heads(model: PreTrainedModel) -> int:
    """KV heads of a model, in any of the names that configurations use."""
    config = model.config.get_text_config()
    heads: int | None = getattr(config, "num_key_value_heads", None)
    return config.num_attention_heads if heads is None else heads
