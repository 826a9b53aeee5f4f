"""Study room: trainings as runs, for a trial of the search and for a finalist's twin."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from c2c_search.errors import C2CError
from c2c_search.study.ledger import write_atomically
from c2c_search.study.session import Session
from c2c_search.tracking.runs import TrialRun
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Trained
from c2c_search.trial import TrialConfig


@dataclass(frozen=True)
class Recorder:
    """Hands what a training tells to its run and to the view.

    Args:
        run: Of the training.
        session: Of the study.
        goes_on: Whether the training goes on after a rung.
    """

    run: TrialRun
    session: Session
    goes_on: Callable[[Rung], bool]

    def on_step(self, step: Step) -> None:
        self.run.metrics(step.step, step.metrics)
        # At once: after a kill the trial goes on behind its checkpoint, not behind its buffer.
        self.run.flush()
        self.session.view.step(step.step, step.loss)

    def on_rung(self, rung: Rung) -> bool:
        self.run.metrics(rung.step, rung.metrics)
        self.run.flush()
        self.session.view.rung(rung.rung, rung.step, rung.objective)
        return self.goes_on(rung)


class _Silent:
    """Hears a training that is recorded already."""

    def on_step(self, step: Step) -> None:
        pass

    def on_rung(self, rung: Rung) -> bool:
        return True


def recorder(session: Session, run: TrialRun | None) -> Recorder | _Silent:
    """Hears a training that always goes on; without a run nothing is recorded."""
    return _Silent() if run is None else Recorder(run, session, lambda rung: True)


def train(
    session: Session,
    run: TrialRun,
    config: TrialConfig,
    *,
    name: str,
    shown: Mapping[str, object],
    goes_on: Callable[[Rung], bool],
    of_budget: bool,
    steps: int | None = None,
) -> Trained | Failed:
    """Train a fuser and record everything about it in its run.

    The run is left open, to be finished with the trial; interrupted, it is ended as killed.

    Args:
        session: Of the study.
        run: Of the training.
        config: What to train.
        name: Of the training, as the view shows it.
        shown: Settings that the view shows.
        goes_on: Asked at every rung.
        of_budget: Whether it is one of the study's trials.
        steps: Where it will end, if before the trial's own: it is a reference then.

    Returns:
        How it ended; a training whose objective is not a number has diverged.
    """
    run.config(config)
    session.view.begin(name, shown, steps or config.training.steps, of_budget=of_budget)
    directory = session.files.trial(config.hash())
    # With its name in front, by which `c2c-search eval` finds it.
    write_atomically(directory / "trial.yaml", f"# {name}\n{config.to_yaml()}")
    recorder = Recorder(run, session, goes_on)
    try:
        ended = session.bench.train(config, directory, recorder)
    except BaseException:
        with suppress(C2CError):
            run.finish("KILLED", state="INTERRUPTED")
        raise
    if isinstance(ended, Failed):
        return ended
    pair = next(name for name, pair in session.space.pairs.items() if pair == config.pair)
    session.log_data(run, pair, "train", "validation")
    run.cost(ended.seconds, parameters=ended.parameters, size=ended.bytes)
    run.summary(ended.metrics)
    if math.isnan(ended.objective):
        return Failed(failure="diverged", message="the validation objective is not a number")
    if steps is None:  # a reference has none: objectives are measured against it
        run.objective(session.objective(config.pair, ended.objective))
    run.artifact_dir(directory / ended.best_dir, "fuser")
    return ended
