"""What other programs take of the processors, from two looks at what the system tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from c2c_search.host.processors import ProcessorTime


def test_others_take_what_is_neither_mine_nor_idle() -> None:
    before = ProcessorTime(own=1, idle=10, total=100)
    assert ProcessorTime(own=3, idle=14, total=110).others_since(before) == pytest.approx(0.4)
    assert ProcessorTime(own=3, idle=18, total=110).others_since(before) == 0
    assert before.others_since(before) == 0


def test_read_from_the_system(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    ticks = os.sysconf("SC_CLK_TCK")
    fields = [number * ticks for number in (5, 1, 2, 30, 4, 0, 1, 0, 3, 0)]
    (tmp_path / "proc/stat").write_text(f"cpu  {' '.join(map(str, fields))}\ncpu0 1 2\n")
    found = ProcessorTime.now(tmp_path)
    assert found is not None
    assert (found.idle, found.total) == (34, 43)
    assert found.own > 0
    (tmp_path / "proc/stat").write_text("no numbers")
    assert ProcessorTime.now(tmp_path) is None
    assert ProcessorTime.now(tmp_path / "nowhere") is None
