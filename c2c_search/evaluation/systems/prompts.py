"""Questions as a pair has read them, once for all systems."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import NamedTuple

from c2c_search.batching import portions
from c2c_search.errors import ConfigError
from c2c_search.evaluation.systems.partners import draw_partners
from c2c_search.inference.anchors import with_anchors
from c2c_search.inference.drafting import Drafter
from c2c_search.inference.reading import as_heard
from c2c_search.inference.reading import speaks_for_itself
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.tokenization.templates import template_of
from c2c_search.tokenization.token_alignment import encode_all


if TYPE_CHECKING:
    from c2c_search.evaluation.items import Question
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.shapes import Source
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.token_alignment import EncodedPrompt


Ids = Sequence[tuple[int, ...]]

Caches = Callable[["LoadedModel", Ids, "Source"], PromptCaches]
"""Where prompt caches come from: computed on the spot, or from the store."""

Drafts = Callable[[Drafter, Ids, PromptCaches], list[tuple[int, ...]]]
"""Where a sharer's drafts to prompts come from, which it has caches of: written now, or stored."""

PROMPT_TOKENS = 2048
"""Prompt tokens in one pass, about: every token fed looks at all of them to find its own."""

OPTION_TOKENS = 2048
"""Option tokens in one pass, about: each of them has logits for the whole vocabulary."""

_BYTES_PER_TOKEN = 3  # of text in UTF-8; a little under what most tokenizers need


class _Drafting(NamedTuple):
    """What drafts depend on, of a fuser: who drafts what, and how much of it."""

    alignment: str
    tokens: int
    own: bool

    @classmethod
    def of(cls, config: FuserConfig) -> _Drafting:
        return cls(config.token_alignment, config.draft_tokens, config.sharer == "self")


class _Anchoring(NamedTuple):
    """What anchors depend on, of a fuser: of which message, and which of its words."""

    message: str
    anchors: str
    tokens: int
    own: bool

    @classmethod
    def of(cls, config: FuserConfig) -> _Anchoring:
        own = config.sharer == "self"
        return cls(config.message, config.anchors, config.anchor_tokens, own)


