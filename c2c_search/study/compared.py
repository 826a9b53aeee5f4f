"""Two trials, studies or evaluations side by side."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationError

from c2c_search.errors import C2CError
from c2c_search.errors import DataError
from c2c_search.errors import StoreError
from c2c_search.evaluation.record import EvaluationRecord
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.results import read_answers
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.host.names import fit
from c2c_search.report.leaderboard import count
from c2c_search.study.findings import Findings
from c2c_search.study.findings import findings
from c2c_search.study.overview import TrialRow
from c2c_search.study.overview import named_trial
from c2c_search.study.search_sections import pairing_gain


_LEVEL = 0.05


class ComparedRow(BaseModel):
    """One thing in which two sides differ, or that is measured of either."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    a: str
    b: str
    difference: str = ""


class SideBySide(BaseModel):
    """Two sides; JSON round trip.

    Args:
        a: Name of the one.
        b: Name of the other.
        rows: Numbers first, then settings that differ.
        remarks: What follows, and what could not be compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: str
    b: str
    rows: tuple[ComparedRow, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """What is compared.

    Args:
        name: As it was asked for.
        numbers: What is measured of it, by name, which says on which split.
        words: Everything else, by name.
        answers: Of systems on tasks, named so too; the same items can be paired.
    """

    name: str
    numbers: Mapping[str, float]
    words: Mapping[str, str]
    answers: Mapping[str, SystemResult] = field(default_factory=dict)


def side(of: str, folder: Path | None, root: Path, *, url: str | None = None) -> Side:
    """Read one side.

    Args:
        of: ``STUDY``, ``STUDY/TRIAL``, or an evaluation.
        folder: Of the evaluation, where it is one.
        root: Folder of all stores.
        url: Of the studies' database, in place of the one under the root.

    Raises:
        StoreError: There is no such study or trial, or it cannot be read.
        DataError: The evaluation's record is none.
    """
    if folder is not None:
        path = Path(of) if Path(of).is_file() else folder / "evaluation.json"
        return _of_record(of, read_record(path), folder)
    study, _, name = of.partition("/")
    try:
        found = findings(study, root, url=url)
    except StoreError as error:
        hint = f"{error.hint} A trial is STUDY/TRIAL."
        raise StoreError(error.rule, value=error.value, hint=hint) from error
    trial = found.best if not name else named_trial(found.trials, found.row.name, name)
    if trial is None:
        raise StoreError("A study must have a trial to compare.", value=of)
    return _of_trial(f"{found.row.called}/{trial.name}", found, trial)


def read_record(path: Path) -> EvaluationRecord:
    """The record of an evaluation.

    Raises:
        DataError: The file is not one, or cannot be read.
    """
    try:
        return EvaluationRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(
            "An evaluation's record must be as `c2c-search eval --to` wrote it.",
            value=str(path),
            hint="Name the folder that it wrote, or run it again.",
        ) from error


def compare(a: Side, b: Side) -> SideBySide:
    """Only what differs, and what is measured; with intervals where answers can be paired."""
    rows = []
    for name in dict.fromkeys([*a.numbers, *b.numbers]):
        one, other = a.numbers.get(name), b.numbers.get(name)
        apart = "" if one is None or other is None else f"{other - one:+.4g}"
        rows.append(ComparedRow(name=name, a=_number(one), b=_number(other), difference=apart))
    for name in dict.fromkeys([*a.words, *b.words]):
        mine, theirs = a.words.get(name, "-"), b.words.get(name, "-")
        if mine != theirs:
            rows.append(ComparedRow(name=name, a=mine, b=theirs))
    return SideBySide(a=a.name, b=b.name, rows=tuple(rows), remarks=tuple(_remarks(a, b)))


def _remarks(a: Side, b: Side) -> Iterator[str]:
    shared = [name for name in a.answers if name in b.answers]
    for name in shared:
        try:
            found = paired_bootstrap(b.answers[name], a.answers[name], level=_LEVEL)
        except C2CError:
            yield f"{name}: they did not answer the same items, so nothing is paired."
            continue
        points = found.written("+.1f", 100)
        known = "a difference is shown" if found.low > 0 or found.high < 0 else "none is shown"
        yield f"{name}: {b.name} is {points} points ahead of {a.name} (95 % interval); {known}."
    if not shared:
        yield (
            "Not both were measured on test, so no difference is proven; numbers on validation "
            "chose these trials and are too good."
        )


def _of_trial(name: str, found: Findings, trial: TrialRow) -> Side:
    numbers = {
        f"{found.objective} (validation)": trial.objective,
        "A_M (validation)": trial.accuracy,
        "A_D (validation)": trial.deranged,
        "P (validation)": pairing_gain(trial),
    }
    if (verdict := found.verdicts.get(trial.name)) is not None:
        numbers["accuracy (test)"] = verdict.accuracy.value
        if verdict.pairing is not None:
            numbers |= {f"{each} (test)": one for each, one in verdict.pairing.numbers().items()}
    if (ended := found.trained.get(trial.hash or "")) is not None:
        numbers["seconds"] = sum(ended.seconds.values())
    words = {"state": trial.state, "size": count(trial.parameters), "pair": trial.pair or "-"}
    words |= {each: str(value) for each, value in trial.params.items() if each != "pair"}
    answers = found.answers(trial.name)
    return Side(
        name,
        {each: value for each, value in numbers.items() if value is not None},
        words,
        {} if answers is None else {"accuracy (test)": answers},
    )


def _of_record(name: str, record: EvaluationRecord, folder: Path) -> Side:
    numbers: dict[str, float] = {}
    answers: dict[str, SystemResult] = {}
    for task in record.tasks:
        named = f"{task.task} ({task.split})"
        numbers |= {f"{each.system} on {named}": each.score.value for each in task.scores}
        file = folder / "items" / fit(task.task) / f"{fit(task.subject)}.json"
        if (result := read_answers(file, task.split)) is not None:
            answers[named] = result
    words = {
        "subject": record.subject,
        "receiver": record.receiver,
        "sharer": record.sharer or "none",
        "size": count(record.parameters),
        "machine": record.machine,
    }
    return Side(name, numbers, words, answers)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
