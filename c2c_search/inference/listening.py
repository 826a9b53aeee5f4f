"""A C2C model that asks its sharer only where the receiver alone is unsure."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import TypeVar

from c2c_search.errors import ConfigError
from c2c_search.inference.doubt import doubt_of_choice
from c2c_search.inference.doubt import doubt_of_words
from c2c_search.inference.drafting import with_drafts
from c2c_search.inference.generation import GenerationRequest
from c2c_search.inference.generation import repeated
from c2c_search.inference.model import C2CModel
from c2c_search.inference.reading import as_heard
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.read_on import read_on
from c2c_search.tokenization.templates import both_asked


if TYPE_CHECKING:
    import torch

    from c2c_search.inference.answering import WrittenAnswer
    from c2c_search.inference.doubt import Listening
    from c2c_search.inference.doubt import ListeningRule
    from c2c_search.inference.loading import LoadedChampion
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.tokenization.templates import Message
    from c2c_search.tokenization.token_alignment import EncodedPrompt


Answer = TypeVar("Answer")


class ConfidentModel(C2CModel):
    """A receiver that answers questions alone where its doubt is small, and else hears the sharer.

    Where it answers alone, the sharer reads nothing; where it does not, its own prompt cache is
    used again, unless it is to read anchors. Batches and token ids are answered as every C2CModel
    answers them.

    Args:
        model: Receiver, sharer and fuser.
        limits: Doubts below which the sharer is not asked.

    Example:
        >>> model = C2CModel.from_pretrained("champion", listening="confident")
        >>> model.generate("Which country is called 'Deutschland' in German?")
        'Germany'
    """

    def __init__(self, model: C2CModel, limits: Listening) -> None:
        super().__init__(
            model.receiver,
            model.sharer,
            model.fuser,
            template=model.template,
            cache_dtype=model.cache_dtype,
            date=model.date,
            draft_template=model.draft_template,
        )
        self.limits = limits

    def answers(
        self,
        conversations: Sequence[Sequence[Message]],
        sharer_conversations: Sequence[Sequence[Message]] | None,
        request: GenerationRequest,
        *,
        kept: bool = False,
    ) -> list[WrittenAnswer]:
        """Answers to conversations; the arguments are those of `GeneratingPair`'s.

        Whether the sharer is asked follows from the receiver's greedy answer, as it was fitted.
        """
        fitted = GenerationRequest(request.settings.greedy(), ())

        def alone(model: C2CModel, batch: PairBatch) -> list[tuple[list[WrittenAnswer], float]]:
            found = model.write_all(batch, fitted)
            return [([each], doubt_of_words(each.likelihood)) for each in found]

        def fused(batch: PairBatch, rows: Sequence[int]) -> list[list[WrittenAnswer]]:
            return _by_prompt(self.write_all(batch, request.of(rows)), request)

        def again(
            model: C2CModel, batch: PairBatch, rows: Sequence[int]
        ) -> list[list[WrittenAnswer]]:
            return _by_prompt(model.write_all(batch, request.of(rows)), request)

        found = self._answers(
            self.encoded(conversations, sharer_conversations),
            self.limits.words,
            alone,
            fused,
            again=None if request.is_greedy else again,
            each=request.answers,
            kept=kept,
        )
        return [answer for of_prompt in found for answer in of_prompt]

    def choose(
        self,
        questions: Sequence[str],
        options: Sequence[Sequence[str]],
        sharer_contexts: Sequence[str] | None = None,
    ) -> list[int]:
        """The index of the likeliest option of each question.

        Args:
            questions: What the receiver is asked.
            options: The texts to choose from, for each question.
            sharer_contexts: What the sharer reads instead; injection append or side.
        """

        def scores(
            model: C2CModel, batch: PairBatch, texts: Sequence[Sequence[str]]
        ) -> list[list[float]]:
            return [self._compared(*each) for each in model.score(batch, texts)]

        def alone(model: C2CModel, batch: PairBatch) -> list[tuple[int, float]]:
            found = scores(model, batch, options)
            return [(_best(each), doubt_of_choice(each)) for each in found]

        def fused(batch: PairBatch, rows: Sequence[int]) -> list[int]:
            return [_best(each) for each in scores(self, batch, [options[row] for row in rows])]

        encoded = self.encoded(*both_asked(questions, sharer_contexts))
        return self._answers(encoded, self.limits.choices, alone, fused)

    def _compared(self, likelihoods: torch.Tensor, lengths: Sequence[int]) -> list[float]:
        found = likelihoods.tolist()
        if not self.limits.length_normalised:
            return found
        return [total / length for total, length in zip(found, lengths, strict=True)]

    def _answers(
        self,
        encoded: Sequence[EncodedPrompt],
        limit: float,
        alone: Callable[[C2CModel, PairBatch], list[tuple[Answer, float]]],
        fused: Callable[[PairBatch, Sequence[int]], list[Answer]],
        *,
        again: Callable[[C2CModel, PairBatch, Sequence[int]], list[Answer]] | None = None,
        each: int = 1,
        kept: bool = False,
    ) -> list[Answer]:
        """Answers to prompts, in their order.

        Args:
            encoded: The prompts.
            limit: Of doubt.
            alone: The receiver's own answers, with its doubts.
            fused: The answers of the pair to these rows.
            again: The receiver's own answers to these rows, where another one is wanted than
                that of which it doubts.
            each: Answers to each prompt; it is packed so many times.
            kept: As for `cached`.
        """
        ids = [prompt.receiver_ids for prompt in encoded]
        if kept:
            own = read_on(self.receiver.model, ids, self.cache_dtype, self.kept)
        else:
            own = PromptCaches.compute(self.receiver.model, ids, self.cache_dtype)
        model, texts = self._alone("receiver"), [prompt.receiver_text for prompt in encoded]
        prompts = PairPrompts.alone(ids, own, texts)
        found = alone(model, model.batch(prompts))
        unsure = [row for row, (_, doubt) in enumerate(found) if doubt >= limit]
        answers = [answer for answer, _ in found]
        if again is not None and (sure := [*{*range(len(ids))} - {*unsure}]):
            batch = model.batch(prompts, repeated(sure, each))
            for row, answer in zip(sure, again(model, batch, sure), strict=True):
                answers[row] = answer
        if unsure:
            heard = self._heard([encoded[row] for row in unsure], own, unsure, kept=kept)
            batch = self.batch(heard, repeated(range(len(unsure)), each))
            for row, answer in zip(unsure, fused(batch, unsure), strict=True):
                answers[row] = answer
        return answers

    def _heard(
        self,
        encoded: Sequence[EncodedPrompt],
        own: PromptCaches,
        rows: Sequence[int],
        *,
        kept: bool,
    ) -> PairPrompts:
        """Prompts that the sharer reads now.

        Args:
            encoded: The prompts.
            own: The receiver's caches of more of them.
            rows: Which of those they are.
            kept: As for `_answers`.
        """
        config = None if self.fuser is None else self.fuser.config
        if kept or (config is not None and config.anchored):  # the receiver reads on, or anew
            return self.cached(encoded, kept=kept)
        asked = as_heard(with_drafts(self, encoded), config)
        theirs = PromptCaches.compute(
            self.sharer.model,
            [prompt.sharer_ids for prompt in asked],
            self.cache_dtype,
            source="kv" if config is None else config.source,
        )
        mine = replace(own, locations=tuple(own.locations[row] for row in rows))
        return PairPrompts(asked, mine, theirs)


def _by_prompt(
    answers: Sequence[WrittenAnswer], request: GenerationRequest
) -> list[list[WrittenAnswer]]:
    count = request.answers
    return [[*answers[first : first + count]] for first in range(0, len(answers), count)]


def _best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)


def as_asked(
    kind: type[C2CModel], champion: LoadedChampion, listening: ListeningRule | None
) -> C2CModel:
    """A champion that listens as its user asks, or as it was measured.

    Raises:
        ConfigError: It is to listen when unsure, and nobody has fitted when that is.
    """
    parts = dict(vars(champion))
    limits: Listening | None = parts.pop("listening")
    model = kind(**parts)
    if listening == "confident" and limits is None:
        raise ConfigError(
            "When a receiver is sure enough by itself must have been fitted on validation, and "
            "this champion always listens.",
            value="listening confident",
            hint="Leave listening out, or set champion.listening: confident in the pipeline of a "
            "study.",
        )
    return model if limits is None or listening == "always" else ConfidentModel(model, limits)
