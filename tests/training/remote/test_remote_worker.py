"""The driver's end of a worker elsewhere, without Ray."""

from __future__ import annotations

from typing import Any

import pytest

from c2c_search.config.pipeline import Pipeline
from c2c_search.models.pair import PairSpec
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Prepare
from c2c_search.training.remote import worker
from c2c_search.training.watchdog import SILENCE_VARIABLE


class SilentNode:
    """An actor that answers every call, and has nothing to tell."""

    def __getattr__(self, name: str) -> SilentNode:
        return self

    def remote(self, *arguments: object) -> list[Any]:
        return []


def test_a_node_that_tells_nothing_is_taken_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SILENCE_VARIABLE, "0.01")
    monkeypatch.setattr(worker, "_get", lambda call: call)
    remote = worker.RemoteWorker(
        Pipeline(name="silent"), dtype=None, bundle={"CPU": 1.0}, place_seconds=1.0
    )
    remote._actor = SilentNode()
    pair = PairSpec(receiver="path:/a", sharer="path:/b")
    (last,) = remote.ask(Prepare(pair=pair))
    assert isinstance(last, Failed)
    assert last.failure == "transient"
    assert "a node was lost (no sign of life for" in last.message
    assert remote._actor is None  # the next request looks for another
