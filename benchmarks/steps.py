"""Training steps of three kinds on the same examples, each with a fuser that began equal.

``stored``: as the workbench trains, from prompt caches that a store keeps. ``recomputed``: the
same step, but both models read its prompts anew. ``reference``: as the published code trains (see
`reference`): prompts read anew, padded, and a loop over the receiver's layers.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from typing import Self

import torch
from reference import LayerLoopFuser
from reference import ReferenceStyle
from reference import ReferenceTraining
from timing import Times
from timing import Watch

from c2c_search.config.training import TrainingConfig
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitLimits
from c2c_search.data.splits import load_splits
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.model import C2CModel
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.tokenization.continuations import response_ids
from c2c_search.tokenization.token_alignment import encode_all
from c2c_search.training.calibration import calibrate
from c2c_search.training.engine import TrainingEngine
from c2c_search.training.step import ReceiverStep


if TYPE_CHECKING:
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.tokenization.templates import Message
    from c2c_search.tokenization.token_alignment import EncodedPrompt


KINDS = ("stored", "recomputed", "reference")

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""How far losses of equal steps may be apart, relatively, by what the models compute in."""

Step = Callable[[Sequence[int], Watch], torch.Tensor]
"""Learns from some examples; gives the loss before, and tells a watch when it has read."""


def published(width: int, layer_share: float = 1.0) -> FuserConfig:
    """The published projector (random output map, so that every gradient flows), ungated."""
    return FuserConfig(width=width, initialisation="random", layer_share=layer_share)


@dataclass(frozen=True)
class Examples:
    """What is learned from.

    Args:
        conversations: What both models read.
        responses: What the receiver should answer.
    """

    conversations: Sequence[Sequence[Message]]
    responses: Sequence[str]

    @classmethod
    def of_quiz(cls, count: int) -> Examples:
        """So many training examples of the built-in quiz, which are short questions."""
        rows = list(load_splits(DataConfig(limit=SplitLimits(train=count))).train)
        return cls([row["messages"] for row in rows], [row["response"] for row in rows])


