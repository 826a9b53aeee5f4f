"""What answering with wrong messages takes is added up over a study."""

from __future__ import annotations

import pytest

from c2c_search.training.protocol import Trained


@pytest.fixture(scope="module")
def derangement_cost(program):
    return program("derangement_cost")


def test_the_share_by_hand(derangement_cost, tmp_path):
    folder = tmp_path / "results" / "trained"
    folder.mkdir(parents=True)
    for name, seconds in (
        ("trial", {"train": 80.0, "evaluate": 6.0, "derange": 5.0}),
        ("twin", {"train": 5.0, "evaluate": 4.0}),
    ):
        trained = Trained(
            step=1,
            split="validation",
            pruned=False,
            objective=0.5,
            accuracy=0.5,
            best_rung=0,
            best_dir="best",
            parameters=1,
            bytes=4,
            seconds=seconds,
            metrics={},
        )
        (folder / f"{name}.json").write_text(trained.model_dump_json())
    found = derangement_cost.cost(tmp_path)
    assert found["trainings"] == 2
    assert found["seconds"] == {"train": 85.0, "evaluate": 10.0, "derange": 5.0}
    assert found["share"] == pytest.approx(0.05)


def test_a_study_without_an_end_has_no_cost(derangement_cost, tmp_path):
    with pytest.raises(SystemExit, match="no training has ended"):
        derangement_cost.cost(tmp_path)
