"""A finalist that is judged, and ships, listening only where its receiver is unsure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from c2c_search.evaluation.guard import REPORT
from c2c_search.evaluation.guard import SELECTION
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.systems.confident import doubt_as_written
from c2c_search.evaluation.systems.confident import fit_limit
from c2c_search.evaluation.systems.confident import listen
from c2c_search.evaluation.systems.confident import skipped
from c2c_search.evaluation.systems.registry import SUBJECT
from c2c_search.inference.doubt import Listening
from c2c_search.study.session import Session
from c2c_search.training.protocol import Split


Answers = Callable[[str, Split], SystemResult]
"""What a system of a finalist answers on a split."""


def judged_as(session: Session) -> tuple[str, ...]:
    """What tells what is judged from a finalist that always listens; empty if it does."""
    rule = session.space.pipeline.champion.listening
    return () if rule == "always" else (rule,)


def heard(session: Session, answers: Answers, system: str) -> SystemResult:
    """What a finalist answers on test: always by what it hears, or only where it is unsure.

    Args:
        session: Of the study.
        answers: Of the finalist.
        system: Itself, or itself with another message: the receiver is as sure as before.
    """
    found = answers(system, REPORT)
    if not judged_as(session):
        return found
    return as_heard(session, answers, found, answers("receiver", REPORT))


def as_heard(
    session: Session, answers: Answers, found: SystemResult, alone: SystemResult
) -> SystemResult:
    """The same of answers to any items, also those of another task.

    Args:
        session: Of the study.
        answers: Of the finalist.
        found: What it answers by what it hears.
        alone: What its receiver answers alone.
    """
    if not judged_as(session):
        return found
    limit = fit_limit(*_validation(answers))
    return listen(alone, found, limit).model_copy(update={"system": found.system})


def listening_of(session: Session, answers: Answers) -> Listening | None:
    """The doubts below which a champion's sharer is not asked, and what that saved on test.

    An answer in words is as sure as its tokens are; that limit is fitted on the option which the
    receiver chose, read as if it had been written.

    Args:
        session: Of the study.
        answers: Of the finalist.

    Returns:
        None if it always listens.
    """
    if not judged_as(session):
        return None
    length_normalised = session.space.pipeline.evaluation.length_normalised
    validation = _validation(answers)
    choices = fit_limit(*validation)
    as_written = partial(doubt_as_written, length_normalised=length_normalised)
    return Listening(
        choices=choices,
        words=fit_limit(*validation, as_written),
        length_normalised=length_normalised,
        skipped=skipped(answers("receiver", REPORT), choices),
    )


def _validation(answers: Answers) -> tuple[SystemResult, SystemResult]:
    """What limits are fitted on: the receiver alone, and the finalist that hears every message."""
    return answers("receiver", SELECTION), answers(SUBJECT, SELECTION)
