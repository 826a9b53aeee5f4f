"""Questions as a pair has read them, once for all systems."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.batching import portions
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.tokenization.token_alignment import encode_all


if TYPE_CHECKING:
    from c2c_search.evaluation.items import Question
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel


Caches = Callable[["LoadedModel", Sequence[tuple[int, ...]]], PromptCaches]
"""Where prompt caches come from: computed on the spot, or from the store."""

PROMPT_TOKENS = 2048
"""Prompt tokens in one pass, about: every token fed looks at all of them to find its own."""

OPTION_TOKENS = 2048
"""Option tokens in one pass, about: each of them has logits for the whole vocabulary."""

_BYTES_PER_TOKEN = 3  # of text in UTF-8; a little under what most tokenizers need


class QuestionPrompts:
    """A few questions and both models' caches of their prompts, each computed once.

    Systems that read the same tokens share the caches; a system that asks a model something else
    (text relay, few-shot) reads that itself.

    Args:
        pair: Receiver and sharer, without a fuser.
        questions: What is asked.
        batch_size: Questions that one pass answers, at most.
        caches: Where prompt caches come from; computed here when left out.
    """

    def __init__(
        self,
        pair: C2CModel,
        questions: Sequence[Question],
        *,
        batch_size: int = 32,
        caches: Caches | None = None,
    ) -> None:
        self.pair = pair
        self.questions = questions
        self.batch_size = batch_size
        self._caches = caches or self._compute
        self._known: dict[tuple[str, tuple[tuple[int, ...], ...]], PromptCaches] = {}
        self._prompts: dict[str, PairPrompts] = {}

    def __len__(self) -> int:
        return len(self.questions)

    def prompts(self, alignment: str = "span") -> PairPrompts:
        """The prompts as both models read them under a token alignment, with their caches."""
        if alignment not in self._prompts:
            pair = self.pair
            encoded = encode_all(
                [question.messages for question in self.questions],
                pair.template,
                pair.receiver.text_tokenizer,
                pair.sharer.text_tokenizer,
                alignment,
                sharer_conversations=[question.sharer_messages for question in self.questions],
                date=pair.date,
            )
            self._prompts[alignment] = PairPrompts(
                encoded=encoded,
                receiver=self._of(pair.receiver, [prompt.receiver_ids for prompt in encoded]),
                sharer=self._of(pair.sharer, [prompt.sharer_ids for prompt in encoded]),
            )
        return self._prompts[alignment]

    def batches(self, prompts: PairPrompts) -> Iterator[list[int]]:
        """Rows that are answered in one pass; see `batches`."""
        return self.batches_of([len(prompt.receiver_ids) for prompt in prompts.encoded])

    def batches_of(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """The same where a system's prompts are of other lengths, in tokens."""
        options = [question.options for question in self.questions]
        return batches(lengths, options, self.batch_size)

    def _of(self, loaded: LoadedModel, ids: list[tuple[int, ...]]) -> PromptCaches:
        key = (loaded.identity.source, tuple(ids))
        if key not in self._known:
            self._known[key] = self._caches(loaded, ids)
        return self._known[key]

    def _compute(self, loaded: LoadedModel, ids: Sequence[tuple[int, ...]]) -> PromptCaches:
        return PromptCaches.compute(loaded.model, list(ids), self.pair.cache_dtype)


def batches(
    lengths: Sequence[int], options: Sequence[Sequence[str]], batch_size: int
) -> Iterator[list[int]]:
    """Prompts that are answered in one pass: of about the same length, fewer where they are long.

    Args:
        lengths: Tokens of each prompt.
        options: The texts whose likelihoods are compared, for each prompt.
        batch_size: Prompts in one pass, at most.

    Returns:
        Indices of prompts, the shortest first; each prompt in exactly one pass.
    """

    def sizes(row: int) -> tuple[int, int, int]:
        judged = sum(1 + len(option.encode()) // _BYTES_PER_TOKEN for option in options[row])
        return 1, lengths[row], judged

    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    return portions(by_length, sizes, (batch_size, PROMPT_TOKENS, OPTION_TOKENS))
