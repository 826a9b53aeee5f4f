"""What a system is, anything that answers a task's questions."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Protocol


if TYPE_CHECKING:
    from c2c_search.evaluation.systems.prompts import QuestionPrompts


@dataclass(frozen=True)
class OptionScores:
    """How likely a system finds each option of a question.

    Args:
        likelihoods: Log-likelihood (nats) of each option's whole text.
        lengths: Tokens of each option, as the answering model counts them.
        repeats: The same question answered again, as with another message; all count alike.
    """

    likelihoods: tuple[float, ...]
    lengths: tuple[int, ...]
    repeats: tuple[OptionScores, ...] = ()


@dataclass(frozen=True)
class Written:
    """An answer in words.

    Args:
        text: Without the prompt and without what ended it.
        likelihood: Mean log-probability (nats) of its tokens, the one that ended it included.
        repeats: The same question answered again, as with another message; all count alike.
    """

    text: str
    likelihood: float
    repeats: tuple[Written, ...] = ()


@dataclass(frozen=True)
class Decoding:
    """How an answer is written.

    Args:
        max_new_tokens: Where a long answer is cut.
        temperature: 0 for greedy decoding.
        top_p: Sample among the likeliest tokens that together have this probability.
        seed: Of the sampling; what an item's answer is does not depend on its batch.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


Progress = Callable[[int, int], None]
"""Called with the questions that are answered and all that are asked."""


class System(Protocol):
    """Anything that answers questions."""

    name: str

    @property
    def heard(self) -> Mapping[str, str]:
        """What was said to it in words, by the item's id; empty where nothing is said."""
        ...

    def choose(
        self, prompts: QuestionPrompts, progress: Progress | None = None
    ) -> list[OptionScores]:
        """Score the options of every question, in their order."""
        ...

    def write(self, prompts: QuestionPrompts, decoding: Decoding) -> list[Written]:
        """Answer every question in words, in their order."""
        ...
