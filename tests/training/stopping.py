"""A training that is stopped before one of its steps, as a kill would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.training.loop import Training


def checkpointed(trial: TrialConfig) -> TrialConfig:
    """The trial with a checkpoint after every step."""
    training = trial.training.model_copy(update={"checkpoint_seconds": 0.0})
    return trial.model_copy(update={"training": training})


def heard(trial: TrialConfig, stop_at: int) -> int:
    """Steps that a driver must have heard of, by its answers, when a `checkpointed` trial stops.

    The others are told again.
    """
    return max((step for step in trial.training.rung_steps if step < stop_at), default=0)


class Stop(BaseException):
    """What no training catches."""


@contextmanager
def stopped(
    monkeypatch: pytest.MonkeyPatch, kind: type[Training], step: int, *, seed: int | None = None
) -> Iterator[None]:
    """Within the block trainings of a kind stop before a step, and one must.

    Args:
        monkeypatch: Of the test.
        kind: Of training.
        step: Steps that are done by then.
        seed: Of the trial that stops; all when left out.
    """
    real = kind._train_step

    def stopping(self, engine):
        if self.step == step and seed in (None, self.config.seed):
            raise Stop
        yield from real(self, engine)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "_train_step", stopping)
        with pytest.raises(Stop):
            yield
