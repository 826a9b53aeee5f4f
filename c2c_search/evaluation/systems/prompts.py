"""Questions as a pair has read them, once for all systems."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.batching import portions
from c2c_search.errors import ConfigError
from c2c_search.evaluation.systems.partners import draw_partners
from c2c_search.inference.reading import as_heard
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.tokenization.token_alignment import encode_all


if TYPE_CHECKING:
    from c2c_search.evaluation.items import Question
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.shapes import Source
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.token_alignment import EncodedPrompt


Caches = Callable[["LoadedModel", Sequence[tuple[int, ...]], "Source"], PromptCaches]
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
        whole: All questions of the split, if these are some of them: a deranged sharer may read
            any.
        batch_size: Questions that one pass answers, at most.
        caches: Where prompt caches come from; computed here when left out.
    """

    def __init__(
        self,
        pair: C2CModel,
        questions: Sequence[Question],
        *,
        whole: QuestionPrompts | None = None,
        batch_size: int = 32,
        caches: Caches | None = None,
    ) -> None:
        self.pair = pair
        self.questions = questions
        self.whole = whole or self
        self.batch_size = batch_size
        self._caches = caches or self._compute
        self._known: dict[tuple[str, Source, tuple[tuple[int, ...], ...]], PromptCaches] = {}
        self._tokens: dict[str, tuple[EncodedPrompt, ...]] = {}
        self._read: dict[tuple[str, Source, bool], PairPrompts] = {}
        self._derangements: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.questions)

    def encoded(self, alignment: str = "span") -> tuple[EncodedPrompt, ...]:
        """The prompts as both models read them under a token alignment, before they are read.

        Raises:
            TemplateRefusedError: A chat template cannot write one.
        """
        if alignment not in self._tokens:
            self._tokens[alignment] = self._encoded(self.questions, alignment)
        return self._tokens[alignment]

    def read(self, config: FuserConfig | None = None) -> PairPrompts:
        """The prompts as both models read them for a fuser, with their caches.

        Args:
            config: Of the fuser: its token alignment, and what of the sharer it hears; the
                alignment ``span`` and keys and values when left out.
        """
        hears = _hears(config)
        if hears not in self._read:
            encoded = as_heard(self.encoded(hears[0]), config)
            receiver_ids = [prompt.receiver_ids for prompt in encoded]
            self._read[hears] = PairPrompts(
                encoded=encoded,
                receiver=self._of(self.pair.receiver, receiver_ids, "kv"),
                sharer=self._of_sharer(encoded, config),
            )
        return self._read[hears]

    def read_deranged(
        self, config: FuserConfig | None = None, number: int = 0
    ) -> tuple[PairPrompts, list[int]]:
        """The same with the prompts of all partners, and the row of each question's partner.

        Partners are drawn from the whole split; see `draw_partners`. Those that are not among the
        questions stand behind them, and only the sharer has read those.

        Args:
            config: As for `read`.
            number: Which derangement of the split, from 0.

        Raises:
            ConfigError: There is one question in all, and nothing else to hear.
        """
        split = self.whole.questions
        partner_of = {
            one.item.id: split[other]
            for one, other in zip(split, self.whole.derangement(number), strict=True)
        }
        partners = [partner_of[question.item.id] for question in self.questions]
        rows = {question.item.id: row for row, question in enumerate(self.questions)}
        others = [partner for partner in partners if partner.item.id not in rows]
        rows |= {other.item.id: len(self) + index for index, other in enumerate(others)}
        read = self.read(config)
        if others:
            encoded = as_heard(self._encoded(others, _hears(config)[0]), config)
            read = PairPrompts(
                encoded=(*read.encoded, *encoded),
                receiver=read.receiver,
                sharer=read.sharer.followed_by(self._of_sharer(encoded, config)),
            )
        return read, [rows[partner.item.id] for partner in partners]

    def derangement(self, number: int) -> list[int]:
        """The partner of each question in a derangement, by its number from 0.

        Raises:
            ConfigError: There is one question, and nothing else to hear.
        """
        if len(self) < 2:
            raise ConfigError(
                "A deranged sharer reads another question, so there must be two at least.",
                value=len(self),
                hint="Ask more questions, or leave deranged out.",
            )
        if number >= len(self._derangements):
            facts = [(one.item.group, one.item.cluster) for one in self.questions]
            # As long as the sharer's own text, whatever a fuser's alignment makes of it.
            lengths = [len(prompt.sharer_ids) for prompt in self.encoded()]
            self._derangements = draw_partners(facts, lengths, number + 1)
        return self._derangements[number]

    def first_of_split(self, count: int) -> QuestionPrompts:
        """The first questions of the whole split, whichever of them are asked here."""
        first = self.whole.questions[:count]
        if list(first) == list(self.questions):
            return self
        return QuestionPrompts(
            self.pair, first, whole=self.whole, batch_size=self.batch_size, caches=self._caches
        )

    def batches(self, read: PairPrompts) -> Iterator[list[int]]:
        """Rows that are answered in one pass; see `batches`."""
        return self.batches_of([len(read.encoded[row].receiver_ids) for row in range(len(self))])

    def batches_of(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """The same where a system's prompts are of other lengths, in tokens."""
        options = [question.options for question in self.questions]
        return batches(lengths, options, self.batch_size)

    def _encoded(self, questions: Sequence[Question], alignment: str) -> tuple[EncodedPrompt, ...]:
        return encode_all(
            [question.messages for question in questions],
            self.pair.template,
            self.pair.receiver.text_tokenizer,
            self.pair.sharer.text_tokenizer,
            alignment,
            sharer_conversations=[question.sharer_messages for question in questions],
            date=self.pair.date,
        )

    def _of_sharer(
        self, encoded: Sequence[EncodedPrompt], config: FuserConfig | None
    ) -> PromptCaches:
        _, source, own = _hears(config)
        speaks = self.pair.receiver if own else self.pair.sharer
        return self._of(speaks, [prompt.sharer_ids for prompt in encoded], source)

    def _of(self, loaded: LoadedModel, ids: list[tuple[int, ...]], source: Source) -> PromptCaches:
        key = (loaded.identity.source, source, tuple(ids))
        if key not in self._known:
            self._known[key] = self._caches(loaded, ids, source)
        return self._known[key]

    def _compute(
        self, loaded: LoadedModel, ids: Sequence[tuple[int, ...]], source: Source
    ) -> PromptCaches:
        dtype = self.pair.cache_dtype
        return PromptCaches.compute(loaded.model, list(ids), dtype, source=source)


def _hears(config: FuserConfig | None) -> tuple[str, Source, bool]:
    """A fuser's token alignment, its source, and whether that is not found in the prompts' pair.

    The receiver's own keys and values, where it is its own sharer, are; see `heard`.
    """
    if config is None:
        return "span", "kv", False
    own = config.sharer == "self" and config.source != "kv"
    return config.token_alignment, config.source, own


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