class Steps:
    """Three kinds of steps; a context manager.

    Args:
        receiver: The model that answers.
        sharer: The model that speaks.
        examples: What is learned from.
        config: The fuser's architecture.
        batch: Examples in a step.
        folder: Where the store keeps prompt caches.
        kinds: Those that are wanted, of `KINDS`.
    """

    def __init__(
        self,
        receiver: LoadedModel,
        sharer: LoadedModel,
        examples: Examples,
        config: FuserConfig,
        *,
        batch: int,
        folder: Path,
        kinds: Sequence[str] = KINDS,
    ) -> None:
        self.batch = batch
        self.pair = C2CModel(receiver, sharer, None)
        self.encoded = _encoded(self.pair, examples)
        end = receiver.text_tokenizer.eos_token_id
        known = response_ids(
            [prompt.receiver_text for prompt in self.encoded],
            [[text] for text in examples.responses],
            self.pair.template,
            receiver.text_tokenizer,
        )
        self.responses = [[*ids, end] for (ids,) in known]
        store = PromptCacheStore(folder)
        self.prompts = PairPrompts(
            encoded=self.encoded,
            receiver=store.get(receiver, [prompt.receiver_ids for prompt in self.encoded]),
            sharer=store.get(sharer, [prompt.sharer_ids for prompt in self.encoded]),
        )
        torch.manual_seed(0)
        self.fuser = Fuser(config, cache_shape(receiver), cache_shape(sharer))
        calibrate(C2CModel(receiver, sharer, self.fuser), self.prompts, seed=0)
        self.training = TrainingConfig(steps=10**6, batch_size=batch)
        self.kinds = tuple(kinds)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        makers: dict[str, Callable[[], Step]] = {
            "stored": lambda: self.stepping(self._stored),
            "recomputed": lambda: self.stepping(self._recomputed),
            "reference": self._reference,
        }
        self.steps: dict[str, Step] = {kind: makers[kind]() for kind in self.kinds}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def rows(self, turn: int) -> list[int]:
        """The examples of a turn, the same for every kind."""
        return [(turn * self.batch + row) % len(self.encoded) for row in range(self.batch)]

    def agreement(self) -> dict[str, float]:
        """Loss (nats) and gradient norm of one step, ours and the reference's; no step is made.

        Raises:
            AssertionError: They are further apart than the models' arithmetic explains.
        """
        rows = self.rows(0)
        ours = C2CModel(
            self.pair.receiver,
            self.pair.sharer,
            copy.deepcopy(self.fuser).train(),
            cache_dtype=self.pair.receiver.model.dtype,
        )
        assert ours.fuser is not None
        exact = ours.cached([self.encoded[row] for row in rows])
        loss = self._loss(ours, exact.batch(range(len(rows))), rows)
        style = self._style()
        its = style.loss(*self._texts(rows))
        found = {
            "loss": float(loss.detach()),
            "reference_loss": float(its.detach()),
            "gradient_norm": _gradient_norm(loss, ours.fuser),
            "reference_gradient_norm": _gradient_norm(its, style.fuser),
        }
        for name in ("loss", "gradient_norm"):
            one, other = found[name], found[f"reference_{name}"]
            furthest = TOLERANCE[self.pair.receiver.model.dtype] * abs(other)
            # Rounding adds up in a gradient: its norm is known half as well as the loss.
            furthest *= 1 if name == "loss" else 2
            assert abs(one - other) <= furthest, f"{name}: {one}, the reference's is {other}"
        return found

    def measure(self, turns: int) -> Times:
        """Seconds of steps of every kind in turn, and (``read``) of reading a stored batch."""
        times: Times = {name: [] for name in (*self.kinds, "read")}
        for turn in range(turns + 1):
            for kind, step in self.steps.items():
                watch = Watch(self.pair.device)
                step(self.rows(turn), watch)
                watch.lap("learn")
                if turn:  # the first warms up
                    times[kind].append(watch.seconds)
                    if kind == "stored":
                        times["read"].append(watch.parts["read"])
        return times

    def once(self, kind: str) -> None:
        """One step on the first examples."""
        self.steps[kind](self.rows(0), Watch(self.pair.device))

    def stepping(self, read: Callable[[Sequence[int]], PairBatch]) -> Step:
        """A step as the workbench makes it, on what is read of its examples."""
        fuser = copy.deepcopy(self.fuser).train()
        model = C2CModel(self.pair.receiver, self.pair.sharer, fuser)
        engine = self._open.enter_context(TrainingEngine(fuser, self.training))

        def step(rows: Sequence[int], watch: Watch) -> torch.Tensor:
            batch = read(rows).to(model.device)
            watch.lap("read")
            loss = self._loss(model, batch, rows, engine)
            engine.backward_and_step(loss)
            return loss.detach()

        return step

    def _reference(self) -> Step:
        training = ReferenceTraining(self._style(), self.training)

        def step(rows: Sequence[int], watch: Watch) -> torch.Tensor:
            return training.step(*self._texts(rows))

        return step

    def _style(self) -> ReferenceStyle:
        receiver, sharer = self.pair.receiver.model, self.pair.sharer.model
        return ReferenceStyle(receiver, sharer, LayerLoopFuser(self.fuser))

    def _texts(self, rows: Sequence[int]) -> tuple[list[EncodedPrompt], list[list[int]]]:
        return [self.encoded[row] for row in rows], [self.responses[row] for row in rows]

    def _stored(self, rows: Sequence[int]) -> PairBatch:
        return self.prompts.batch(rows)

    def _recomputed(self, rows: Sequence[int]) -> PairBatch:
        prompts = self.pair.cached([self.encoded[row] for row in rows])
        return prompts.batch(range(len(rows)))

    def _loss(
        self,
        model: C2CModel,
        batch: PairBatch,
        rows: Sequence[int],
        engine: TrainingEngine | None = None,
    ) -> torch.Tensor:
        fused = model.fuse(batch, through=engine)
        responses = [self.responses[row] for row in rows]
        return ReceiverStep(model.receiver.model, fused, batch.last_ids, responses, 0.0).loss()


@contextmanager
def stepping(
    receiver: LoadedModel,
    sharer: LoadedModel,
    examples: Examples,
    config: FuserConfig,
    *,
    batch: int,
    kinds: Sequence[str] = KINDS,
) -> Iterator[Steps]:
    """`Steps` whose prompt caches are kept as long as they are open."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Steps(
            receiver, sharer, examples, config, batch=batch, folder=Path(folder), kinds=kinds
        ) as steps,
    ):
        yield steps


def _encoded(pair: C2CModel, examples: Examples) -> tuple[EncodedPrompt, ...]:
    return encode_all(
        examples.conversations,
        pair.template,
        pair.receiver.text_tokenizer,
        pair.sharer.text_tokenizer,
    )


def _gradient_norm(loss: torch.Tensor, module: torch.nn.Module) -> float:
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    return float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())
