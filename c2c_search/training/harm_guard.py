"""What a training pays for harm: wrong messages, and messages on other tasks, may cost little."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING
from typing import Literal

from c2c_search.evaluation.systems.partners import draw_partners
from c2c_search.inference.anchors import saying
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.training.divergence import DivergedError
from c2c_search.training.order import Order
from c2c_search.training.spoken import responses_of
from c2c_search.training.step import ReceiverStep


if TYPE_CHECKING:
    import torch

    from c2c_search.config.trial import TrialConfig
    from c2c_search.inference.model import C2CModel
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.training.engine import TrainingEngine
    from c2c_search.training.loop import TrainingData
    from c2c_search.training.step import Steps


Kind = Literal["deranged", "other"]
"""Rows of the batch that hear each other's sharer; rows of other tasks that hear their own."""

OTHER_TOKENS = 8
"""Response tokens that are read of a row of another task: harm shows in an answer's first words,
and a step must not take as long as the longest of them. See `other_rows`."""


@dataclass(frozen=True)
class GuardedRows:
    """Rows that a fuser must not spoil, packed, where the models are.

    Args:
        batch: Their prompts.
        responses: What the receiver should be as ready to say as when it is alone.
    """

    batch: PairBatch
    responses: Sequence[Sequence[int]]


class HarmGuard:
    """The one-sided loss of `GuardConfig`, over a batch's response tokens.

    Where there are rows of other tasks, guarded steps take these and wrong messages in turn, each
    with twice the weight: on average the loss is the sum of both, in the time of one. What a step
    guards follows from its number, so that an interruption changes nothing.

    Args:
        config: The trial; it has a guard.
        model: The pair with its fuser.
        data: Training examples, and rows of other tasks, if any.
        responses: Of the training examples.
    """

    def __init__(
        self,
        config: TrialConfig,
        model: C2CModel,
        data: TrainingData,
        responses: Sequence[Sequence[int]],
    ) -> None:
        assert config.training.guard is not None
        self.rules = config.training.guard
        self.excess: dict[Kind, float] = {}
        """Nats per token above the receiver alone, when each was last measured."""
        self._accumulation = config.training.passes
        self._config = config
        self._model, self._data, self._responses = model, data, responses
        self._facts = [(row["group"], row["cluster"]) for row in data.train]
        self._kinds: tuple[Kind, ...] = ("deranged",)
        if data.guard_prompts is not None:
            self._kinds = ("deranged", "other")
            found = responses_of(model, data.guard, data.guard_prompts)
            self._others = [ids[:OTHER_TOKENS] for ids in found]
            self._order = Order(config.seed, len(found), other_rows(config.training.batch_size))
            self._heard = data.guard_prompts
            if model.fuser is not None and model.fuser.contexts_only:
                # Joined once: how tokens are aligned is kept with the prompts.
                self._heard = self._heard.followed_by(data.train_prompts)

    @property
    def metrics(self) -> dict[str, float]:
        """What was last measured, as it is logged with a step."""
        return {f"train/guard_{kind}": excess for kind, excess in self.excess.items()}

    def loss(
        self, engine: TrainingEngine, rows: Sequence[int], micro_step: int
    ) -> Steps[torch.Tensor | None]:
        """What is added to the loss of a pass; None where nothing is.

        Args:
            engine: Around the fuser.
            rows: Training examples of the pass.
            micro_step: Number of the pass, over the whole training.

        Raises:
            DivergedError: It is infinite or NaN.
        """
        step, part = divmod(micro_step, self._accumulation)
        turn, off = divmod(step, self.rules.every)
        if off:
            return None
        kind = self._kinds[turn % len(self._kinds)]
        if kind == "deranged":
            guarded = self.deranged(rows)
        else:
            number = turn // len(self._kinds) * self._accumulation + part
            guarded = self.other(self._order.rows(number), rows)
        if guarded is None:
            return None
        alone, asked = self.alone(guarded).value(), [self.request(engine, guarded)]
        del guarded
        fused = yield asked.pop()  # so that nobody here keeps what is read, nor its prompts
        excess = fused - alone
        self.excess[kind] = float(excess.detach())
        if not math.isfinite(self.excess[kind]):
            raise DivergedError(f"the guard's loss is {self.excess[kind]} at step {step + 1}")
        weight = self.rules.weight * len(self._kinds)
        if weight == 0 or self.excess[kind] <= self.rules.tolerance:
            return None  # and no backward pass
        return weight * (excess - self.rules.tolerance)

    def deranged(self, rows: Sequence[int]) -> GuardedRows | None:
        """Training examples, each with the message of another of them, about another fact.

        Those for which there is none are left out; None if that is all.
        """
        # Of whatever lengths: a batch holds few rows, and the partner's fact matters more.
        (partners,) = draw_partners([self._facts[row] for row in rows], [0] * len(rows), 1)
        pairs = [
            (row, rows[partner])
            for row, partner in zip(rows, partners, strict=True)
            if self._facts[row][1] != self._facts[rows[partner]][1]
        ]
        if not pairs:
            return None
        heard = [partner for _, partner in pairs]
        batch = self._model.batch(self._data.train_prompts, [row for row, _ in pairs], heard)
        return self._packed(batch, [self._responses[row] for row, _ in pairs])

    def other(self, rows: Sequence[int], examples: Sequence[int]) -> GuardedRows:
        """Rows of other tasks, each with its own message; so much of a response as is read.

        A fuser that speaks of contexts alone says nothing of its own accord: there the sharers
        of training examples speak, who have read something else.

        Args:
            rows: Of the other tasks.
            examples: Of the pass.
        """
        assert self._model.fuser is not None
        assert self._data.guard_prompts is not None
        speakers = None
        if self._model.fuser.contexts_only:
            first = len(self._data.guard_prompts)
            speakers = [first + row for row, _ in zip(cycle(examples), rows, strict=False)]
        batch = self._model.batch(self._heard, rows, speakers)
        return self._packed(batch, [self._others[row] for row in rows])

    def request(self, engine: TrainingEngine, guarded: GuardedRows) -> ReceiverStep:
        """What the receiver is to read after what the fuser makes of rows."""
        return self._reading(guarded, self._model.fuse(guarded.batch, through=engine))

    def _packed(self, batch: PairBatch, responses: Sequence[Sequence[int]]) -> GuardedRows:
        return GuardedRows(batch.to(self._model.device), responses)

    def alone(self, guarded: GuardedRows) -> ReceiverStep:
        """The same where the receiver hears nobody, not even a word, and is not adapted."""
        batch, config = guarded.batch, self._config
        if config.fuser.anchored:
            batch = saying(self._model, batch, [()] * len(batch.lengths))
        return self._reading(guarded, FusedCache(batch.receiver, batch.lengths))

    def _reading(self, guarded: GuardedRows, cache: FusedCache) -> ReceiverStep:
        model = self._model.receiver.model
        last_ids = guarded.batch.last_ids
        return ReceiverStep(model, cache, last_ids, guarded.responses, label_smoothing=0.0)


def other_rows(batch_size: int) -> int:
    """Rows of other tasks in a pass: together as long as a batch of responses of 3 tokens."""
    return max(1, 3 * batch_size // OTHER_TOKENS)
