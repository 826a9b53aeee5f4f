"""All that a study has left behind, read for its report; nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pydantic import ValidationError

from c2c_search.champion.verdict import Verdict
from c2c_search.errors import C2CError
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.results import read_answers
from c2c_search.host.home import expanded
from c2c_search.host.json_store import JsonStore
from c2c_search.host.names import fit
from c2c_search.host.names import is_fit
from c2c_search.space.front import Front
from c2c_search.study import overview
from c2c_search.study.explanation import Explanation
from c2c_search.study.explanation import explained
from c2c_search.study.layout import StudyFiles
from c2c_search.study.overview import StudyRow
from c2c_search.study.overview import TrialRow
from c2c_search.study.storage import BOUNDS
from c2c_search.study.storage import SPACE
from c2c_search.tracking.reconcile import RUN_ID
from c2c_search.training.protocol import Trained


if TYPE_CHECKING:
    from optuna import Study

    from c2c_search.data.schema import Row
    from c2c_search.space.objectives import Measure


@dataclass(frozen=True)
class Findings:
    """What is known of a study.

    Args:
        row: The study.
        trials: Its trials.
        root: Folder of all stores.
        identity: Its space, as the study keeps it.
        verdicts: By finalist; empty before the test split was looked at.
        results: Answers on test, by `fit` of the system's name in reports.
        trained: How each trial's training ended, by its hash.
        receivers: Accuracy of the receiver alone on validation, by trial.
        artifacts: Folder of its run's files; None if they lie elsewhere.
        explanation: What its trials say of its space; None of too few.
        bounds: Of measures, as its last start was told.
    """

    row: StudyRow
    trials: Sequence[TrialRow]
    root: Path
    identity: Mapping[str, Any]
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    results: Mapping[str, SystemResult] = field(default_factory=dict)
    trained: Mapping[str, Trained] = field(default_factory=dict)
    receivers: Mapping[str, float] = field(default_factory=dict)
    artifacts: Path | None = None
    explanation: Explanation | None = None
    bounds: Mapping[Measure, float] = field(default_factory=dict)

    @property
    def front(self) -> Front | None:
        """The Pareto front of its trials; None in a search by one objective."""
        return overview.front_of(self.trials, self.identity.get("objectives"), self.bounds)

    @property
    def objective(self) -> str:
        """Name of what the search maximises, of several objectives the first."""
        return str(self.identity.get("objective", "accuracy"))

    @property
    def leading(self) -> Verdict | None:
        """The champion's verdict, else that of the best finalist on validation."""
        ahead = (each for each in self.verdicts.values() if each.leads)
        return next(ahead, next(iter(self.verdicts.values()), None))

    @property
    def best(self) -> TrialRow | None:
        """The trial that the report says most of: the leading finalist, else the best one."""
        name = None if self.leading is None else self.leading.name
        known = [each for each in self.trials if each.objective is not None]
        judged = next((each for each in self.trials if each.name == name), None)
        return judged or self.row.best or max(known, key=_worth, default=None)

    def answers(self, name: str) -> SystemResult | None:
        """What a system answered on test, by its name in reports."""
        return self.results.get(fit(name))

    def fuser(self, trial: TrialRow) -> Path | None:
        """Folder of what a trial's best rung had learned, if it is still there."""
        files = StudyFiles(self.root, self.row.name)
        ended = self.trained.get(trial.hash or "")
        folders = [files.trial(trial.hash) / ended.best_dir] if trial.hash and ended else []
        if self.row.champion is not None and self.leading and self.leading.name == trial.name:
            folders.append(files.champion)
        return next((each for each in folders if each.is_dir()), None)


def findings(
    name: str | None, root: Path, *, weigh: bool = False, url: str | None = None
) -> Findings:
    """Read a study, whether it runs, has ended, or failed early.

    Args:
        name: Of the study; None for the only one.
        root: Folder of all stores.
        weigh: Whether to weigh its dimensions too, which takes seconds of many trials.
        url: Of the database of trials, in place of the file under the root.

    Raises:
        StoreError: There is none of that name, or a store cannot be read.
    """
    opened = overview.open_existing(root, url)
    return findings_of(overview.load(opened, name), root, weigh=weigh)


def findings_of(study: Study, root: Path, *, weigh: bool = False) -> Findings:
    """The same of a study that is open; see `findings`."""
    root = expanded(root).resolve()
    files = StudyFiles(root, study.study_name)
    row, trials = overview.study_row(root, study), overview.trial_rows(study, files)
    store = JsonStore(files.results)
    hashes = [each.hash for each in trials if each.hash]
    found = {each: store.load(f"trained/{each}", Trained) for each in hashes}
    artifacts = _artifacts(root, study.user_attrs.get(RUN_ID))
    return Findings(
        row=row,
        trials=trials,
        root=root,
        identity=json.loads(study.user_attrs.get(SPACE, "{}")),
        verdicts=_verdicts(artifacts),
        results=_results(artifacts),
        trained={each: ended for each, ended in found.items() if ended is not None},
        receivers=dict(_receivers(files, trials)),
        artifacts=artifacts,
        explanation=_explanation(study) if weigh else None,
        bounds=study.user_attrs.get(BOUNDS, {}),
    )


def test_rows(found: Findings) -> dict[str, Row]:
    """The questions of the test split by id, made or read again; empty if they cannot be.

    Of a study that has been judged: before that nobody is to see them.
    """
    from c2c_search.data.schema import DataConfig
    from c2c_search.data.splits import split_rows

    if not found.verdicts:
        return {}
    try:
        rows, _ = split_rows(DataConfig.model_validate(found.identity["data"]))
    except (C2CError, ValidationError, KeyError, OSError):
        return {}
    return {each["id"]: each for each in rows["test"]}


def _explanation(study: Study) -> Explanation | None:
    """None of too few trials, and of a space from before it was kept in one piece."""
    try:
        return explained(study)
    except (C2CError, KeyError, ValidationError):
        return None


def _worth(trial: TrialRow) -> float:
    return trial.objective or 0.0


def _artifacts(root: Path, run: object) -> Path | None:
    """Where the files of a run lie, also where the root was moved."""
    if not isinstance(run, str) or not is_fit(run):
        return None
    return next(iter(sorted((root / "artifacts").glob(f"*/{run}/artifacts"))), None)


def _verdicts(artifacts: Path | None) -> dict[str, Verdict]:
    if artifacts is None:
        return {}
    try:
        content = json.loads((artifacts / "verdict.json").read_bytes())
        return {name: Verdict.model_validate(each) for name, each in content.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _results(artifacts: Path | None) -> dict[str, SystemResult]:
    paths = [] if artifacts is None else sorted((artifacts / "items").glob("*.json"))
    found = {path.stem: read_answers(path) for path in paths}
    return {name: each for name, each in found.items() if each is not None}


def _receivers(files: StudyFiles, trials: Sequence[TrialRow]) -> list[tuple[str, float]]:
    from c2c_search.space.objective import objective_in

    known = []
    for trial in trials:
        if trial.hash is None:
            continue
        try:
            receiver = objective_in(files.trial(trial.hash)).receiver
        except (C2CError, ValidationError, OSError, ValueError):
            continue
        if receiver is not None:
            known.append((trial.name, receiver))
    return known
