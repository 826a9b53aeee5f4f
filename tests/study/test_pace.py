"""Pace: what was measured, and what is told of what lies between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.models.pair import PairSpec
from c2c_search.study.pace import MeasuredPace
from c2c_search.study.pace import TrainingCost
from c2c_search.study.pace import between
from c2c_search.system_names import TWIN


SMALL = TrainingCost(start=1.0, step=0.2, judged=0.1, parameters=100)
LARGE = TrainingCost(start=3.0, step=0.6, judged=0.3, parameters=300)


def test_what_lies_between_two_fusers_takes_in_proportion() -> None:
    found = between([SMALL, LARGE], 200)
    assert (found.start, found.step, found.judged) == pytest.approx((2.0, 0.4, 0.2))
    assert between([SMALL, LARGE], 50) == SMALL
    assert between([SMALL, LARGE], 400) == LARGE
    assert between([SMALL], 200) == SMALL


def _trial(receiver: str, width: int = 8, **fuser: Any) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "pair": {"receiver": receiver, "sharer": "path:b"},
            "fuser": {"width": width, **fuser},
            "training": {},
            "data": {},
            "evaluation": {},
            "seed": 0,
        }
    )


def _pace(
    *trainings: tuple[TrialConfig, TrainingCost], **controls: dict[str, TrainingCost]
) -> MeasuredPace:
    """Of trainings, and of the controls of a receiver's pair, by its name."""
    of_pairs: dict[PairSpec, list[tuple[TrialConfig, TrainingCost]]] = {}
    for trial, cost in trainings:
        of_pairs.setdefault(trial.pair, []).append((trial, cost))
    return MeasuredPace(
        start=1.0,
        spread=(0.9, 1.1),
        measured_seconds=9.0,
        others=0.0,
        basis=(),
        tokens={"path:a": 0.01},
        trainings=of_pairs,
        controls={_trial(f"path:{name}").pair: costs for name, costs in controls.items()},
        answers={_trial("path:a").pair: {"receiver": 0.5}},
        parameters=lambda trial: trial.fuser.width,
    )


def test_what_was_not_measured_of_a_pair_is_taken_from_another() -> None:
    there, back = _trial("path:a"), _trial("path:c")
    pace = _pace((there, SMALL), (back, LARGE), a={TWIN: SMALL})
    assert pace.training(there) == SMALL
    assert pace.training(_trial("path:c", 64)) == LARGE
    assert pace.training(back, "lora") == LARGE  # as its own fuser
    assert pace.answer("receiver", PairSpec(receiver="path:c", sharer="path:b")) == 0.5
    assert pace.answer("c2c", back.pair) == LARGE.judged / 2


def test_a_fuser_takes_what_those_take_whose_message_arrives_as_its_own_does() -> None:
    beside = {"injection": "side", "projector": "linear"}
    small, large = _trial("path:a", 100, **beside), _trial("path:a", 300, **beside)
    behind = TrainingCost(start=1.0, step=2.0, judged=0.5, parameters=200)
    appended = _trial("path:a", 200, injection="append", projector="linear")
    pace = _pace((small, SMALL), (appended, behind), (large, LARGE))
    assert pace.training(_trial("path:a", 200, **beside)).step == pytest.approx(0.4)
    assert pace.training(_trial("path:a", 50, injection="append", projector="linear")) == behind
    # Another projector of that injection, where its own was not measured.
    assert pace.training(_trial("path:a", 50, injection="append", projector="joint")) == behind
    assert pace.training(_trial("path:a", 200)).step == pytest.approx(2.0)  # none is like it


def test_a_control_takes_as_many_times_more_as_its_trial_does() -> None:
    """What was measured is the control of the first trial, and another one may be a finalist."""
    first, slow = _trial("path:a"), _trial("path:a", 300)
    twin = TrainingCost(start=5.0, step=0.1, judged=0.05)
    lora = TrainingCost(start=2.0, step=0.7, judged=0.05)
    pace = _pace((first, SMALL), (slow, LARGE), a={TWIN: twin, "lora": lora})
    assert pace.training(first, TWIN) == twin
    assert pace.training(slow, TWIN) == replace(twin, step=pytest.approx(0.3))
    assert pace.training(slow, "lora") == lora  # no fuser
    back = _trial("path:c")
    both = _pace((first, SMALL), (back, LARGE), a={TWIN: twin})
    assert both.training(back, TWIN).step == pytest.approx(0.3)  # by the other pair's
