"""Pace: what was measured, and what is told of what lies between."""

from __future__ import annotations

import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.models.pair import PairSpec
from c2c_search.study.pace import MeasuredPace
from c2c_search.study.pace import TrainingCost
from c2c_search.study.pace import between


SMALL = TrainingCost(start=1.0, step=0.2, judged=0.1, parameters=100)
LARGE = TrainingCost(start=3.0, step=0.6, judged=0.3, parameters=300)


def test_what_lies_between_two_fusers_takes_in_proportion() -> None:
    found = between([SMALL, LARGE], 200)
    assert (found.start, found.step, found.judged) == pytest.approx((2.0, 0.4, 0.2))
    assert between([SMALL, LARGE], 50) == SMALL
    assert between([SMALL, LARGE], 400) == LARGE
    assert between([SMALL], 200) == SMALL


def _trial(receiver: str, width: int = 8) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "pair": {"receiver": receiver, "sharer": "path:b"},
            "fuser": {"width": width},
            "training": {},
            "data": {},
            "evaluation": {},
            "seed": 0,
        }
    )


def test_what_was_not_measured_of_a_pair_is_taken_from_another() -> None:
    there, back = _trial("path:a"), _trial("path:c")
    pace = MeasuredPace(
        start=1.0,
        spread=(0.9, 1.1),
        measured_seconds=9.0,
        others=0.0,
        basis=(),
        tokens={"path:a": 0.01},
        trainings={there.pair: {there.hash(): SMALL}, back.pair: {back.hash(): LARGE}},
        controls={there.pair: {"no_sharer": SMALL}},
        answers={there.pair: {"receiver": 0.5}},
        parameters=lambda trial: trial.fuser.width,
    )
    assert pace.training(there) == SMALL
    assert pace.training(_trial("path:c", 64)) == LARGE
    assert pace.training(back, "no_sharer") == SMALL
    assert pace.training(back, "lora") == LARGE  # as its own fuser
    assert pace.answer("receiver", PairSpec(receiver="path:c", sharer="path:b")) == 0.5
    assert pace.answer("c2c", back.pair) == LARGE.judged / 2
