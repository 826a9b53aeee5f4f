"""Answers token by token: chosen as asked, told while they are written, and how likely each is."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Protocol

import torch

from c2c_search.inference.decoding import go_on
from c2c_search.inference.sampling import Stops
from c2c_search.inference.scoring import check_finite


if TYPE_CHECKING:
    from transformers import LogitsProcessor
    from transformers import PreTrainedModel
    from transformers import StoppingCriteria

    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.inference.sampling import Draw


@dataclass(frozen=True)
class WrittenAnswer:
    """What a model has written behind a prompt.

    Args:
        ids: Token ids, the one that ended it included.
        text: In words, up to what ended it, without white space around it.
        likelihoods: Log-probability (nats) of each token under the model itself, at temperature
            1 and before anything is penalised or left out.
        ended: Whether it ended by itself; else it was cut at the most tokens.
    """

    ids: tuple[int, ...]
    text: str
    likelihoods: tuple[float, ...]
    ended: bool

    @property
    def likelihood(self) -> float:
        """Mean log-probability (nats) of its tokens; 0 where nothing was written."""
        return sum(self.likelihoods) / max(len(self.likelihoods), 1)


class Listener(Protocol):
    """Is told an answer's tokens as they are written."""

    def put(self, token: int) -> None:
        """Take the next token."""


@dataclass(frozen=True)
class TokenRules:
    """How the next tokens of a batch of answers are chosen; the likeliest, if nothing is said.

    Args:
        draw: Chooses at random.
        processors: transformers' own, which change logits by what stands before, row by row: an
            answer does not depend on those beside it.
        criteria: transformers' own, which may end an answer.
        before: The prompts' token ids, which processors and criteria see in front of an answer.
        withheld: Token ids that no answer of fewer than ``min_new_tokens`` has.
        min_new_tokens: Fewest tokens of an answer.
    """

    draw: Draw | None = None
    processors: Sequence[LogitsProcessor] = ()
    criteria: Sequence[StoppingCriteria] = ()
    before: Sequence[Sequence[int]] = ()
    withheld: Sequence[int] = ()
    min_new_tokens: int = 0

    @property
    def change_logits(self) -> bool:
        """Whether a token is chosen by anything else than what the model says."""
        return bool(self.processors) or self.min_new_tokens > 0


class AnswerWriter:
    """Chooses and keeps the tokens of a batch of answers.

    Args:
        rules: How they are chosen.
        rows: Answers.
        listener: Of the only answer.
    """

    def __init__(self, rules: TokenRules, rows: int, listener: Listener | None) -> None:
        self.rules = rules
        self.listener = listener
        self.written: list[list[int]] = [[] for _ in range(rows)]
        # Left on the device until the end: a step waits for the tokens alone.
        self.steps: list[torch.Tensor] = []
        self.rows: list[int] = []

    def choose(self, rows: Sequence[int], logits: torch.Tensor) -> list[int]:
        """Next tokens; see `Choose`."""
        logits = logits.float()
        scores = self._processed(rows, logits) if self.rules.change_logits else logits
        if self.rules.draw is None:
            chosen = scores.argmax(dim=-1)
        else:
            check_finite(logits.amax(dim=-1))  # nothing can be drawn from what is no number
            chosen = self.rules.draw(rows, scores)
        self.steps.append(logits.log_softmax(dim=-1).gather(1, chosen[:, None])[:, 0])
        self.rows.extend(rows)
        tokens: list[int] = chosen.tolist()
        for row, token in zip(rows, tokens, strict=True):
            self.written[row].append(token)
            if self.listener is not None:
                self.listener.put(token)
        return tokens

    def stopped(self, row: int) -> bool:
        """Whether one of the criteria ends a row's answer."""
        ids = self._seen(row, torch.device("cpu"))
        none = torch.empty(1, 0)
        return any(bool(torch.as_tensor(each(ids, none)).all()) for each in self.rules.criteria)

    def _processed(self, rows: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        found = []
        for row, of_row in zip(rows, logits.split(1), strict=True):
            ids, changed = self._seen(row, logits.device), of_row.clone()
            if len(self.written[row]) < self.rules.min_new_tokens:
                changed[:, list(self.rules.withheld)] = -torch.inf
            for process in self.rules.processors:
                changed = process(ids, changed)
            found.append(changed)
        return torch.cat(found)

    def _seen(self, row: int, device: torch.device) -> torch.Tensor:
        return torch.tensor([[*self.rules.before[row], *self.written[row]]], device=device)

    def likelihoods(self) -> list[list[float]]:
        """Log-probabilities of each answer's tokens.

        Raises:
            FloatingPointError: One is no number.
        """
        found = torch.cat(self.steps) if self.steps else torch.empty(0)
        check_finite(found)
        of_rows: list[list[float]] = [[] for _ in self.written]
        for row, value in zip(self.rows, found.tolist(), strict=True):
            of_rows[row].append(value)
        return of_rows


def write_answers(
    model: PreTrainedModel,
    fused: FusedCache,
    last_ids: Sequence[int],
    *,
    rules: TokenRules,
    stops: Stops | None,
    ends: Collection[int],
    max_new_tokens: int,
    listener: Listener | None = None,
) -> list[WrittenAnswer]:
    """Write an answer to each prompt.

    Args:
        model: The model that answers.
        fused: The (fused) caches of the prompts.
        last_ids: Each prompt's last token, which is not in the cache.
        rules: How tokens are chosen.
        stops: Texts that end an answer; None where nothing is to be put into words.
        ends: Token ids that end an answer.
        max_new_tokens: Where a long answer is cut.
        listener: Told the tokens of the only answer.

    Raises:
        FloatingPointError: A log-probability is no number.
    """
    writer = AnswerWriter(rules, len(last_ids), listener)

    def ended(row: int, ids: Sequence[int]) -> bool:
        if ids[-1] in ends or (stops is not None and stops.hit(ids)):
            return True
        return bool(rules.criteria) and writer.stopped(row)

    over: set[int] = set()

    def noted(row: int, ids: Sequence[int]) -> bool:
        if found := ended(row, ids):
            over.add(row)
        return found

    answers = go_on(
        model,
        fused,
        last_ids,
        choose=writer.choose,
        ended=noted,
        max_new_tokens=max_new_tokens,
    )
    return [
        WrittenAnswer(
            tuple(ids),
            "" if stops is None else stops.cut(ids[:-1] if ids and ids[-1] in ends else ids),
            tuple(likelihoods),
            row in over,
        )
        for row, (ids, likelihoods) in enumerate(zip(answers, writer.likelihoods(), strict=True))
    ]
