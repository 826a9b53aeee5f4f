"""Trainings as runs, for a trial of the search and for what it is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import C2CError
from c2c_search.evaluation.results import SystemResult
from c2c_search.host.files import write_text
from c2c_search.host.names import fit
from c2c_search.host.names import fit_path
from c2c_search.report.leaderboard import count
from c2c_search.report.run_notes import escaped
from c2c_search.report.run_notes import note
from c2c_search.study.known import take_over
from c2c_search.study.session import Session
from c2c_search.study.trainer import TrainingRequest
from c2c_search.tracking.recorded_run import Kind
from c2c_search.tracking.recorded_run import RecordedRun
from c2c_search.tracking.tracker import ChildRun
from c2c_search.training.protocol import DRAFTS
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained


_A_MOMENT = 1e-3  # seconds


@dataclass(frozen=True)
class Recorder:
    """Hands what a training tells to its run and to the view.

    Args:
        name: Of the training, as the view shows it.
        config: Of the training.
        run: Of the training.
        session: Of the study.
        goes_on: Whether the training goes on after a rung.
    """

    name: str
    config: TrialConfig
    run: ChildRun
    session: Session
    goes_on: Callable[[Rung], bool]

    def on_step(self, step: Step) -> None:
        # Not written at once: what is lost with this process, the training tells again.
        self.run.metrics(step.step, step.metrics)
        self.session.view.step(self.name, step.step, step.loss)

    def on_rung(self, rung: Rung) -> bool:
        self.run.metrics(rung.step, rung.metrics)
        if rung.step < self.config.training.steps:  # what is answered is not told again
            self.run.flush()
        self.session.view.rung(self.name, rung.step, self.session.score(self.config.pair, rung))
        return self.goes_on(rung)


@dataclass(frozen=True)
class Recording:
    """A training, with the run that everything about it is recorded in.

    The run is left open, to be finished with the training.

    Args:
        session: Of the study.
        run: Of the training.
        train: What the worker is asked.
        name: Of the training, as the view shows it.
        goes_on: Asked at every rung.
        about: What it is, in Markdown.
        steps: Where it will end, if before the trial's own: it is a reference then.
    """

    session: Session
    run: ChildRun
    train: Train
    name: str
    goes_on: Callable[[Rung], bool]
    about: str
    steps: int | None = None

    def begin(
        self, shown: Mapping[str, object], *, of_budget: bool, known: bool = False
    ) -> TrainingRequest:
        """Record what begins.

        Args:
            shown: Settings that the view shows.
            of_budget: Whether it is one of the study's trials.
            known: Whether another study has trained it: what that takes is no trial's time.

        Returns:
            What the trainer is to train.
        """
        config = self.train.config
        steps = self.steps or config.training.steps
        models = {"receiver": config.pair.receiver, "sharer": config.pair.sharer}
        self.run.note(note(self.about, {**models, **shown}))
        if not known:
            self.session.view.begin(self.name, shown, steps, of_budget=of_budget)
        if self._fuser:  # what else learns has no fuser to be described or found
            text = config.to_yaml()
            self.run.config(config, text)
            # With its name in front, by which `c2c-search eval` finds it.
            file = Path(self.train.directory) / "trial.yaml"
            write_text(file, f"# {self.name}\n{text}")
            self.train.objective.write(file.parent)
        recorder = Recorder(self.name, config, self.run, self.session, self.goes_on)
        return TrainingRequest(self.train, recorder)

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
        session, config, run = self.session, self.train.config, self.run
        pair = next(name for name, pair in session.space.pairs.items() if pair == config.pair)
        session.log_data(run, pair, "train", "validation")
        # What the study's start had prepared cost a training nothing; the study's run has it.
        seconds = {part: spent for part, spent in ended.seconds.items() if spent >= _A_MOMENT}
        run.cost(seconds, parameters=ended.parameters, size=ended.bytes)
        run.summary(ended.metrics)
        run.note_first(_result(ended, config.training.steps if self.steps is None else self.steps))
        if math.isnan(ended.objective):
            return Failed(failure="diverged", message="the validation objective is not a number")
        if self.steps is None:  # a reference has none: objectives are measured against it
            run.objective(self._objective(ended))
        if self._fuser:
            folder = Path(self.train.directory)
            run.artifact_dir(folder / ended.best_dir, "fuser")
            if config.fuser.drafts:
                run.text(DRAFTS, (folder / DRAFTS).read_text(encoding="utf-8"))
        return ended

    def _objective(self, ended: Trained) -> float:
        """Of a control too, whose own is another: so that it stands among the trials."""
        objective = self.session.objective(self.train.config.pair)
        if self.train.objective == objective:
            return ended.objective
        # What hears nothing answers a wrong message as it answers the right one.
        deranged = ended.accuracy if ended.deranged is None else ended.deranged
        return objective.value(ended.accuracy, deranged)

    @property
    def _fuser(self) -> bool:
        return self.train.learner == "fuser"


def train_once(
    session: Session,
    train: Train,
    name: str,
    kind: Kind,
    tags: Mapping[str, object],
    *,
    shown: Mapping[str, object],
    to_the_end: bool = True,
) -> Trained | Failed:
    """Train what a trial is compared with, in a run of its own.

    It is recorded once; a training that was cut short goes on, and is recorded in its place.

    Args:
        session: Of the study.
        train: What the worker is asked.
        name: Of the run.
        kind: Of the run.
        tags: Of the run.
        shown: Settings that the view shows.
        to_the_end: Whether it goes on after the first rung.
    """
    once = Once(session, name, kind, tags)
    if once.recorded:
        return session.trainer.known(train)
    run = once.open()
    training = train.config.training
    steps = None if to_the_end else training.rung_steps[0]
    take_over(session, train, run, name, steps or training.steps)
    recording = Recording(session, run, train, name, lambda rung: to_the_end, once.about, steps)
    try:
        ended = session.trainer.train(recording.begin(shown, of_budget=False))
    except BaseException:
        recording.interrupt()
        raise
    ended = recording.end(ended)
    if isinstance(ended, Failed):
        session.view.end(name, "failed", why=reason(ended))
        log_failure(run, ended)
        run.finish("FAILED")
        return ended
    session.view.end(name, "complete", session.score(train.config.pair, ended))
    run.finish("FINISHED")
    once.mark()
    return ended


class Once:
    """A child run that is recorded once; one that was cut short is recorded again, in place.

    Args:
        session: Of the study.
        name: Of the run.
        kind: Of the run.
        tags: Of the run.
    """

    def __init__(
        self, session: Session, name: str, kind: Kind, tags: Mapping[str, object]
    ) -> None:
        self._session = session
        self._name = name
        self._kind = kind
        self._tags = tags
        self._key = f"recorded/{fit(name)}"

    @property
    def about(self) -> str:
        """What it is, in Markdown."""
        study = escaped(self._session.space.study)
        if self._kind == "twin":
            return f"A twin in study {study}: the same training without anything from a sharer."
        if self._kind == "seed":
            return f"A finalist of study {study}, trained again with another seed."
        return f"A control in study {study}: what a fuser must beat to be champion."

    @property
    def recorded(self) -> bool:
        """Whether an earlier stage, or an earlier start, has recorded it."""
        return bool(self._session.study.user_attrs.get(self._key))

    def open(self) -> ChildRun:
        """The run."""
        return self._session.child(self._name, self._kind, self._tags)

    def mark(self) -> None:
        """Say that it is recorded."""
        self._session.study.set_user_attr(self._key, True)


def log_accuracy(run: RecordedRun, prefix: str, result: SystemResult) -> None:
    """Record accuracy on a split, overall and by group."""
    groups = result.accuracy_by_group()
    run.summary(
        {
            f"{prefix}/accuracy": result.accuracy,
            **{f"{prefix}/group/{fit_path(group)}": value for group, value in groups.items()},
        }
    )


def early(ended: Trained, steps: int) -> str:
    """When and why a training was pruned."""
    return f"at step {ended.step} of {steps}: others had done better by then"


def reason(failed: Failed) -> str:
    """Why a training failed, its class first."""
    return f"({failed.failure}): {failed.message}"


def log_failure(run: RecordedRun, failed: Failed) -> None:
    """Record why a training failed: in words, and as tags to filter by."""
    run.note_first(f"It failed {escaped(reason(failed))}")
    run.tags({"c2c.failure": failed.failure, "c2c.failure_message": failed.message})


def _result(ended: Trained, steps: int) -> str:
    """How a training ended, in Markdown."""
    about = f"Trained to its end, step {ended.step}."
    if ended.pruned:
        about = f"Stopped early, {early(ended, steps)}."
    values: dict[str, object] = {"accuracy on validation": ended.accuracy}
    if ended.deranged is not None:
        values["with another item's message"] = ended.deranged
    return note(about, {**values, "parameters": count(ended.parameters)})
