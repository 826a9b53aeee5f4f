"""A trial on several ranks: real processes, joined by gloo, against the same trial on one."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from c2c_search.errors import ConfigError
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.host.devices import VISIBLE
from c2c_search.training.followers import RANKS_VARIABLE
from c2c_search.training.followers import ranks_for
from c2c_search.training.launch import Worker
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainedTogether
from c2c_search.training.protocol import TrainTogether


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(pipeline, cache, tmp_path):
    """Start a worker whose trials are of two devices."""
    training = pipeline.training.model_copy(update={"devices_per_trial": 2})
    own = pipeline.model_copy(update={"training": training})
    return lambda: Worker(own, log_file=tmp_path / "worker.log", cache_dir=cache)


def on_two(trial, **changes):
    """The trial on two devices; without noise, which each rank draws for itself."""
    update = {"devices_per_trial": 2, "log_every": 1, "checkpoint_seconds": 0.0, **changes}
    fuser = trial.fuser.model_copy(update={"gate": GateConfig(granularity="head"), "dropout": 0.0})
    training = trial.training.model_copy(update=update)
    return trial.model_copy(update={"fuser": fuser, "training": training})


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in tasks for child in each.read_text().split()]


def run(worker, trial, directory, *, stop_at=None, die_at=None, answer=True):
    """Train; returns the losses and the last event. ``die_at`` kills a follower at a step."""
    losses, last = {}, None
    for last in worker.ask(Train(config=trial, directory=str(directory))):
        if isinstance(last, Step):
            losses[last.step] = last.loss
            if last.step == die_at:
                os.kill(children(worker._process.pid)[0], signal.SIGKILL)
        if isinstance(last, Rung) and last.step < trial.training.steps:
            worker.answer(answer)
    return losses, last


def weights(directory):
    return load_file(next((directory / "best").glob("*.safetensors")))


def close(left, right, abs=1e-5):
    return all(left[k].numpy() == pytest.approx(right[k].numpy(), abs=abs) for k in left)


def gone(pid, seconds=20.0):
    """Whether a process ends; one that nobody has waited for yet has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
    return False


def alone(service, trial, directory, *, answer=True):
    """The same on one rank, here."""
    service.events.clear()
    ended = service.train(trial, directory, lambda: answer)
    return {each.step: each.loss for each in service.events if isinstance(each, Step)}, ended


def test_ranks(start, service, trial, tmp_path):
    plain, split = on_two(trial), on_two(trial, zero_stage=2)
    one, _ = alone(service, plain, tmp_path / "one")
    begun, ended = alone(service, split, tmp_path / "begun on one", answer=False)
    assert ended.pruned
    with start() as worker:
        two, ended = run(worker, plain, tmp_path / "two")
        assert isinstance(ended, Trained)
        assert two == pytest.approx(one, abs=1e-6)  # one optimizer step is of as many examples
        assert list(two) == [1, 2, 3, 4, 5, 6]
        assert close(weights(tmp_path / "two"), weights(tmp_path / "one"))
        assert len(children(worker._process.pid)) == 1

        # What ZeRO splits, and what one rank began, whole.
        two_split, _ = run(worker, split, tmp_path / "split")
        assert two_split == pytest.approx(one, abs=1e-5)
        rest, ended = run(worker, split, tmp_path / "begun on one")
        assert begun | rest == pytest.approx(one, abs=1e-5)
        assert rest | begun == rest  # told again, as one rank had found them
        assert list(rest) == [1, 2, 3, 4, 5, 6]

        # A rank is killed: the request fails, and goes on with the same numbers.
        pids = [worker._process.pid, *children(worker._process.pid)]
        before, ended = run(worker, split, tmp_path / "killed", die_at=2)
        assert isinstance(ended, Failed)
        assert (ended.failure, "rank 1" in ended.message) == ("transient", True)
        assert all(map(gone, pids))
        shutil.copytree(tmp_path / "killed", tmp_path / "killed, on one")
        after, ended = run(worker, split, tmp_path / "killed")
        assert before | after == two_split
        left, right = weights(tmp_path / "killed"), weights(tmp_path / "split")
        assert all(torch.equal(left[name], right[name]) for name in left)
        pids = [worker._process.pid, *children(worker._process.pid)]
    assert all(map(gone, pids))
    after, _ = alone(service, split, tmp_path / "killed, on one")
    assert after[1] == before[1]  # told again, as two ranks had found it
    assert before | after == pytest.approx(two_split, abs=1e-5)


def test_as_many_ranks_as_devices_are_at_hand():
    assert ranks_for(4, {VISIBLE: ""}) == 4  # on the CPU a device is a process
    assert ranks_for(4, {VISIBLE: "0,1,2,3,4"}) == 4
    assert ranks_for(4, {VISIBLE: "0,1,2"}) == 2
    assert ranks_for(3, {VISIBLE: "0,1"}) == 1
    assert ranks_for(4, {VISIBLE: "", RANKS_VARIABLE: "3"}) == 2


@pytest.mark.parametrize("text", ["0", "two", "-1"])
def test_no_number_of_ranks(text):
    with pytest.raises(ConfigError, match=f"{RANKS_VARIABLE} must be a whole number above 0"):
        ranks_for(2, {RANKS_VARIABLE: text})


@pytest.mark.slow
def test_lockstep_and_lora_on_two_ranks(start, service, trial, tmp_path):
    trials = [on_two(trial), on_two(trial).model_copy(update={"seed": 4})]
    expected = [alone(service, each, tmp_path / f"alone-{each.seed}")[0] for each in trials]
    lora = Train(config=trials[0], directory=str(tmp_path / "lora"), learner="lora")
    joining = Train(config=trials[0], directory=str(tmp_path / "joining"))
    found: list[dict[int, float]] = [{}, {}, {}]
    learned = {}
    with start() as worker:
        directories = [str(tmp_path / f"together-{each.seed}") for each in trials]
        both = [Train(config=c, directory=d) for c, d in zip(trials, directories, strict=True)]
        for last in worker.ask(TrainTogether(trials=tuple(both))):
            if isinstance(last, OfTrial) and isinstance(last.event, Step):
                found[last.index][last.event.step] = last.event.loss
            if isinstance(last, OfTrial) and isinstance(last.event, Rung) and last.event.rung == 0:
                worker.answer(last.index != 1)  # the other one is pruned, on all ranks
            if isinstance(last, OfTrial) and isinstance(last.event, Trained):
                worker.join([joining] if last.index == 1 else [])
        assert isinstance(last, TrainedTogether)
        for last in worker.ask(lora):
            if isinstance(last, Step):
                learned[last.step] = last.loss
            if isinstance(last, Rung) and last.rung == 0:
                worker.answer(True)
        assert isinstance(last, Trained)
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    assert found[1] == pytest.approx({n: expected[1][n] for n in (1, 2, 3)}, abs=1e-5)
    assert found[2] == pytest.approx(expected[0], abs=1e-5)
    service.events.clear()
    service.train(trials[0], tmp_path / "lora, alone", lambda: True, learner="lora")
    by_step = {each.step: each.loss for each in service.events if isinstance(each, Step)}
    assert learned == pytest.approx(by_step, abs=1e-5)
