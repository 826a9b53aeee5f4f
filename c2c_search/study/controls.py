"""What the fusers are compared with, each model alone and each finalist's twin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.results import SystemResult
from c2c_search.host.names import fit
from c2c_search.host.names import fit_path
from c2c_search.models.pair import PairSpec
from c2c_search.models.sources import short_names
from c2c_search.report.notes import escaped
from c2c_search.report.notes import note
from c2c_search.space.reference import reference
from c2c_search.study.recording import Recording
from c2c_search.study.recording import recorder
from c2c_search.study.session import Session
from c2c_search.tracking.recorded_run import Kind
from c2c_search.tracking.recorded_run import RecordedRun
from c2c_search.tracking.tracker import ChildRun
from c2c_search.training import retries
from c2c_search.training.protocol import Adapted
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Split
from c2c_search.training.protocol import System
from c2c_search.training.protocol import Trained


@dataclass(frozen=True)
class SingleModel:
    """A model of the study on its own.

    Args:
        source: The model.
        pair: Name of the first pair it is in.
        role: What it is there; it answers the same way in both.
        short: Its short name among the study's models.
    """

    source: str
    pair: str
    role: System
    short: str

    @property
    def name(self) -> str:
        """What reports and runs call it."""
        return f"{self.short} alone"

    @property
    def key(self) -> str:
        """File name of its measurements."""
        return fit(self.source)


def single_models(pairs: Mapping[str, PairSpec]) -> list[SingleModel]:
    """Every model of the study once, receivers first."""
    models: dict[str, SingleModel] = {}
    short = short_names(
        source for pair in pairs.values() for source in (pair.receiver, pair.sharer)
    )
    for role in ("receiver", "sharer"):
        for name, pair in pairs.items():
            source = getattr(pair, role)
            models.setdefault(source, SingleModel(source, name, role, short[source]))
    return list(models.values())


def measure_alone(session: Session, model: SingleModel, split: Split) -> SystemResult:
    """Let a model answer a split without any fuser."""
    request = Evaluate(system=model.role, pair=session.space.pairs[model.pair], split=split)
    return session.trainer.measure(f"{split}/{model.key}", request)


def run_controls(session: Session) -> None:
    """Measure every single model on validation and record it, each in a run of its own."""
    models = single_models(session.space.pairs)
    for index, model in enumerate(models):
        session.view.stage("controls", index, len(models), model.name)
        result = measure_alone(session, model, "validation")
        tags = {"c2c.control": "alone", "c2c.model": model.source}
        with_run = _Once(session, model.name, "control", tags)
        if with_run.recorded:
            continue
        run = with_run.open()
        run.note(note("A model of the study on its own.", {"model": model.source}))
        run.params({"model": model.source})
        session.log_data(run, model.pair, "validation")
        log_accuracy(run, "validation", result)
        if model.role == "receiver":
            pair = session.space.pairs[model.pair]
            run.objective(session.objective(pair, result.accuracy))
        run.finish("FINISHED")
        with_run.mark()


def reference_name(pair: str) -> str:
    """What reports and runs call a pair's no-sharer reference."""
    return f"{pair} without sharer"


def train_references(session: Session) -> None:
    """With several pairs, train each one's no-sharer reference; see `Session.objective`.

    It is a twin of the pair's first enqueued setting, trained to the first rung only, with a
    seed of its own, so that it is never taken for a finalist's twin.

    Raises:
        C2CError: One cannot be trained; its pair's trials could not be compared.
    """
    space = session.space
    if len(space.pairs) == 1:
        return
    for index, (name, pair) in enumerate(space.pairs.items()):
        session.view.stage("controls", index, len(space.pairs), reference_name(name))
        config = space.configuration(reference(space, name))
        config = config.model_copy(update={"seed": config.seed + 1})
        ended = train_twin(session, config, reference_name(name), to_the_end=False)
        if isinstance(ended, Failed):
            raise retries.error(ended, f"{reference_name(name)} could not be trained")
        session.references[str(pair)] = ended.objective


def log_accuracy(run: RecordedRun, prefix: str, result: SystemResult) -> None:
    """Record accuracy on a split, overall and by group."""
    groups = result.accuracy_by_group()
    run.summary(
        {
            f"{prefix}/accuracy": result.accuracy,
            **{f"{prefix}/group/{fit_path(group)}": value for group, value in groups.items()},
        }
    )


