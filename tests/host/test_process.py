"""Whether a process is the one that a name stands for, and whether it has ended."""

from __future__ import annotations

import subprocess
import sys

import pytest

from c2c_search.host import process


def test_this_process_is_here() -> None:
    assert process.is_gone(process.this_process()) is False


def test_an_ended_process_is_gone() -> None:
    code = "from c2c_search.host import process; print(process.this_process())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.is_gone(done.stdout.strip()) is True


def test_a_reused_process_id_is_another_process() -> None:
    host, boot, pid, start = process.this_process().split("/")
    assert process.is_gone("/".join((host, boot, pid, start + "0"))) is True
    assert process.is_gone("/".join((host, "an-earlier-boot", pid, start))) is True


@pytest.mark.parametrize("name", ["", "elsewhere/boot/1/2", "nonsense"])
def test_of_others_nothing_is_known(name: str) -> None:
    assert process.is_gone(name) is None