_Hears = tuple[str, "Source", bool, _Drafting | None, _Anchoring | None]


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
        drafts: Where drafts come from; written here when left out.
    """

    def __init__(
        self,
        pair: C2CModel,
        questions: Sequence[Question],
        *,
        whole: QuestionPrompts | None = None,
        batch_size: int = 32,
        caches: Caches | None = None,
        drafts: Drafts | None = None,
    ) -> None:
        self.pair = pair
        self.questions = questions
        self.whole = whole or self
        self.batch_size = batch_size
        self._caches = caches or self._compute
        self._drafts = drafts or Drafter.drafts
        self._known: dict[tuple[str, Source, tuple[tuple[int, ...], ...]], PromptCaches] = {}
        self._tokens: dict[str, tuple[EncodedPrompt, ...]] = {}
        self._read: dict[_Hears, PairPrompts] = {}
        self._drafted: dict[_Drafting, dict[str, EncodedPrompt]] = {}
        self._derangements: dict[tuple[str, _Drafting | None], list[list[int]]] = {}

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
            config: Of the fuser: its token alignment, and what of the sharer it hears, drafts and
                anchors included; the alignment ``span`` and keys and values when left out.
        """
        hears = _hears(config)
        if hears not in self._read:
            encoded = self._encoded_for(self.questions, config)
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
            for one, other in zip(split, self.whole.derangement(number, config), strict=True)
        }
        partners = [partner_of[question.item.id] for question in self.questions]
        rows = {question.item.id: row for row, question in enumerate(self.questions)}
        others = [partner for partner in partners if partner.item.id not in rows]
        rows |= {other.item.id: len(self) + index for index, other in enumerate(others)}
        read = self.read(config)
        if others:
            encoded = self._encoded_for(others, config)
            read = PairPrompts(
                encoded=(*read.encoded, *encoded),
                receiver=read.receiver,
                sharer=read.sharer.followed_by(self._of_sharer(encoded, config)),
            )
        return read, [rows[partner.item.id] for partner in partners]

    def derangement(self, number: int, config: FuserConfig | None = None) -> list[int]:
        """The partner of each question in a derangement, whose message is about as long.

        Args:
            number: Of the derangement, from 0.
            config: Of the fuser that hears them. Where it hears no draft, lengths are those of
                the sharer's own text, whatever an alignment makes of it.

        Raises:
            ConfigError: There is one question, and nothing else to hear.
        """
        if len(self) < 2:
            raise ConfigError(
                "A deranged sharer reads another question, so there must be two at least.",
                value=len(self),
                hint="Ask more questions, or leave deranged out.",
            )
        drafting = config if config is not None and config.drafts else None
        key = (drafting.message, _Drafting.of(drafting)) if drafting else ("prompt", None)
        known = self._derangements.get(key, [])
        if number >= len(known):
            facts = [(one.item.group, one.item.cluster) for one in self.questions]
            encoded = self.encoded()
            if drafting:
                encoded = self._encoded_for(self.questions, drafting.without_anchors())
            lengths = [
                prompt.drafted if key[0] == "draft" else len(prompt.sharer_ids)
                for prompt in encoded
            ]
            known = self._derangements[key] = draw_partners(facts, lengths, number + 1)
        return known[number]

    def first_of_split(self, count: int) -> QuestionPrompts:
        """The first questions of the whole split, whichever of them are asked here."""
        first = self.whole.questions[:count]
        if list(first) == list(self.questions):
            return self
        return QuestionPrompts(
            self.pair,
            first,
            whole=self.whole,
            batch_size=self.batch_size,
            caches=self._caches,
            drafts=self._drafts,
        )

    def batches(self, read: PairPrompts) -> Iterator[list[int]]:
        """Rows that are answered in one pass; see `batches`."""
        return self.batches_of([len(read.encoded[row].receiver_ids) for row in range(len(self))])

    def batches_of(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """The same where a system's prompts are of other lengths, in tokens."""
        options = [question.options for question in self.questions]
        return batches(lengths, options, self.batch_size)

    def _encoded(
        self, questions: Sequence[Question], alignment: str, drafts: _Drafting | None = None
    ) -> tuple[EncodedPrompt, ...]:
        pair, theirs, template = self.pair, self.pair.sharer, None
        others = [question.sharer_messages for question in questions]
        if drafts is not None:
            template = pair.draft_template
            if drafts.own:
                theirs, others = pair.receiver, [() for _ in questions]
        return encode_all(
            [question.messages for question in questions],
            pair.template,
            pair.receiver.text_tokenizer,
            theirs.text_tokenizer,
            alignment,
            sharer_conversations=others,
            date=pair.date,
            sharer_template=template,
        )

    def _encoded_for(
        self, questions: Sequence[Question], config: FuserConfig | None
    ) -> tuple[EncodedPrompt, ...]:
        """Questions of the split as a fuser hears them, drafts and anchors included."""
        if config is None or not config.drafts:
            own, alignment = questions is self.questions, _hears(config)[0]
            read = self.encoded(alignment) if own else self._encoded(questions, alignment)
            heard = as_heard(read, config)
        else:
            drafted = self.whole._drafted_for(config)
            heard = tuple(drafted[question.item.id] for question in questions)
        return with_anchors(heard, config, self.pair.receiver, self.pair.sharer)

    def _drafted_for(self, config: FuserConfig) -> dict[str, EncodedPrompt]:
        """The prompts with their drafts, by item: of the whole split, drafted together.

        A draft depends, in ties, on what is drafted beside it.
        """
        key = _Drafting.of(config)
        if key not in self._drafted:
            encoded = self._encoded(self.questions, config.token_alignment, key)
            sharer, template = self._speaker(config), self.pair.draft_template
            template = template or template_of(self.pair.template, "sharer")
            drafter = Drafter(sharer, template, config.draft_tokens)
            own = [row for row, one in enumerate(self.questions) if not one.item.draft]
            ids = [encoded[row].sharer_ids for row in own]
            caches = self._known.get((sharer.identity.source, "kv", tuple(ids)))
            if caches is None:  # of prompts that nobody else reads so
                caches = PromptCaches.in_passing(sharer.model, ids, self.pair.cache_dtype)
            found = dict(zip(own, self._drafts(drafter, ids, caches), strict=True)) if own else {}
            self._drafted[key] = {
                one.item.id: prompt.with_draft(
                    found[row] if row in found else drafter.given(prompt, one.item.draft)
                )
                for row, (one, prompt) in enumerate(zip(self.questions, encoded, strict=True))
            }
        return self._drafted[key]

    def _speaker(self, config: FuserConfig | None) -> LoadedModel:
        return self.pair.receiver if speaks_for_itself(config) else self.pair.sharer

    def _of_sharer(
        self, encoded: Sequence[EncodedPrompt], config: FuserConfig | None
    ) -> PromptCaches:
        ids = [prompt.sharer_ids for prompt in encoded]
        return self._of(self._speaker(config), ids, _hears(config)[1])

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


def _hears(config: FuserConfig | None) -> _Hears:
    """A fuser's alignment, source, whether its receiver speaks for itself, drafts, anchors."""
    if config is None:
        return "span", "kv", False, None, None
    drafts = _Drafting.of(config) if config.drafts else None
    anchors = _Anchoring.of(config) if config.anchored else None
    return config.token_alignment, config.source, speaks_for_itself(config), drafts, anchors


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
