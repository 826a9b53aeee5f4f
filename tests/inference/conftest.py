"""Packed prompts whose attention is arranged in one way or the other, however few they are."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from c2c_search.inference import blocks


ARRANGEMENTS = ["one sequence", "one block", "blocks of equals"]


@pytest.fixture
def arrange(monkeypatch):
    """Have all that is fed attend in one of the `ARRANGEMENTS` within a ``with`` block."""

    @contextmanager
    def arranged(arrangement):
        assert arrangement in ARRANGEMENTS
        with monkeypatch.context() as patch:
            if arrangement == "one sequence":
                patch.setattr(blocks, "_GROUP", {"cpu": 1 << 40})
            else:
                patch.setattr(blocks, "_GROUP", {"cpu": 0})
                patch.setattr(blocks, "_COPY", 0)
            if arrangement == "one block":
                patch.setattr(blocks, "_grouped", _in_one)
            yield

    return arranged


def _in_one(fed, read, alone):
    return [[prompt for prompt, count in enumerate(fed) if count]], -1
