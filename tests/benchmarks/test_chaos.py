"""What a chaos run takes to be wrong, and what it takes to be left over."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def chaos(program: Any) -> Any:
    return program("chaos")


@pytest.fixture(scope="module")
def on_record(program: Any) -> Any:
    return program("on_record")


def test_each_thing_that_should_not_be_there_is_named(chaos: Any, on_record: Any) -> None:
    record = on_record.Record(
        trials=2,
        runs=2,
        best="{}",
        told={"{}": [1.0, 0.5]},
        unfinished=0,
        doubled=0,
        missing=0,
        zombies=0,
        temporary=[],
    )
    found = chaos.Found(
        kills={"driver": 1},
        ends={-9: 1, 0: 1},
        seconds=1.0,
        orphans=0,
        tracebacks=0,
        changed=0,
        same_best=True,
        record=record,
    )
    assert found.wrong(2) == []
    worse = replace(record, runs=3, doubled=1, zombies=1, temporary=["a.partial"])
    assert replace(found, orphans=1, same_best=False, record=worse).wrong(2) == [
        "runs: 3, not 2",
        "same_best: False, not True",
        "orphans: 1, not 0",
        "doubled: 1, not 0",
        "zombies: 1, not 0",
        "temporary: 1, not 0",
    ]


@pytest.mark.parametrize(
    ("code", "hit", "explained"),
    [
        (0, [], True),
        (-signal.SIGKILL, ["driver"], True),
        (-signal.SIGKILL, ["worker"], False),
        (2, ["postgres"], True),
        (4, ["node"], True),
        (2, ["worker", "driver"], False),
        (1, [], False),
        (130, ["signal"], True),
        (130, ["worker"], False),
    ],
)
def test_a_driver_ends_only_for_a_reason(
    chaos: Any, code: int, hit: list[str], explained: bool
) -> None:
    assert chaos._explained(code, Counter(hit)) == explained


def test_what_was_being_written_is_found_anywhere(on_record: Any, tmp_path: Path) -> None:
    (tmp_path / "mlruns/trials/tiny/hash/checkpoints").mkdir(parents=True)
    for name in ("cache/.a+host+1+2.partial", "mlruns/step.new", "mlruns/kept.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert on_record.temporary(tmp_path) == [
        "cache/.a+host+1+2.partial",
        "mlruns/step.new",
        "mlruns/trials/tiny/hash/checkpoints",
    ]
