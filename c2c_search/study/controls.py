"""What the search is compared with, each model alone and each pair's no-sharer reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.systems.registry import SYSTEMS
from c2c_search.host.names import fit
from c2c_search.models.pair import PairSpec
from c2c_search.models.sources import short_names
from c2c_search.report.run_notes import note
from c2c_search.space.objective import Objective
from c2c_search.space.reference import reference
from c2c_search.study.recording import Once
from c2c_search.study.recording import log_accuracy
from c2c_search.study.recording import train_once
from c2c_search.study.session import Session
from c2c_search.system_names import TWIN
from c2c_search.training import retries
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Split


@dataclass(frozen=True)
class SingleModel:
    """A model of the study on its own.

    Args:
        source: The model.
        pair: Name of the first pair it is in.
        role: What it is there; it answers the same way in both, unless the data is private.
        short: Its short name among the study's models.
        private: Whether it reads what the receiver does not.
    """

    source: str
    pair: str
    role: str
    short: str
    private: bool = False

    @property
    def name(self) -> str:
        """What reports and runs call it."""
        how = "reading the context" if self.private else "alone"
        return f"{self.short} {how}"

    @property
    def key(self) -> str:
        """Of its measurements in the store, below the split."""
        return f"reading/{fit(self.source)}" if self.private else fit(self.source)


ROLES = ("receiver", "sharer")
"""Systems that are one model of a pair, which is measured once for all its pairs."""


def single_models(pairs: Mapping[str, PairSpec], *, private: bool) -> list[SingleModel]:
    """Every model of the study once, receivers first.

    Args:
        pairs: Of the study, by name.
        private: Whether sharers read what receivers do not: then a model is measured as both.
    """
    models: dict[tuple[str, bool], SingleModel] = {}
    short = short_names(
        source for pair in pairs.values() for source in (pair.receiver, pair.sharer)
    )
    for role in ROLES:
        for name, pair in pairs.items():
            source, reads = getattr(pair, role), private and role == "sharer"
            model = SingleModel(source, name, role, short[source], reads)
            models.setdefault((source, reads), model)
    return list(models.values())


def models_of(session: Session) -> list[SingleModel]:
    """Every single model of a study whose pairs are prepared."""
    return single_models(session.space.pairs, private=session.private)


def model_of(session: Session, pair: PairSpec, role: str) -> SingleModel:
    """A pair's model on its own, in one of `ROLES`."""
    source, reads = getattr(pair, role), session.private and role == "sharer"
    return next(m for m in models_of(session) if (m.source, m.private) == (source, reads))


def measure_alone(session: Session, model: SingleModel, split: Split) -> SystemResult:
    """Let a model answer a split without any fuser."""
    request = Evaluate(system=model.role, pair=session.space.pairs[model.pair], split=split)
    return session.trainer.measure(f"{split}/{model.key}", request)


def measure_models(session: Session) -> None:
    """Measure every single model on validation: what every pair's objective is known by."""
    models = models_of(session)

    def measure(session: Session, index: int, model: SingleModel) -> float:
        session.view.phase("controls", index, len(models), model.name)
        return measure_alone(session, model, "validation").accuracy

    jobs = [partial(measure, index=index, model=one) for index, one in enumerate(models)]
    accuracies = dict(zip(models, session.share(jobs), strict=True))
    for pair in session.space.pairs.values():
        receiver, sharer = (accuracies[model_of(session, pair, role)] for role in ROLES)
        session.objectives[str(pair)] = Objective(
            kind=session.space.search.leading, receiver=receiver, sharer=sharer
        )


def record_models(session: Session) -> None:
    """Record what every single model answers on validation, each in a run of its own."""
    for model in models_of(session):
        result = measure_alone(session, model, "validation")
        tags = {"c2c.control": "alone", "c2c.model": model.source}
        once = Once(session, model.name, "control", tags)
        if once.recorded:
            continue
        run = once.open()
        run.note(note("A model of the study on its own.", {"model": model.source}))
        run.params({"model": model.source})
        session.log_data(run, model.pair, "validation")
        log_accuracy(run, "validation", result)
        if model.role == "receiver":
            pair = session.space.pairs[model.pair]
            # It hears nothing, and answers any message alike.
            run.objective(session.objective(pair).value(result.accuracy, result.accuracy))
        run.finish("FINISHED")
        once.mark()


def reference_name(pair: str) -> str:
    """What reports and runs call a pair's no-sharer reference."""
    return f"{pair} without sharer"


def train_references(session: Session) -> None:
    """With several pairs, train each one's no-sharer reference; see `Objective`.

    Between pairs accuracy misleads: a strong receiver learns a task by itself, and scores high
    without any communication.

    It is a twin of the pair's first enqueued setting, trained to the first rung only, with a
    seed of its own, so that it is never taken for a finalist's twin.

    Raises:
        C2CError: One cannot be trained; its pair's trials could not be compared.
    """
    pairs = list(session.space.pairs)
    if len(pairs) > 1:
        jobs = [partial(_train_reference, number=n) for n in range(len(pairs))]
        session.share(jobs)


def _train_reference(session: Session, number: int) -> None:
    """Train the no-sharer reference of a pair, by its number."""
    space = session.space
    name, pair = list(space.pairs.items())[number]
    session.view.phase("controls", number, len(space.pairs), reference_name(name))
    config = space.configuration(reference(space, name))
    config = config.model_copy(update={"seed": config.seed + 1})
    ended = train_once(
        session,
        session.request(config, SYSTEMS[TWIN].recipe),
        reference_name(name),
        "twin",
        {"c2c.twin_of": config.hash()},
        shown={"sharer": "blank"},
        to_the_end=False,
    )
    if isinstance(ended, Failed):
        raise retries.error(ended, f"{reference_name(name)} could not be trained")
    known = session.objective(pair)
    session.objectives[str(pair)] = known.model_copy(update={"reference": ended.accuracy})
