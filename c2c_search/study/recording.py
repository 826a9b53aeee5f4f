"""Trainings as runs, for a trial of the search and for a finalist's twin."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import C2CError
from c2c_search.host.files import write_text
from c2c_search.report.leaderboard import count
from c2c_search.report.notes import note
from c2c_search.study.session import Session
from c2c_search.study.trainer import TrainingRequest
from c2c_search.tracking.tracker import ChildRun
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Trained


_A_MOMENT = 1e-3  # seconds


@dataclass(frozen=True)
class Recorder:
    """Hands what a training tells to its run and to the view.

    Args:
        name: Of the training, as the view shows it.
        run: Of the training.
        session: Of the study.
        goes_on: Whether the training goes on after a rung.
    """

    name: str
    run: ChildRun
    session: Session
    goes_on: Callable[[Rung], bool]

    def on_step(self, step: Step) -> None:
        self.run.metrics(step.step, step.metrics)
        # At once: after a kill the trial goes on behind its checkpoint, not behind its buffer.
        self.run.flush()
        self.session.view.step(self.name, step.step, step.loss)

    def on_rung(self, rung: Rung) -> bool:
        self.run.metrics(rung.step, rung.metrics)
        self.run.flush()
        self.session.view.rung(self.name, rung.step, rung.objective)
        return self.goes_on(rung)


class _Silent:
    """Hears a training that is recorded already."""

    def on_step(self, step: Step) -> None:
        pass

    def on_rung(self, rung: Rung) -> bool:
        return True


def recorder(session: Session, run: ChildRun | None, name: str) -> Recorder | _Silent:
    """Hears a training that always goes on; without a run nothing is recorded."""
    return _Silent() if run is None else Recorder(name, run, session, lambda rung: True)


@dataclass(frozen=True)
class Recording:
    """A fuser's training, with the run that everything about it is recorded in.

    The run is left open, to be finished with the trial.

    Args:
        session: Of the study.
        run: Of the training.
        config: What is trained.
        name: Of the training, as the view shows it.
        goes_on: Asked at every rung.
        about: What it is, in Markdown.
        steps: Where it will end, if before the trial's own: it is a reference then.
    """

    session: Session
    run: ChildRun
    config: TrialConfig
    name: str
    goes_on: Callable[[Rung], bool]
    about: str
    steps: int | None = None

    def begin(self, shown: Mapping[str, object], *, of_budget: bool) -> TrainingRequest:
        """Record what begins.

        Args:
            shown: Settings that the view shows.
            of_budget: Whether it is one of the study's trials.

        Returns:
            What the workbench is to train.
        """
        self.run.config(self.config)
        pair = self.config.pair
        models = {"receiver": pair.receiver, "sharer": pair.sharer}
        self.run.note(note(self.about, {**models, **shown}))
        steps = self.steps or self.config.training.steps
        self.session.view.begin(self.name, shown, steps, of_budget=of_budget)
        # With its name in front, by which `c2c-search eval` finds it.
        write_text(self._directory / "trial.yaml", f"# {self.name}\n{self.config.to_yaml()}")
        recorder = Recorder(self.name, self.run, self.session, self.goes_on)
        return TrainingRequest(self.config, self._directory, recorder)

    def interrupt(self) -> None:
        """End the run as killed: the training goes on another time."""
        with suppress(C2CError):
            self.run.finish("KILLED", state="INTERRUPTED")

    def end(self, ended: Trained | Failed) -> Trained | Failed:
        """Record how it ended.

        Returns:
            The same; a training whose objective is not a number has diverged.
        """
        if isinstance(ended, Failed):
            return ended
        session, config, run = self.session, self.config, self.run
        pair = next(name for name, pair in session.space.pairs.items() if pair == config.pair)
        session.log_data(run, pair, "train", "validation")
        # What the study's start had prepared cost a training nothing; the study's run has it.
        seconds = {part: spent for part, spent in ended.seconds.items() if spent >= _A_MOMENT}
        run.cost(seconds, parameters=ended.parameters, size=ended.bytes)
        run.summary(ended.metrics)
        run.add_note(_result(ended, config.training.steps if self.steps is None else self.steps))
        if math.isnan(ended.objective):
            return Failed(failure="diverged", message="the validation objective is not a number")
        if self.steps is None:  # a reference has none: objectives are measured against it
            run.objective(session.objective(config.pair, ended.objective))
        run.artifact_dir(self._directory / ended.best_dir, "fuser")
        return ended

    @property
    def _directory(self) -> Path:
        return self.session.files.trial(self.config.hash())


def _result(ended: Trained, steps: int) -> str:
    """How a training ended, in Markdown."""
    early = f"Stopped early, at step {ended.step} of {steps}: others had done better by then."
    about = early if ended.pruned else f"Trained to its end, step {ended.step}."
    values = {"accuracy on validation": ended.objective, "parameters": count(ended.parameters)}
    return note(about, values)
