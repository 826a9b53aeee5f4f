"""How tokens are drawn, and what ends an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from c2c_search.errors import ConfigError


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from c2c_search.models.loading import LoadedModel


# Tokens decoded beside a stop text's own: a tokenizer may swallow what a text begins with.
_MARGIN = 4


class Draw:
    """Draws tokens at random; a prompt's tokens do not depend on what is drawn beside them.

    Args:
        temperature: Logits are divided by it.
        top_p: Only the likeliest tokens that together have this probability are drawn.
        seeds: One for each prompt.
        top_k: Only so many of the likeliest tokens are drawn; 0: however many there are.
        min_p: Only tokens at least this share as likely as the likeliest are drawn.

    Source: nucleus sampling, arXiv 1904.09751; min-p, arXiv 2407.01082.
    """

    def __init__(
        self,
        temperature: float,
        top_p: float,
        seeds: Sequence[int],
        *,
        top_k: int = 0,
        min_p: float = 0.0,
    ) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.top_k = top_k
        self.min_p = min_p
        # On the CPU, so that a seed means the same on every device.
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    @classmethod
    def of(
        cls, prompts: int, temperature: float, top_p: float, seeds: Sequence[int] | None
    ) -> Draw | None:
        """As a caller asks for it; None for greedy decoding (temperature 0).

        Raises:
            ConfigError: A value is out of its range, or a prompt has no seed.
        """
        if temperature < 0:
            raise ConfigError("temperature must not be negative.", value=temperature)
        if not 0 < top_p <= 1:
            raise ConfigError("top_p must be above 0 and at most 1.", value=top_p)
        if temperature == 0:
            return None
        if seeds is None or len(seeds) != prompts:
            raise ConfigError(
                "Sampling needs a seed for each prompt.",
                value=f"{0 if seeds is None else len(seeds)} seeds, {prompts} prompts",
                hint="Give seeds=, or temperature 0 for greedy decoding.",
            )
        return cls(temperature, top_p, seeds)

    def __call__(self, prompts: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        """Token ids ``(prompts,)`` from logits ``(prompts, vocabulary)``, on their device."""
        probabilities = (logits / self.temperature).softmax(dim=-1)
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        if self.top_k:  # what is left is all that there is, so that top_p is a share of it
            probabilities[:, self.top_k :] = 0.0
            probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
        # A token is kept while those before it have less than top_p; the likeliest always is.
        before = probabilities.cumsum(dim=-1) - probabilities
        kept = probabilities.masked_fill(before >= self.top_p, 0.0)
        if self.min_p:
            kept = kept.masked_fill(kept < self.min_p * probabilities[:, :1], 0.0)
        kept[:, 0] = probabilities[:, 0]
        total = kept.cumsum(dim=-1)
        uniform = torch.cat([torch.rand(1, generator=self.generators[row]) for row in prompts])
        # One draw a token: the kept token in whose share of the total it falls.
        target = uniform.to(logits.device)[:, None] * total[:, -1:]
        last = (kept > 0).sum(dim=-1, keepdim=True) - 1
        index = torch.searchsorted(total, target, right=True).minimum(last)
        return order.gather(1, index)[:, 0]


class Stops:
    """Texts that end an answer.

    Args:
        tokenizer: Of the model that answers.
        texts: The stop texts.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.texts = [text for text in texts if text]
        # A token that says anything says a byte at least.
        longest = max((len(text.encode()) for text in self.texts), default=0)
        self.tail = longest + _MARGIN

    def hit(self, ids: Sequence[int]) -> bool:
        """Whether the newest token completes a stop text; only the end of the answer is read."""
        if not self.texts:
            return False
        tail = self.decode(ids[-self.tail :])
        return any(text in tail for text in self.texts)

    def may_begin(self, text: str) -> bool:
        """Whether a text's end may be the beginning of a stop text."""
        return any(text.endswith(stop[:n]) for stop in self.texts for n in range(1, len(stop)))

    def before(self, ids: Sequence[int]) -> str:
        """The answer up to the first stop text."""
        text = self.decode(ids)
        starts = [start for stop in self.texts if (start := text.find(stop)) >= 0]
        return text[: min(starts, default=len(text))]

    def cut(self, ids: Sequence[int]) -> str:
        """The answer up to the first stop text, without white space around it."""
        return self.before(ids).strip()

    def decode(self, ids: Sequence[int]) -> str:
        """Tokens in words, without special ones."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        assert isinstance(text, str)
        return text


def stop_ids(loaded: LoadedModel) -> set[int]:
    """Token ids that end a model's answer."""
    config = loaded.model.generation_config
    eos = None if config is None else config.eos_token_id
    listed = eos if isinstance(eos, list) else [eos]
    of_tokenizer = None if loaded.tokenizer is None else loaded.tokenizer.eos_token_id
    return {token for token in (*listed, of_tokenizer) if token is not None}


def end_of_response(loaded: LoadedModel) -> list[int]:
    """The token that a model learns to end a response with; none where it knows no such token."""
    of_tokenizer = None if loaded.tokenizer is None else loaded.tokenizer.eos_token_id
    return sorted(stop_ids(loaded))[:1] if of_tokenizer is None else [of_tokenizer]


def padding_id(loaded: LoadedModel) -> int:
    """The token that fills up what a model has written."""
    config = loaded.model.generation_config
    padding = None if config is None else config.pad_token_id
    return padding if padding is not None else min(stop_ids(loaded), default=0)
