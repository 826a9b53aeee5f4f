"""Simulated workers keep the protocol, and made-up trials count as ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from c2c_search.models.pair import PairSpec
from c2c_search.space.sampling import suggest
from c2c_search.space.schema import Space
from c2c_search.study import overview
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained


@pytest.fixture(scope="module")
def simulated(program: Any) -> Any:
    return program("simulated")


class Stop(Exception):
    """The process's end."""


def test_a_training_goes_on_and_tells_again_what_was_not_answered(
    simulated: Any, program: Any, tmp_path: Path
) -> None:
    space = Space.load(simulated.write_space(tmp_path, trials=1, steps=6))
    params = {"fuser.depth": 2, "fuser.width": 32, "training.learning_rate": 1e-3}
    config = suggest(space, optuna.trial.FixedTrial(params))
    train = Train(config=config, directory=str(tmp_path / "trial"))
    left = 5

    def pause() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stop

    def told() -> list[Any]:
        script, events = simulated.Script(pause), []
        try:
            for event in script.events(train):
                events.append(event)
                if isinstance(event, Rung):
                    script.answer(True)
        except Stop:
            return events
        return events

    assert [event.step for event in told()] == [1, 2, 3, 3, 4, 5]
    left = 1
    again = told()
    assert [event.step for event in again if isinstance(event, Step)] == [4, 5, 6]
    assert isinstance(again[-1], Trained)
    asked = Evaluate(
        system="c2c",
        pair=PairSpec(receiver="path:a", sharer="path:b"),
        split="test",
        fuser_dir=again[-1].best_dir,
    )
    (result,) = simulated.Script(pause).events(asked)
    right = sum(item.chosen == item.answer for item in result.items) / len(result.items)
    assert right == pytest.approx(again[-1].accuracy, abs=0.01)


def test_made_up_trials_have_ended(simulated: Any, program: Any, tmp_path: Path) -> None:
    space = Space.load(simulated.write_space(tmp_path, trials=5, steps=6))
    program("many_workers").fill(space, tmp_path, 4)
    opened = overview.open_existing(tmp_path)
    rows = overview.trial_rows(overview.load(opened, "simulated"))
    assert [(row.name, row.state) for row in rows] == [
        (f"trial-{number:03d}", "failed") for number in range(4)
    ]
    assert rows[3].params == rows[0].params != {}
