"""Packed prompts whose attention is arranged in one way or the other, however few they are."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from c2c_search.inference.packed import blocks


ARRANGEMENTS = ["one sequence", "one block", "blocks of equals"]


@pytest.fixture
def arrange(monkeypatch):
    """Have all that is fed attend in one of the `ARRANGEMENTS` within a ``with`` block."""

    @contextmanager
    def arranged(arrangement):
        assert arrangement in ARRANGEMENTS
        with monkeypatch.context() as patch:
            group = 1 << 40 if arrangement == "one sequence" else 0
            price = blocks._Price(group=group, prompt=0, copy=0)
            patch.setattr(blocks, "_price", lambda device, dtype: price)
            if arrangement == "one block":
                patch.setattr(blocks, "_grouped", _in_one)
            yield

    return arranged


def _in_one(fed, read, price):
    return [[prompt for prompt, count in enumerate(fed) if count]], -1
