"""A DeepSpeed engine around what is trained alone; language models stay outside."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

import torch

from c2c_search.config.deepspeed import passed_on
from c2c_search.config.stages import stage_at
from c2c_search.training import checkpoint
from c2c_search.training.checkpoint import EngineState
from c2c_search.training.checkpoint import Position
from c2c_search.training.checkpoint import State
from c2c_search.training.process import release_memory
from c2c_search.training.process import start_deepspeed
from c2c_search.training.randomness import random_state
from c2c_search.training.ranks import own_ranks
from c2c_search.training.split_state import SplitState


if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from c2c_search.config.training import TrainingConfig


# Beginnings of the tensors' names in a checkpoint.
_MODULE, _OPTIMIZER, _RANDOM = "module.", "optimizer.", "random."

# What DeepSpeed's loss scale for float16 and its next change follow from.
_SCALE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


_OTHER_RANK = re.compile(rf"{re.escape(_RANDOM)}rank-[0-9]+\.")


class Trainable(Protocol):
    """A torch module that says how its parameters are to be optimized: a fuser, an adapter."""

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...

    def parameter_groups(
        self, learning_rate: float, weight_decay: float
    ) -> list[dict[str, Any]]: ...


class TrainingEngine:
    """One training's optimizer state, schedule and checkpoints, around one module.

    Where several ranks train together, each has one, and all of them save and resume at once. A
    checkpoint does not tell how many they were.

    A context manager: a DeepSpeed engine that is not destroyed leaks its optimizer.

    Args:
        module: The network to train, on its device, in float32.
        config: Steps, batch, rates and ZeRO stage.
    """

    def __init__(self, module: Trainable, config: TrainingConfig) -> None:
        self.ranks = own_ranks()
        deepspeed = start_deepspeed()
        groups = module.parameter_groups(config.learning_rate, config.weight_decay)
        optimizer = torch.optim.AdamW(groups, fused=True)
        self.module = module
        self.clip_here = config.gradient_clipping if config.zero_stage == 0 else 0.0
        self.engine, *_ = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            lr_scheduler=torch.optim.lr_scheduler.LambdaLR(
                optimizer, [rate(config, group) for group in groups]
            ),
            config={"steps_per_print": 10**9}
            | passed_on(config)
            | {
                "train_micro_batch_size_per_gpu": config.batch_size,
                "gradient_accumulation_steps": config.passes // self.ranks.count,
                "gradient_clipping": 0.0 if self.clip_here else config.gradient_clipping,
            },
        )
        self._split = (
            None if config.zero_stage == 0 else SplitState(self.engine.optimizer, self.ranks)
        )
        self._norm: torch.Tensor | None = None

    def __enter__(self) -> TrainingEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.engine.destroy()
        release_memory()

    def __call__(self, *inputs: Any) -> torch.Tensor:
        """The module's own forward pass, under the engine."""
        output: torch.Tensor = self.engine(*inputs)
        return output

    def backward_and_step(self, loss: torch.Tensor) -> None:
        """One micro-step; the optimizer and the schedule move at accumulation boundaries.

        Stage 0 clips here, which gives the same result as DeepSpeed's clipping and, unlike it,
        the norm.
        """
        self.engine.backward(loss)
        if self.clip_here and self.engine.is_gradient_accumulation_boundary():
            self._norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_here)
        self.engine.step()

    @property
    def gradient_norm(self) -> float:
        """Of the last step, before clipping; NaN where DeepSpeed clips. Waits for a GPU."""
        return math.nan if self._norm is None else float(self._norm)

    @property
    def learning_rate(self) -> float:
        """The first group's rate at this step; a fuser's projectors'."""
        return float(self.engine.get_lr()[0])

    def save(self, directory: Path, trained: str, position: Position) -> None:
        """Write a checkpoint to resume from; the one before it goes once this one stands.

        The first rank writes, and what the others hold of it they send.

        Args:
            directory: Of this training's checkpoints.
            trained: What it is of; see `checkpoint.State`.
            position: Where its loop stands, after a whole optimizer step.
        """
        engine = EngineState(
            global_steps=self.engine.global_steps,
            micro_steps=self.engine.micro_steps,
            scheduled=self.engine.lr_scheduler.last_epoch,
            learning_rates=[float(group["lr"]) for group in self._optimizer.param_groups],
            loss_scale={
                name: float(getattr(self._scaler, name))
                for name in _SCALE
                if hasattr(self._scaler, name)
            },
        )
        state, tensors = State(trained=trained, engine=engine, position=position), self._tensors()
        if self.ranks.first:
            checkpoint.write(directory, state, tensors)

    def resume(self, directory: Path, trained: str, *, seed: int = 0) -> Position | None:
        """Go on from the checkpoint in ``directory``; None if there is none.

        Args:
            directory: As for `save`.
            trained: As for `save`.
            seed: What ranks draw from that the checkpoint knows no random state of.

        Raises:
            IntegrityError: It is not one that this training wrote.
        """
        found = checkpoint.read(directory, trained)
        if found is None:
            self.ranks.draw_from({}, seed)
            return None
        state, tensors, path = found
        moments = self._moments(tensors)
        checkpoint.require_tensors(tensors, self._expected(tensors, moments), path)
        if len(state.engine.learning_rates) != len(self._optimizer.param_groups):
            raise checkpoint.refused(path, "there are not as many learning rates as groups")
        self._restore(state.engine, tensors, moments)
        self.ranks.draw_from(_named(_RANDOM, tensors), seed)
        return state.position

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        """AdamW itself, below what ZeRO puts around it."""
        around = self.engine.optimizer
        return getattr(around, "optimizer", around)

    @property
    def _scaler(self) -> Any:
        """What scales the loss of a training in float16; nothing where none does."""
        scaler = getattr(self.engine.optimizer, "loss_scaler", None)
        return scaler if getattr(scaler, "dynamic", False) else None

    def _tensors(self) -> checkpoint.Tensors:
        """All that is not a counter, by name, whole on every rank."""
        state, split = self._optimizer.state_dict()["state"], self._split
        moments = {
            f"{_OPTIMIZER}{index}.{name}": split.whole(index, part)
            if split and part.dim()
            else part
            for index, own in state.items()
            for name, part in own.items()
        }
        random = {f"{_RANDOM}{kind}": each for kind, each in self.ranks.random_states().items()}
        return self._weights() | moments | random

    def _weights(self) -> checkpoint.Tensors:
        state = self.engine.module.state_dict()
        return {f"{_MODULE}{name}": tensor for name, tensor in state.items()}

    def _moments(self, tensors: checkpoint.Tensors) -> dict[int, checkpoint.Tensors]:
        """The optimizer's own tensors of a checkpoint, by the parameter they are of."""
        moments: dict[int, checkpoint.Tensors] = {}
        for name, tensor in tensors.items():
            if name.startswith(_OPTIMIZER):
                index, _, what = name.removeprefix(_OPTIMIZER).partition(".")
                moments.setdefault(int(index) if index.isdecimal() else -1, {})[what] = tensor
        return moments

    def _expected(
        self, tensors: checkpoint.Tensors, moments: dict[int, checkpoint.Tensors]
    ) -> checkpoint.Tensors:
        """Tensors as this training's checkpoint has them; a step not made has no moments yet."""
        expected, split = self._weights(), self._split
        optimized = [each for group in self._optimizer.param_groups for each in group["params"]]
        wholes = dict(enumerate(optimized))
        if split is not None:
            wholes = {group: torch.zeros(split.size(group)) for group in wholes}
        for index, whole in wholes.items():
            if moments.get(index):
                prefix = f"{_OPTIMIZER}{index}."
                expected |= {f"{prefix}{name}": whole for name in ("exp_avg", "exp_avg_sq")}
                expected[f"{prefix}step"] = torch.tensor(0.0)
        for kind, state in random_state().items():
            others = (name for name in tensors if _OTHER_RANK.fullmatch(name.removesuffix(kind)))
            expected |= dict.fromkeys([f"{_RANDOM}{kind}", *others], state)
        return expected

    def _restore(
        self,
        state: EngineState,
        tensors: checkpoint.Tensors,
        moments: dict[int, checkpoint.Tensors],
    ) -> None:
        own, split = self._optimizer, self._split
        self.engine.module.load_state_dict(_named(_MODULE, tensors))
        if split is not None:  # it steps a copy of its own
            self.engine.optimizer.refresh_fp32_params()
            moments = {
                group: {
                    name: split.part(group, each) if each.dim() else each
                    for name, each in of_group.items()
                }
                for group, of_group in moments.items()
            }
        groups = own.state_dict()["param_groups"]
        for group, rate in zip(groups, state.learning_rates, strict=True):
            group["lr"] = rate
        own.load_state_dict({"state": moments, "param_groups": groups})
        scheduler = self.engine.lr_scheduler
        scheduler.load_state_dict(
            scheduler.state_dict()
            | {
                "last_epoch": state.scheduled,
                "_step_count": state.scheduled + 1,
                "_last_lr": state.learning_rates,
            }
        )
        self.engine.global_steps = state.global_steps
        # Ranks that are fewer than those before make more passes.
        self.engine.micro_steps = state.global_steps * self.engine.gradient_accumulation_steps()
        self.engine.global_samples = state.global_steps * self.engine.train_batch_size()
        for name, value in state.loss_scale.items():
            setattr(self._scaler, name, value if name == "cur_scale" else int(value))


