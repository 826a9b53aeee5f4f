"""Lines come whole, and a silence ends when it is much longer than any before it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from c2c_search.errors import ConfigError
from c2c_search.training import watchdog
from c2c_search.training.watchdog import SILENCE_VARIABLE
from c2c_search.training.watchdog import Lines
from c2c_search.training.watchdog import Patience
from c2c_search.training.watchdog import SilenceError
from c2c_search.training.watchdog import silence_allowed


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for end in (read, write):
        try:
            os.close(end)
        except OSError:
            continue


def test_lines_come_whole_however_they_are_written(pipe: tuple[int, int]) -> None:
    read, write = pipe
    lines = Lines(read, Patience(60))
    os.write(write, b"one\nmore\ntw")
    assert next(lines) == "one"
    assert next(iter(lines)) == "more"  # another request goes on where the last one ended
    os.write(write, "o\u2581\nthr".encode())
    os.close(write)
    assert list(lines) == ["two\u2581"]


def test_a_silence_ends(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_TICK_SECONDS", 0.01)
    read, write = pipe
    lines = Lines(read, Patience(0.05))
    os.write(write, b"one\n")
    assert next(lines) == "one"
    with pytest.raises(SilenceError, match="no sign of life"):
        next(lines)


def test_patience_grows_with_the_longest_silence_that_ended() -> None:
    patience = Patience(900)
    patience.heard(100)
    assert patience.seconds == 900
    patience.heard(600)
    patience.heard(1)
    assert patience.seconds == 2400


def test_the_environment_says_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SILENCE_VARIABLE, raising=False)
    assert silence_allowed() == 900
    monkeypatch.setenv(SILENCE_VARIABLE, "inf")
    assert silence_allowed() == float("inf")
    for wrong in ("soon", "0", "-1", "nan"):
        monkeypatch.setenv(SILENCE_VARIABLE, wrong)
        with pytest.raises(ConfigError, match="above 0"):
            silence_allowed()
