"""A receiver with examples before the question, and C2C's oracle made of them."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from c2c_search.evaluation.prompting import with_exemplars
from c2c_search.evaluation.scoring import receiver_alone
from c2c_search.evaluation.systems.passes import Pass
from c2c_search.evaluation.systems.passes import PassByPass
from c2c_search.evaluation.systems.passes import encode_alone
from c2c_search.evaluation.systems.passes import passes_over
from c2c_search.evaluation.systems.passes import read_alone
from c2c_search.inference.fusion import Fuse
from c2c_search.inference.model import C2CModel
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.tokenization.spans import read_all
from c2c_search.tokenization.templates import Message
from c2c_search.tokenization.templates import render_all
from c2c_search.tokenization.token_alignment import EncodedPrompt


if TYPE_CHECKING:
    from c2c_search.evaluation.items import Question
    from c2c_search.evaluation.systems.prompts import QuestionPrompts
    from c2c_search.prompt_cache.batches import PairBatch


Exemplars = Sequence[tuple[Message, Message]]
"""Questions with their answers: a user's turn, then the assistant's."""


class FewShot(PassByPass):
    """The receiver alone, which reads exemplars before each question.

    Args:
        name: In `SYSTEMS`.
        pair: Receiver and sharer.
        exemplars: The same for every question; what prompts begin with is read once.
    """

    def __init__(self, name: str, pair: C2CModel, exemplars: Exemplars) -> None:
        super().__init__(name)
        self.model = receiver_alone(pair)
        self.exemplars = exemplars

    def passes(self, prompts: QuestionPrompts) -> Iterator[Pass]:
        shown = [with_exemplars(each, self.exemplars).messages for each in prompts.questions]
        yield from read_alone(prompts, self.model, encode_alone(self.model, shown))


class Oracle(PassByPass):
    """The receiver on a cache as long as the question's, enriched by exemplars it cannot see.

    It reads exemplars and question, then forgets the exemplars' part of the cache. What is left
    stands at the positions where it was read.

    Args:
        name: In `SYSTEMS`.
        pair: Receiver and sharer.
        exemplars: The same for every question.

    Source: C2C (arXiv 2510.03215), section 3.2, "oracle".
    """

    def __init__(self, name: str, pair: C2CModel, exemplars: Exemplars) -> None:
        super().__init__(name)
        self.model = Slice(
            pair.receiver,
            pair.receiver,
            None,
            template=pair.receiver_template,
            cache_dtype=pair.cache_dtype,
            date=pair.date,
        )
        self.exemplars = exemplars

    def passes(self, prompts: QuestionPrompts) -> Iterator[Pass]:
        kept = kept_tokens(self.model, prompts.questions, self.exemplars)

        def sliced(rows: Sequence[int], caches: PromptCaches) -> PairPrompts:
            return PairPrompts(tuple(kept[row] for row in rows), caches, caches)

        yield from passes_over(prompts, self.model, [each.sharer_ids for each in kept], sliced)


class Slice(C2CModel):
    """A receiver that hears itself after it has read more: each token in that longer prompt.

    The sharer of its prompts is the longer prompt, and stands for the receiver.
    """

    def fused_cache(self, batch: PairBatch, through: Fuse | None = None) -> FusedCache:
        batch = batch.to(self.device)
        return FusedCache(
            packed=batch.sharer,
            lengths=batch.lengths,
            positions=batch.sharer_positions,
            next_positions=tuple(int(positions[-1]) + 1 for positions in batch.sharer_positions),
        )


def kept_tokens(
    model: C2CModel, questions: Sequence[Question], exemplars: Exemplars
) -> tuple[EncodedPrompt, ...]:
    """Which tokens of the prompts with exemplars are those of the prompts without them.

    Both texts begin alike (BOS, what the system says) and end alike, from the question's turn on;
    in between stands what is forgotten. The cut falls between two characters: a token that covers
    some of the question is kept.

    Args:
        model: What reads them.
        questions: What is asked.
        exemplars: What is put in front.

    Returns:
        For each prompt its kept tokens as the receiver's, all tokens as the sharer's, and the
        positions of those in these.
    """
    tokenizer = model.receiver.text_tokenizer
    shown = [with_exemplars(question, exemplars).messages for question in questions]
    asked = [question.messages for question in questions]
    without, with_shown = (
        render_all(each, model.receiver_template, tokenizer, model.date) for each in (asked, shown)
    )
    longer = read_all(with_shown, tokenizer)
    kept = []
    for read, messages, alone in zip(longer, asked, without, strict=True):
        text, contents = read.rendered.text, read.rendered.contents
        # The last exemplar's answer may end as what the system says does.
        system = sum(message["role"] == "system" for message in messages)
        last_answer = contents[system + 2 * len(exemplars) - 1][1]
        begins = max(len(text) - _alike(text[::-1], alone.text[::-1]), last_answer)
        front = alone.text[: len(alone.text) - (len(text) - begins)]
        ends = _alike(text, front)
        positions = [
            position
            for position, (_, stop) in enumerate(read.tokens.spans.tolist())
            if stop > begins or stop <= ends
        ]
        ids = read.tokens.ids
        kept.append(
            EncodedPrompt(
                tuple(ids[each] for each in positions), tuple(ids), tuple(positions), read.rendered
            )
        )
    return tuple(kept)


def _alike(first: str, second: str) -> int:
    """How many characters both begin with."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
