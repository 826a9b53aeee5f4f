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
from c2c_search.inference.model import C2CModel
from c2c_search.inference.reading import as_heard
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.tokenization.templates import LINES
from c2c_search.tokenization.templates import both_asked


if TYPE_CHECKING:
    import torch

    from c2c_search.inference.doubt import Listening
    from c2c_search.inference.doubt import ListeningRule
    from c2c_search.inference.loading import LoadedChampion
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.tokenization.token_alignment import EncodedPrompt


Answer = TypeVar("Answer")


class ConfidentModel(C2CModel):
    """A receiver that answers questions alone where its doubt is small, and else hears the sharer.

    Where it answers alone, the sharer reads nothing; where it does not, its own prompt cache is
    used again. Batches and token ids are answered as every C2CModel answers them.

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

    def generate_batch(
        self,
        questions: Sequence[str],
        sharer_contexts: Sequence[str] | None = None,
        *,
        max_new_tokens: int = 64,
    ) -> list[str]:
        """Answer several questions at once; the arguments are those of `C2CModel`'s."""

        def alone(model: C2CModel, batch: PairBatch) -> list[tuple[str, float]]:
            stop = LINES[self.receiver_template]
            written = model.write(batch, max_new_tokens=max_new_tokens, stop=stop)
            return [(text, doubt_of_words(likelihood)) for text, likelihood in written]

        return self._answers(
            self.encoded(*both_asked(questions, sharer_contexts)),
            self.limits.words,
            alone,
            lambda batch, _: self._say(batch, max_new_tokens),
        )

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
    ) -> list[Answer]:
        """Answers to prompts, in their order.

        Args:
            encoded: The prompts.
            limit: Of doubt.
            alone: The receiver's own answers, with its doubts.
            fused: The answers of the pair to these rows.
        """
        ids = [prompt.receiver_ids for prompt in encoded]
        own = PromptCaches.compute(self.receiver.model, ids, self.cache_dtype)
        model, texts = self._alone("receiver"), [prompt.receiver_text for prompt in encoded]
        found = alone(model, model.batch(PairPrompts.alone(ids, own, texts)))
        unsure = [row for row, (_, doubt) in enumerate(found) if doubt >= limit]
        answers = [answer for answer, _ in found]
        if unsure:
            config = None if self.fuser is None else self.fuser.config
            asked = as_heard(with_drafts(self, [encoded[row] for row in unsure]), config)
            said = [prompt.sharer_ids for prompt in asked]
            kept = replace(own, locations=tuple(own.locations[row] for row in unsure))
            theirs = PromptCaches.compute(
                self.sharer.model,
                said,
                self.cache_dtype,
                source="kv" if config is None else config.source,
            )
            batch = self.batch(PairPrompts(asked, kept, theirs))
            for row, answer in zip(unsure, fused(batch, unsure), strict=True):
                answers[row] = answer
        return answers


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
