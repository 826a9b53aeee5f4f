"""A DeepSpeed engine around what is trained alone; language models stay outside."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

import torch

from c2c_search.host.files import write_text
from c2c_search.training.process import release_memory
from c2c_search.training.process import start_deepspeed
from c2c_search.training.randomness import random_state
from c2c_search.training.randomness import set_random_state


if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from c2c_search.config.pipeline import TrainingConfig


_POINTER = "latest.json"


class Trainable(Protocol):
    """A torch module that says how its parameters are to be optimized: a fuser, an adapter."""

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...

    def parameter_groups(
        self, learning_rate: float, weight_decay: float
    ) -> list[dict[str, Any]]: ...


class TrainingEngine:
    """One training's optimizer state, schedule and checkpoints, around one module.

    A context manager: a DeepSpeed engine that is not destroyed leaks its optimizer.

    Args:
        module: The network to train, on its device, in float32.
        config: Steps, batch, rates and ZeRO stage.
    """

    def __init__(self, module: Trainable, config: TrainingConfig) -> None:
        deepspeed = start_deepspeed()
        groups = module.parameter_groups(config.learning_rate, config.weight_decay)
        optimizer = torch.optim.AdamW(groups, fused=True)
        self.module = module
        self.clip_here = config.gradient_clipping if config.zero_stage == 0 else 0.0
        self.engine, *_ = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            lr_scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(config)),
            config={
                "train_micro_batch_size_per_gpu": config.batch_size,
                "gradient_accumulation_steps": config.gradient_accumulation,
                "gradient_clipping": 0.0 if self.clip_here else config.gradient_clipping,
                "zero_optimization": {"stage": config.zero_stage},
                "steps_per_print": 10**9,
            },
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

    def save(self, directory: Path, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint to resume from; the one before it goes once this one stands.

        DeepSpeed writes in place and pickles: a pointer of our own, moved last, makes it atomic,
        and only this process's own checkpoints are read back.
        """
        tag = f"step-{step}"
        shutil.rmtree(directory / tag, ignore_errors=True)
        kept = {"rng": random_state(), **state}
        self.engine.save_checkpoint(str(directory), tag=tag, client_state=kept, save_latest=False)
        write_text(directory / _POINTER, json.dumps({"tag": tag}))
        for old in directory.glob("step-*"):
            if old.name != tag:
                shutil.rmtree(old, ignore_errors=True)

    def resume(self, directory: Path) -> dict[str, Any] | None:
        """Go on from the checkpoint in ``directory``; None if there is none."""
        pointer = directory / _POINTER
        if not pointer.is_file():
            return None
        tag = json.loads(pointer.read_text())["tag"]
        path, state = self.engine.load_checkpoint(str(directory), tag=tag)
        if path is None:
            return None
        set_random_state(state["rng"])
        return dict(state)


def schedule(config: TrainingConfig) -> Callable[[int], float]:
    """Share of the peak learning rate at a step: linear warm-up, then the schedule to zero."""
    warmup = max(1, round(config.warmup * config.steps))
    rest = max(1, config.steps - warmup)

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / rest)
        return {
            "constant": 1.0,
            "linear": 1.0 - progress,
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        }[config.schedule]

    return share
