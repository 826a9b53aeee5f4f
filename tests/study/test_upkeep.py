"""What is done to a study from outside, seen by its next start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import StoreError
from c2c_search.study import overview
from c2c_search.study import upkeep
from c2c_search.study.driver import Outcome
from c2c_search.training.protocol import Failed
from tests.study.test_driver import optuna_study
from tests.study.test_driver import runs


Run = Callable[..., Outcome]


def fail_one(script: Any) -> None:
    """Let the first trial of the search fail."""
    failed: list[TrialConfig] = []

    def failures(config: TrialConfig) -> Failed | None:
        if config.fuser.sharer == "real" and not failed:
            failed.append(config)
            return Failed(failure="diverged", message="the loss is nan")
        return None

    script.failures = failures


def test_a_trial_that_is_tried_again_takes_the_failed_ones_place(
    run: Run, root: Path, script: Any
) -> None:
    fail_one(script)
    run()
    row = overview.trial_row(optuna_study(root), "0")
    assert (row.state, row.failure) == ("failed", "diverged")
    upkeep.retry(root, "tiny", "0")
    run()
    again = overview.trial_row(optuna_study(root), "0")
    assert again.state in ("complete", "pruned")
    assert (again.params, again.run, again.attempts) == (row.params, row.run, 2)
    rows = overview.trial_rows(optuna_study(root))
    assert [one.name for one in rows] == [f"trial-{number:03d}" for number in range(5)]
    found = runs(root)
    assert found["trial-000"].info.run_id == row.run
    assert found["trial-000"].info.status == "FINISHED"
    assert sum(one.data.tags["c2c.kind"] == "trial" for one in found.values()) == 5


def test_a_study_in_progress_is_seen_from_outside(run: Run, root: Path, script: Any) -> None:
    seen: list[overview.StudyRow] = []

    def at(number: int) -> None:
        if number == 16:
            study = optuna_study(root)
            seen.append(overview.study_row(root, study, steps=True))
            for change in (lambda: upkeep.remove(root, "tiny"), lambda: retry_first(root)):
                with pytest.raises(StoreError):
                    change()

    script.at = at
    run()
    (row,) = seen
    assert (row.driver, row.budget) == ("running", 5)
    (now,) = row.now
    assert now.step in (1, 2, 3, 4)
    after = overview.study_row(root, optuna_study(root))
    assert after.driver == "none"
    assert sum(after.counts.values()) == 5
    assert after.best is not None


def retry_first(root: Path) -> None:
    upkeep.retry(root, "tiny", "0")


def test_a_removed_study_begins_anew(run: Run, root: Path) -> None:
    run(trials=2)
    before = {run.info.run_id for run in runs(root).values()}
    upkeep.remove(root, "tiny")
    run(trials=2)
    after = {run.info.run_id for run in runs(root).values()}
    assert len(after) == len(before)
    assert not before & after
    assert len(optuna_study(root).trials) == 2
