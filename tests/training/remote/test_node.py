"""A worker process on a node, as the driver elsewhere sees it; without Ray, and without models."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from c2c_search.config.pipeline import Pipeline
from c2c_search.training import launch
from c2c_search.training.protocol import EVENT
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Join
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainedTogether
from c2c_search.training.protocol import TrainTogether
from c2c_search.training.remote import node
from c2c_search.training.remote import parcel
from tests.training.protocol_examples import TRIAL


class FakeWorker:
    """Trains by writing what it found into ``best/``."""

    def __init__(self, pipeline: Pipeline, **options: Any) -> None:
        self._joining: queue.Queue[Sequence[Train]] = queue.Queue()

    def ask(self, request: TrainTogether) -> Iterator[Event]:
        waiting = list(request.trials)
        for index in range(2):
            folder = Path(waiting[index].directory)
            found = (folder / "found").read_text() if (folder / "found").exists() else "nothing"
            (folder / "best").mkdir(parents=True)
            (folder / "best" / "fuser").write_text(f"from {found}")
            yield OfTrial(index=index, event=_trained(str(folder / "best")))
            waiting += self._joining.get(timeout=10)
        yield TrainedTogether()

    def join(self, trials: Sequence[Train]) -> None:
        self._joining.put(trials)


def _trained(best_dir: str) -> Trained:
    return Trained(
        step=4,
        split="validation",
        objective=0.5,
        accuracy=0.5,
        pruned=False,
        best_rung=0,
        best_dir=best_dir,
        parameters=1,
        bytes=1,
        seconds={},
        metrics={},
    )


def _told(there: node.NodeWorker) -> node.Told:
    taken: list[node.Told] = []
    while not taken:
        taken = there.take()
    (told,) = taken
    return told


def test_a_trial_that_joins_brings_its_folder_and_its_results_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "Worker", FakeWorker)
    monkeypatch.setattr(launch, "PROGRAM", launch.PROGRAM)
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "cache"))
    first, second = (
        Train(config=TRIAL, directory=str(tmp_path / name)) for name in ("first", "second")
    )
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "found").write_text("before")
    there = node.NodeWorker(Pipeline(name="tiny").model_dump_json(), None, launch.PROGRAM)
    there.begin(TrainTogether(trials=(first,)).model_dump_json(), {first.directory: b""})
    _told(there)
    packed = parcel.pack(tmp_path / "second", {})[0]
    there.join(Join(trials=(second,)).model_dump_json(), {second.directory: packed})
    told = _told(there)
    event = EVENT.validate_json(told.line)
    assert isinstance(event, OfTrial)
    assert isinstance(event.event, Trained)
    assert event.event.best_dir == str(tmp_path / "second" / "best")
    parcel.unpack(told.parcels[second.directory], tmp_path / "second")
    assert (tmp_path / "second" / "best" / "fuser").read_text() == "from before"
    there.join(Join(trials=()).model_dump_json(), {})
    assert isinstance(EVENT.validate_json(_told(there).line), TrainedTogether)