def _named(prefix: str, tensors: checkpoint.Tensors) -> checkpoint.Tensors:
    """Those of a kind, without its prefix."""
    return {
        name.removeprefix(prefix): each
        for name, each in tensors.items()
        if name.startswith(prefix)
    }


def schedule(config: TrainingConfig) -> Callable[[int], float]:
    """Share of a stage's peak learning rate at a step: linear warm-up, then the decay to zero.

    Each stage has its own; a training without stages is one.
    """
    course = config.course

    def share(step: int) -> float:
        stage, step = stage_at(course, step)
        steps = course[stage].steps
        warmup = max(1, round(config.warmup * steps))
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return {
            "constant": 1.0,
            "linear": 1.0 - progress,
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        }[config.schedule]

    return share


def rate(config: TrainingConfig, group: Mapping[str, Any]) -> Callable[[int], float]:
    """What an optimizer group's own rate is multiplied by at a step.

    Args:
        config: Its stages may have rates of their own.
        group: As `Trainable.parameter_groups` makes it for the training's rate; ``gates`` marks
            that of the gates, whose rate a stage may set by itself.
    """
    course, share = config.course, schedule(config)
    peaks = []
    for stage in course:
        own = stage.learning_rate or config.learning_rate
        times = stage.gate_learning_rate_multiplier if group.get("gates") else None
        peaks.append(own / config.learning_rate if times is None else own * times / group["lr"])
    return lambda step: share(step) * peaks[stage_at(course, step)[0]]
