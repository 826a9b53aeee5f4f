"""The first signal ends the work in order, the second at once."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from c2c_search.host.signals import check
from c2c_search.host.signals import interruptible
from tests.forked import exit_code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_a_keyboard_interrupt(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=number.name), interruptible():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_an_interrupt_that_python_throws_away_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Deaf:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with interruptible():
        check()
        monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
        Deaf()
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
            check()
    check()


def test_the_second_signal_ends_the_process() -> None:
    def twice() -> None:
        with interruptible():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGINT)

    assert exit_code(twice) == 130
