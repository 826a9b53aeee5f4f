"""The quiz as a task."""

from __future__ import annotations

from c2c_search.evaluation.tasks.task import TASKS


def test_the_quiz_s_exemplars_are_of_other_countries() -> None:
    made = {split: TASKS["quiz"].built_in(split) for split in ("test", "train")}  # type: ignore[misc]
    test, train = ({row["cluster"] for row in made[split]} for split in made)
    assert test
    assert train
    assert test.isdisjoint(train)
