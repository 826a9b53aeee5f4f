"""What systems share that answer a few questions in each pass of one model."""

from __future__ import annotations

import hashlib
from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2c_search.batching import portions
from c2c_search.evaluation.systems.system import OptionScores
from c2c_search.evaluation.systems.system import Written
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.tokenization.templates import lacks_chat_template
from c2c_search.tokenization.token_alignment import encode_all


if TYPE_CHECKING:
    import torch

    from c2c_search.evaluation.systems.prompts import QuestionPrompts
    from c2c_search.evaluation.systems.system import Decoding
    from c2c_search.evaluation.systems.system import Progress
    from c2c_search.inference.model import C2CModel
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.tokenization.templates import Message
    from c2c_search.tokenization.token_alignment import EncodedPrompt


CACHED_TOKENS = 16_384
"""Tokens whose caches one system keeps in memory, about: 400 MB for a model of 30 small layers."""


PLAIN_STOP = ("\nQuestion:",)
"""A model in the plain template goes on with a question of its own."""


@dataclass(frozen=True)
class Pass:
    """Questions that are answered together.

    Args:
        rows: Which of those asked.
        model: What answers them.
        batch: Their prompts, as the model needs them.
    """

    rows: Sequence[int]
    model: C2CModel
    batch: PairBatch


class PassByPass(ABC):
    """A `System` that says what is asked of which model in each pass.

    Args:
        name: In `SYSTEMS`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: dict[str, str] = {}
        """What another model said to it in words so far, by the item's id."""

    @abstractmethod
    def passes(self, prompts: QuestionPrompts) -> Iterator[Pass]:
        """The passes that answer all questions: each in exactly one."""

    def choose(
        self, prompts: QuestionPrompts, progress: Progress | None = None
    ) -> list[OptionScores]:
        """Score the options of every question, in their order."""
        scores: dict[int, OptionScores] = {}
        for each in self.passes(prompts):
            options = [prompts.questions[row].options for row in each.rows]
            for row, (likelihoods, lengths) in zip(
                each.rows, each.model.score(each.batch, options), strict=True
            ):
                scores[row] = OptionScores(tuple(likelihoods.tolist()), tuple(lengths))
            if progress is not None:
                progress(len(scores), len(prompts))
        return [scores[row] for row in range(len(prompts))]

    def write(self, prompts: QuestionPrompts, decoding: Decoding) -> list[Written]:
        """Answer every question in words, in their order."""
        written: dict[int, Written] = {}
        for each in self.passes(prompts):
            ids = [prompts.questions[row].item.id for row in each.rows]
            answers = each.model.write(
                each.batch,
                max_new_tokens=decoding.max_new_tokens,
                stop=PLAIN_STOP if reads_plain(each.model) else (),
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seeds=[item_seed(decoding.seed, one) for one in ids],
            )
            written |= {
                row: Written(*answer) for row, answer in zip(each.rows, answers, strict=True)
            }
        return [written[row] for row in range(len(prompts))]


def reads_plain(model: C2CModel) -> bool:
    """Whether what answers reads the plain template, as a base model in a chat does too."""
    template = model.receiver_template
    return template == "plain" or lacks_chat_template(template, model.receiver.text_tokenizer)


def item_seed(seed: int, item_id: str) -> int:
    """An item's own seed, the same in any batch and process."""
    digest = hashlib.sha256(f"{seed}/{item_id}".encode()).digest()
    return int.from_bytes(digest[:7])


def encode_alone(
    model: C2CModel, conversations: Sequence[Sequence[Message]]
) -> tuple[EncodedPrompt, ...]:
    """Conversations as the receiver of ``model`` reads them by itself.

    Raises:
        DataError: A prompt has no token.
    """
    tokenizer = model.receiver.text_tokenizer
    return encode_all(
        conversations, model.receiver_template, tokenizer, tokenizer, date=model.date
    )


def read_alone(
    prompts: QuestionPrompts,
    model: C2CModel,
    encoded: Sequence[EncodedPrompt],
    entries: torch.Tensor | None = None,
) -> Iterator[Pass]:
    """Passes over prompts that only the receiver of ``model`` reads, and for one system.

    Args:
        prompts: The questions.
        model: C2CModel without a fuser.
        encoded: Each question's prompt; see `encode_alone`.
        entries: Cache entries that stand before every prompt, ``(2, layers, entries, size)``.
    """
    before = () if entries is None else (0,) * entries.shape[2]  # ids that are never looked up
    ids = [(*before, *prompt.receiver_ids) for prompt in encoded]

    def alone(rows: Sequence[int], caches: PromptCaches) -> PairPrompts:
        texts = [encoded[row].receiver_text for row in rows]
        return PairPrompts.alone([ids[row] for row in rows], caches, texts)

    return passes_over(prompts, model, ids, alone, entries)


def passes_over(
    prompts: QuestionPrompts,
    model: C2CModel,
    ids: Sequence[tuple[int, ...]],
    paired: Callable[[Sequence[int], PromptCaches], PairPrompts],
    entries: torch.Tensor | None = None,
) -> Iterator[Pass]:
    """Passes over prompts whose caches are computed here, for a few passes at a time.

    No other system wants these caches, and all of them need not fit into memory.

    Args:
        prompts: The questions.
        model: Its receiver reads.
        ids: What it reads for each question; what many begin with is read once for them all.
        paired: From rows of the questions and the caches of their ids to prompts.
        entries: What all of them begin with; see `Prefill`.
    """
    batches = prompts.batches_of([len(prompt) for prompt in ids])
    # Those whose caches are in memory together.
    for group in portions(
        batches, lambda batch: [sum(len(ids[row]) for row in batch)], [CACHED_TOKENS]
    ):
        rows = [row for batch in group for row in batch]
        caches = PromptCaches.compute(
            model.receiver.model, [ids[row] for row in rows], model.cache_dtype, entries=entries
        )
        read = paired(rows, caches)
        index = {row: number for number, row in enumerate(rows)}
        for batch in group:
            yield Pass(batch, model, model.batch(read, [index[row] for row in batch]))