def twin_name(finalist: str) -> str:
    """What reports and runs call a finalist's no-sharer twin."""
    return f"{finalist} twin"


def train_twin(
    session: Session, config: TrialConfig, name: str, *, to_the_end: bool = True
) -> Trained | Failed:
    """Train a no-sharer twin: the same trial without what it hears.

    Args:
        session: Of the study.
        config: Of the trial that it is the twin of.
        name: Of the twin.
        to_the_end: Whether it goes on after the first rung.
    """
    return _train_once(
        session,
        config.with_blank_sharer(),
        _Once(session, name, "twin", {"c2c.twin_of": config.hash()}),
        shown={"sharer": "blank"},
        to_the_end=to_the_end,
    )


def train_control(session: Session, config: TrialConfig, name: str) -> Trained | Failed:
    """Train a control that is a fuser of another kind, to its end.

    Args:
        session: Of the study.
        config: Of the control itself.
        name: Of the control.
    """
    once = _Once(session, name, "control", {"c2c.control": config.fuser.projector})
    return _train_once(session, config, once, shown={"projector": config.fuser.projector})


def adapt_control(session: Session, config: TrialConfig, parameters: int, name: str) -> Adapted:
    """Train LoRA on a trial's receiver alone, with the trial's data, steps and seed.

    Args:
        session: Of the study.
        config: Of the trial.
        parameters: Of the trial's fuser; the adapter has no more.
        name: Of the control.

    Raises:
        C2CError: It cannot be trained; a champion could not be compared with it.
    """
    directory = session.files.trial(f"{config.hash()}-lora")
    once = _Once(session, name, "control", {"c2c.control": "lora"})
    run = None if once.recorded else once.open()
    if run is not None:
        run.note(note(once.about, {"receiver": config.pair.receiver, "control": "LoRA"}))
        session.view.begin(name, {"control": "LoRA"}, config.training.steps, of_budget=False)
    ended = session.trainer.adapt(config, parameters, directory, recorder(session, run, name))
    if isinstance(ended, Failed):
        session.view.end(name, "failed")
        raise retries.error(ended, f"{name} could not be trained")
    if run is not None:
        session.view.end(name, "complete", ended.objective)
        run.cost(ended.seconds, parameters=ended.parameters, size=4 * ended.parameters)
        run.summary({**ended.metrics, "lora/rank": ended.rank})
        run.finish("FINISHED")
        once.mark()
    return ended


def _train_once(
    session: Session,
    config: TrialConfig,
    once: _Once,
    *,
    shown: Mapping[str, object],
    to_the_end: bool = True,
) -> Trained | Failed:
    if once.recorded:
        return session.trainer.known(config)
    run = once.open()
    steps = None if to_the_end else config.training.rung_steps[0]
    recording = Recording(
        session, run, config, once.name, lambda rung: to_the_end, once.about, steps
    )
    try:
        ended = session.trainer.train(*recording.begin(shown, of_budget=False))
    except BaseException:
        recording.interrupt()
        raise
    ended = recording.end(ended)
    if isinstance(ended, Failed):
        session.view.end(once.name, "failed")
        run.finish("FAILED")
        return ended
    session.view.end(once.name, "complete", ended.objective)
    run.finish("FINISHED")
    once.mark()
    return ended


class _Once:
    """A child run that is recorded once; one that was cut short is recorded again, in place."""

    def __init__(
        self, session: Session, name: str, kind: Kind, tags: Mapping[str, object]
    ) -> None:
        self._session = session
        self.name = name
        self._kind = kind
        self._tags = tags
        self._key = f"recorded/{fit(name)}"

    @property
    def about(self) -> str:
        """What it is, in Markdown."""
        study = escaped(self._session.space.study)
        if self._kind == "twin":
            return f"A twin in study {study}: the same training without anything from a sharer."
        return f"A control in study {study}: what a fuser must beat to be champion."

    @property
    def recorded(self) -> bool:
        return bool(self._session.study.user_attrs.get(self._key))

    def open(self) -> ChildRun:
        return self._session.child(self.name, self._kind, self._tags)

    def mark(self) -> None:
        self._session.study.set_user_attr(self._key, True)
