"""Inference room: a model goes on from (fused) prompt caches, many prompts in one sequence.

Prompts are packed: their caches stand one after the other in one sequence, and an attention mask
keeps them apart. Nothing is padded, on either side, and options of a question share its cache.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import torch

from c2c_search.inference.cache import RoomyCache
from c2c_search.pair.geometry import geometry
from c2c_search.pair.prefill import cache_argument
from c2c_search.pair.prefill import check_positions
from c2c_search.pair.prefill import takes


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.fusion import FusedCache


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

    def take(self, places: torch.Tensor, position: torch.Tensor) -> Tokens:
        """Some of the tokens, at other positions."""
        return Tokens(self.prompt[places], self.branch[places], position)


class PackedContext:
    """What a model has read: the caches of packed prompts, and what was fed on top.

    Args:
        model: The model that goes on.
        fused: Its (fused) prompt caches. Gradients flow back into them.
    """

    def __init__(self, model: PreTrainedModel, fused: FusedCache) -> None:
        self.model = model
        self.reader = fused.reader
        self.adaptation = fused.adaptation
        self.next_positions = fused.next_positions or fused.lengths
        kinds, layers, entries, _ = fused.packed.shape
        shape = geometry(model)
        by_head = fused.packed.to(model.dtype).view(
            kinds, layers, 1, entries, shape.kv_heads, shape.head_dim
        )
        keys, values = by_head.transpose(3, 4).unbind(0)
        self.cache = RoomyCache() if self.reader is None else self.reader.cache()
        for layer, (key, value) in enumerate(zip(keys.unbind(0), values.unbind(0), strict=True)):
            self.cache.update(key, value, layer)
        counts = torch.tensor(fused.lengths)
        positions = fused.positions or [torch.arange(length) for length in fused.lengths]
        self.read = Tokens(
            prompt=torch.repeat_interleave(torch.arange(len(counts)), counts),
            branch=torch.full((entries,), TRUNK),
            position=torch.cat([position.cpu() for position in positions]),
        )

    def feed(
        self, ids: torch.Tensor, tokens: Tokens, keep: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Feed tokens; each sees the trunk of its prompt and its own branch, up to itself.

        Args:
            ids: ``(tokens,)``.
            tokens: Where each belongs.
            keep: Which of them predict a next token, ``(kept,)``; all if left out. Only these go
                through the model's head.

        Returns:
            The model's own logits, ``(kept, vocabulary)``.

        Raises:
            ConfigError: A position is not within the model's `rope_window`.
        """
        check_positions(self.model, int(tokens.position.max()))
        device = self.cache.layers[0].keys.device
        if self.reader is not None:
            self.reader.read(ids, tokens, self)
        self.read = self.read.then(tokens)
        # The whole model, not its trunk and head: many scale or cap their logits in between.
        sliced = keep is not None and takes(type(self.model).forward, "logits_to_keep")
        with nullcontext() if self.adaptation is None else self.adaptation.active():
            output = self.model(
                input_ids=ids[None].to(device),
                attention_mask=self._masks(tokens, device),
                position_ids=tokens.position[None].to(device),
                use_cache=True,
                **cache_argument(self.model, self.cache),
                **({} if keep is None or not sliced else {"logits_to_keep": keep.to(device)}),
            )
        logits: torch.Tensor = output.logits[0]
        return logits if keep is None or sliced else logits[keep.to(device)]

    def newest(self, count: int) -> torch.Tensor:
        """What was kept of the last tokens fed, ``(2, layers, count, size)``."""
        layers = [
            torch.stack([layer.keys[0, :, -count:], layer.values[0, :, -count:]])
            for layer in self.cache.layers
        ]
        return torch.stack(layers, dim=1).transpose(2, 3).flatten(3)

    def _masks(
        self, tokens: Tokens, device: torch.device
    ) -> torch.Tensor | dict[str, torch.Tensor | None] | None:
        """Additive masks, ``(1, 1, tokens fed, tokens read)``; one a layer type if it has any.

        None where a single token sees all that was read: faster kernels take no mask.
        """
        config = self.model.config.get_text_config()
        visible, apart = self._visible(tokens)
        # A file may state what its architecture ignores, so ask the architecture, not the file.
        architecture: Callable[..., Any] = type(config)
        if not takes(architecture, "layer_types"):
            module = sys.modules[type(self.model.base_model.get_decoder()).__module__]
            window = getattr(config, "sliding_window", None)
            if window is not None and hasattr(module, "create_sliding_window_causal_mask"):
                visible &= apart < window
                # Without a mask it makes its own, of places in the cache instead of positions.
                if len(self.read) >= window:
                    return self._additive(visible, device)
            return self._needed(visible, device)
        masks = {"full_attention": visible, "attention": visible}
        kinds = set(config.layer_types)
        if "sliding_attention" in kinds:
            masks["sliding_attention"] = visible & (apart < config.sliding_window)
        if "chunked_attention" in kinds:
            size = config.attention_chunk_size
            chunk, read = tokens.position // size, self.read.position // size
            masks["chunked_attention"] = visible & (chunk[:, None] == read[None, :])
        return {kind: self._needed(masks[kind], device) for kind in sorted(kinds)}

    def _visible(self, tokens: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        """What each token fed may see at all, and how far behind it that lies."""
        read = self.read
        slots = torch.arange(len(read))
        own_slots = slots[len(read) - len(tokens) :]
        visible = tokens.prompt[:, None] == read.prompt[None, :]
        visible &= (read.branch[None, :] == TRUNK) | (
            read.branch[None, :] == tokens.branch[:, None]
        )
        visible &= slots[None, :] <= own_slots[:, None]
        return visible, tokens.position[:, None] - read.position[None, :]

    def _needed(self, visible: torch.Tensor, device: torch.device) -> torch.Tensor | None:
        if len(visible) == 1 and bool(visible.all()):
            return None
        return self._additive(visible, device)

    def _additive(self, visible: torch.Tensor, device: torch.device) -> torch.Tensor:
        lowest = torch.finfo(self.model.dtype).min
        mask = torch.zeros(visible.shape, dtype=self.model.dtype)
        return mask.masked_fill_(~visible, lowest)[None, None].to(device)


Choose = Callable[[Sequence[int], torch.Tensor], list[int]]
"""Next tokens of some prompts, from their numbers and logits ``(prompts, vocabulary)``."""

Ended = Callable[[Sequence[int]], bool]
"""Whether an answer has ended, given its token ids so far."""


@torch.no_grad()
def go_on(
    model: PreTrainedModel,
    fused: FusedCache,
    last_ids: Sequence[int],
    *,
    choose: Choose,
    ended: Ended,
    max_new_tokens: int,
) -> list[list[int]]:
    """Decode token by token on top of (fused) prompt caches.

    Args:
        model: The model that answers.
        fused: The caches of the prompts.
        last_ids: Each prompt's last token, which is not in the cache.
        choose: Chooses tokens.
        ended: Asked after every token; a prompt whose answer has ended stops running.
        max_new_tokens: Where a long answer is cut.

    Returns:
        New token ids of each prompt, the one that ended the answer included.
    """
    context = PackedContext(model, fused)
    answers: list[list[int]] = [[] for _ in last_ids]
    running = list(range(len(last_ids)))
    ids = torch.tensor(list(last_ids))
    for new in range(max_new_tokens):
        tokens = Tokens(
            prompt=torch.tensor(running),
            branch=torch.full((len(running),), TRUNK),
            position=torch.tensor([context.next_positions[row] + new for row in running]),
        )
        chosen = choose(running, context.feed(ids, tokens))
        for row, token in zip(running, chosen, strict=True):
            answers[row].append(token)
        running = [row for row in running if not ended(answers[row])]
        if not running:
            break
        ids = torch.tensor([answers[row][-1] for row in running])
    return answers


def generate(
    model: PreTrainedModel,
    fused: FusedCache,
    last_ids: Sequence[int],
    *,
    stop: set[int],
    max_new_tokens: int,
    with_stop: bool = False,
) -> list[list[int]]:
    """Greedy decoding on top of (fused) prompt caches.

    Args:
        model: The model that answers.
        fused: The caches of the prompts.
        last_ids: Each prompt's last token, which is not in the cache.
        stop: Token ids that end an answer.
        max_new_tokens: Where a long answer is cut.
        with_stop: Whether the token that ends an answer is given too.

    Returns:
        New token ids of each prompt.
    """
    answers = go_on(
        model,
        fused,
        last_ids,
        choose=lambda prompts, logits: logits.argmax(dim=-1).tolist(),
        ended=lambda ids: ids[-1] in stop,
        max_new_tokens=max_new_tokens,
    )
    if with_stop:
        return answers
    return [ids[:-1] if ids and ids[-1] in stop else ids for ids in answers]
