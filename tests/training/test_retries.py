from __future__ import annotations

from collections.abc import Iterator

import pytest

from c2c_search.errors import C2CError
from c2c_search.errors import StudyStoppedError
from c2c_search.study.failure_streak import FailureStreak
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Step
from c2c_search.training.retries import BACK_OFF
from c2c_search.training.retries import attempt
from c2c_search.training.retries import error


WORKING = Progress(stage="load", done=0, total=1)
TRANSIENT = Failed(failure="transient", message="gone")


def test_three_of_one_class_in_a_row_stop_the_study() -> None:
    streak = FailureStreak()
    streak.failed("diverged", "nan")
    streak.failed("diverged", "nan")
    streak.failed("out_of_memory", "too large")
    streak.failed("diverged", "nan")
    streak.succeeded()
    streak.failed("diverged", "nan")
    streak.failed("diverged", "nan")
    with pytest.raises(StudyStoppedError, match=r"3 trials in a row .*diverged.*the last\. Fin"):
        streak.failed("diverged", "the last")


def asked(answers: list[list[Event]]) -> tuple[Event, list[Event], list[float], list[str]]:
    heard: list[Event] = []
    slept: list[float] = []
    told: list[str] = []

    def request() -> Iterator[Event]:
        yield from answers.pop(0)

    last = attempt(request, heard.append, on_retry=told.append, sleep=slept.append)
    return last, heard, slept, told


def test_a_transient_failure_is_tried_again_with_growing_pauses() -> None:
    last, heard, slept, told = asked([[WORKING, TRANSIENT], [TRANSIENT], [WORKING]])
    assert last == WORKING
    assert heard == [WORKING, WORKING]
    assert slept == list(BACK_OFF["transient"][:2])
    assert told[0] == "gone; trying again in 5 s"


def test_attempts_are_limited() -> None:
    last, _, slept, _ = asked([[TRANSIENT]] * (len(BACK_OFF["transient"]) + 1))
    assert last == TRANSIENT
    assert slept == list(BACK_OFF["transient"])


def test_whoever_gets_further_is_tried_again_as_often_as_at_first() -> None:
    def until(step: int) -> list[Event]:
        return [
            *(Step(step=each, steps=9, loss=1.0, metrics={}) for each in range(step)),
            TRANSIENT,
        ]

    slept = asked([until(2), until(2), until(3), until(3), [TRANSIENT], [TRANSIENT]])[2]
    first, second, third = BACK_OFF["transient"]
    assert slept == [first, second, first, second, third]


def test_what_is_not_known_is_tried_once_more() -> None:
    unknown = Failed(failure="unknown", message="RuntimeError: what?")
    last, _, slept, told = asked([[unknown], [unknown]])
    assert (last, slept) == (unknown, [5.0])
    assert told == ["RuntimeError: what?; trying again in 5 s"]
    assert asked([[unknown], [TRANSIENT], [WORKING]])[0] == WORKING


@pytest.mark.parametrize("failure", ["invalid", "diverged", "out_of_memory", "fatal"])
def test_other_failures_are_not_tried_again(failure: str) -> None:
    failed = Failed(failure=failure, message="no")  # type: ignore[arg-type]
    assert asked([[failed]]) == (failed, [], [], [])


def test_a_worker_that_says_nothing_is_tried_again() -> None:
    assert asked([[], [WORKING]])[0] == WORKING


def test_the_exit_code_of_the_worker_is_kept() -> None:
    wrong = error(Failed(failure="invalid", message="no network"), "pair a")
    assert (type(wrong), wrong.exit_code) == (C2CError, 2)
    assert str(wrong) == "pair a: no network"
    assert error(Failed(failure="fatal", message="x", exit_code=1), "pair a").exit_code == 4
