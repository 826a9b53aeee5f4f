"""Further controls that a champion must beat, and the check of the plumbing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from c2c_search.config.trial import canonical_hash
from c2c_search.errors import IntegrityError
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.results import answers_differ
from c2c_search.evaluation.systems.routing import fit_margin
from c2c_search.evaluation.systems.routing import route
from c2c_search.models.pair import PairSpec
from c2c_search.study.controls import adapt_control
from c2c_search.study.controls import measure_alone
from c2c_search.study.controls import single_models
from c2c_search.study.controls import train_control
from c2c_search.study.session import Session
from c2c_search.training import retries
from c2c_search.training.protocol import Adapted
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Split
from c2c_search.training.protocol import Trained


if TYPE_CHECKING:
    from c2c_search.study.finalist import Finalist


TITLES = {
    "routing": "routing",
    "text_relay": "text relay",
    "ridge": "ridge",
    "lora": "LoRA",
}


def further_name(control: str, finalist: str) -> str:
    """What reports call a further control of a finalist."""
    return f"{finalist} {TITLES[control]}"


def train_further(session: Session, one: Finalist) -> None:
    """Train those further controls of a finalist that are trained, with its data and seed.

    Raises:
        C2CError: One cannot be trained.
    """
    controls = session.space.pipeline.champion.controls
    if "ridge" in controls:
        _fitted(session, one)
    if "lora" in controls:
        _adapted(session, one)


def measure_further(session: Session, one: Finalist) -> dict[str, SystemResult]:
    """A finalist's further controls on the test split, by name."""
    measured = {}
    for control in session.space.pipeline.champion.controls:
        name = further_name(control, one.name)
        session.view.stage("test", message=name)
        result = {
            "routing": _routing,
            "text_relay": _text_relay,
            "ridge": _ridge,
            "lora": _lora,
        }[control](session, one)
        measured[name] = result.model_copy(update={"system": name})
    return measured


def check_shut(session: Session, one: Finalist) -> None:
    """Check that a finalist with its gate shut answers as its receiver does.

    Raises:
        IntegrityError: It does not: what was measured is not what the fuser adds.
    """
    receiver = _alone(session, one.config.pair, "receiver", "test")
    request = Evaluate(
        system="shut", pair=one.config.pair, split="test", fuser_dir=_fuser_dir(session, one)
    )
    shut = session.trainer.measure(f"test/{one.config.hash()}-shut", request)
    pairs = zip(shut.items, receiver.items, strict=True)
    unequal = [mine.id for mine, theirs in pairs if answers_differ(mine, theirs)]
    if unequal:
        raise IntegrityError(
            "With its gate shut a fuser must leave its receiver as it is.",
            value=f"{one.name} differs on {len(unequal)} items, such as {unequal[0]}",
            hint="This is a fault of the workbench: please report it with the trial's trial.yaml.",
        )


def _routing(session: Session, one: Finalist) -> SystemResult:
    """Receiver or sharer by confidence, with a margin fitted on validation."""
    pair = one.config.pair
    margin = fit_margin(
        _alone(session, pair, "receiver", "validation"),
        _alone(session, pair, "sharer", "validation"),
    )
    return route(
        _alone(session, pair, "receiver", "test"), _alone(session, pair, "sharer", "test"), margin
    )


def _text_relay(session: Session, one: Finalist) -> SystemResult:
    request = Evaluate(system="text_relay", pair=one.config.pair, split="test")
    return session.trainer.measure(f"test/{_pair_key(one.config.pair)}-text-relay", request)


def _ridge(session: Session, one: Finalist) -> SystemResult:
    config = one.config.with_ridge()
    fuser = session.files.trial(config.hash()) / _fitted(session, one).best_dir
    request = Evaluate(system="c2c", pair=config.pair, split="test", fuser_dir=str(fuser))
    return session.trainer.measure(f"test/{config.hash()}", request)


def _fitted(session: Session, one: Finalist) -> Trained:
    name = further_name("ridge", one.name)
    ended = train_control(session, one.config.with_ridge(), name)
    if isinstance(ended, Failed):
        raise retries.error(ended, f"{name} could not be fitted")
    return ended


def _lora(session: Session, one: Finalist) -> SystemResult:
    adapter = _adapted(session, one).adapter_dir
    request = Evaluate(system="lora", pair=one.config.pair, split="test", adapter_dir=adapter)
    return session.trainer.measure(f"test/{one.config.hash()}-lora", request)


def _adapted(session: Session, one: Finalist) -> Adapted:
    name = further_name("lora", one.name)
    return adapt_control(session, one.config, one.trained.parameters, name)


def _alone(session: Session, pair: PairSpec, role: str, split: Split) -> SystemResult:
    source = getattr(pair, role)
    models = {model.source: model for model in single_models(session.space.pairs)}
    return measure_alone(session, models[source], split)


def _fuser_dir(session: Session, one: Finalist) -> str:
    return str(session.files.trial(one.config.hash()) / one.trained.best_dir)


def _pair_key(pair: PairSpec) -> str:
    return canonical_hash(pair.model_dump())
