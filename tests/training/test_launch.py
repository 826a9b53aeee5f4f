"""Driver and worker over real pipes: the whole protocol, once, in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from c2c_search.host.devices import WHOLE
from c2c_search.host.threads import THREAD_VARIABLES
from c2c_search.host.threads import usable_cores
from c2c_search.training import launch
from c2c_search.training.launch import Worker
from c2c_search.training.launch import _environment
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Prepare
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Result
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainedTogether
from c2c_search.training.protocol import TrainTogether
from c2c_search.training.watchdog import SILENCE_VARIABLE


@pytest.fixture
def worker(pipeline, tmp_path):
    with Worker(
        pipeline, log_file=tmp_path / "worker.log", cache_dir=tmp_path / "cache"
    ) as started:
        yield started


def test_prepare_train_evaluate(worker, trial, tiny_pair, tmp_path):
    *progress, prepared = worker.ask(Prepare(pair=tiny_pair))
    assert isinstance(prepared, Prepared)
    assert {event.stage for event in progress if isinstance(event, Progress)} >= {
        "data",
        "prefill",
    }
    assert set(prepared.data) == {"train", "validation", "test"}
    assert prepared.models["receiver"]["source"] == tiny_pair.receiver
    # A worker that is started again computes in the same dtype.
    assert prepared.dtype == worker.dtype == "float32"

    for event in worker.ask(Train(config=trial, directory=str(tmp_path / "trial"))):
        if isinstance(event, Rung) and event.rung == 0:
            worker.answer(True)
        last = event
    assert isinstance(last, Trained)

    # Together: an answer after each rung but the last, to the trial that has reached it.
    # Who has ended leaves its place to another.
    *pair_of_trials, third = (
        Train(config=trial, directory=str(tmp_path / name))
        for name in ("first", "second", "third")
    )
    ends = {}
    for event in worker.ask(TrainTogether(trials=tuple(pair_of_trials))):
        if isinstance(event, OfTrial) and isinstance(event.event, Rung) and event.event.rung == 0:
            worker.answer(event.index == 0)
        if isinstance(event, OfTrial) and isinstance(event.event, Trained):
            ends[event.index] = event.event.pruned
            worker.join([third] if len(ends) == 1 else [])
    assert isinstance(event, TrainedTogether)
    assert ends == {0: False, 1: True, 2: True}

    accuracies = {}
    for system in ("receiver", "sharer", "c2c", "deranged"):
        request = Evaluate(system=system, pair=tiny_pair, split="test", fuser_dir=last.best_dir)
        *_, result = worker.ask(request)
        assert isinstance(result, Result)
        once = [item.repeats[0] if item.repeats else item for item in result.items]
        accuracies[system] = [item.scores for item in once]
        assert [item.id for item in result.items] == [f"test-{number}" for number in range(6)]
    assert accuracies["c2c"] != accuracies["receiver"]
    assert accuracies["c2c"] != accuracies["deranged"]

    # What else learns is trained in the same words.
    lora = Train(config=trial, directory=str(tmp_path / "lora"), learner="lora", parameters=5000)
    rungs = []
    for adapted in worker.ask(lora):
        if isinstance(adapted, Rung):
            rungs.append(adapted.rung)
            if adapted.rung == 0:
                worker.answer(True)
    assert isinstance(adapted, Trained)
    assert rungs == [0, 1]
    request = Evaluate(system="lora", pair=tiny_pair, split="test", trained_dir=adapted.best_dir)
    *_, result = worker.ask(request)
    assert [item.scores for item in result.items] not in accuracies.values()

    # A failed request leaves the worker ready for the next one.
    *_, failed = worker.ask(Prepare(pair=tiny_pair.model_copy(update={"sharer": "path:/nowhere"})))
    assert isinstance(failed, Failed)
    assert failed.failure == "invalid"
    assert "nowhere" in failed.message

    # A killed worker is told, and started again at the next request.
    os.kill(worker._process.pid, signal.SIGKILL)
    *_, died = worker.ask(Prepare(pair=tiny_pair))
    if isinstance(died, Failed):
        assert died.failure == "transient"  # nothing says that memory was short
        *_, died = worker.ask(Prepare(pair=tiny_pair))
    assert isinstance(died, Prepared)


@pytest.fixture
def shell(pipeline, tmp_path, monkeypatch):
    """``shell(script)`` is a worker whose process is a shell script; events go to ``$events``."""

    def start(script):
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\nevents=/dev/fd/$4\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        return Worker(pipeline, log_file=tmp_path / "worker.log")

    return start


@pytest.mark.parametrize(("short", "failure"), [(False, "transient"), (True, "out_of_memory")])
def test_a_killed_process_lacked_memory_only_where_that_shows(
    shell, tiny_pair, monkeypatch, short, failure
):
    monkeypatch.setattr(launch.MemoryWatch, "was_short", lambda self, peak: short and peak > 0)
    with shell("kill -9 $$") as worker:
        *_, died = worker.ask(Prepare(pair=tiny_pair))
    assert died.failure == failure
    assert "ended with code -9" in died.message
    assert ("memory" in died.message) == short


def test_a_process_that_hangs_is_ended_and_may_be_asked_again(shell, tiny_pair, monkeypatch):
    monkeypatch.setenv(SILENCE_VARIABLE, "1")
    said = '{"type": "notice", "message": "here"}'
    with shell(f"echo '{said}' >$events; exec sleep 600") as worker:
        for _ in range(2):
            notice, hung = worker.ask(Prepare(pair=tiny_pair))
            assert notice.message == "here"
            assert hung.failure == "transient"
            assert "gave no sign of life for 1 s" in hung.message
            assert worker._process is None


def test_the_process_is_told_its_threads_and_dtype(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "3")
    told = _environment("bfloat16", WHOLE)
    assert told["C2C_SEARCH_DTYPE"] == "bfloat16"
    assert told["OMP_NUM_THREADS"] == str(usable_cores())
    assert "RANK" not in told
    # What the user has set stays.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    told = _environment(None, WHOLE)
    assert told["C2C_SEARCH_DTYPE"] == os.environ["C2C_SEARCH_DTYPE"]
    assert told["OMP_NUM_THREADS"] == "1"
    assert "MKL_NUM_THREADS" not in told


def test_a_worker_computes_in_the_dtype_it_is_given(pipeline, tiny_pair, tmp_path):
    with Worker(
        pipeline,
        log_file=tmp_path / "worker.log",
        cache_dir=tmp_path / "cache",
        dtype="bfloat16",
    ) as worker:
        *_, prepared = worker.ask(Prepare(pair=tiny_pair))
    assert prepared.dtype == "bfloat16"


def test_the_worker_imports_nothing_from_the_working_folder(
    pipeline, tiny_pair, tmp_path, monkeypatch
):
    folder = tmp_path / "here"
    (folder / "datasets").mkdir(parents=True)
    mark = f"open({str(tmp_path / 'PWNED')!r}, 'a').write('x')\n"
    for name in ("datasets/__init__", "deepspeed", "random", "torch", "sitecustomize"):
        (folder / f"{name}.py").write_text(mark)
    monkeypatch.chdir(folder)
    # As `PYTHONPATH=$PYTHONPATH:DIR` gives it where the variable was empty.
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with Worker(pipeline, log_file=tmp_path / "log", cache_dir=tmp_path / "cache") as worker:
        *_, prepared = worker.ask(Prepare(pair=tiny_pair))
    assert isinstance(prepared, Prepared)
    assert not (tmp_path / "PWNED").exists()


@pytest.fixture
def scripted(monkeypatch, tmp_path, pipeline):
    """A worker that answers by script, and is started in a moment."""
    monkeypatch.setattr(launch, "PROGRAM", "tests.study.scripted_worker")
    # The process finds the tests although they are not installed.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with Worker(pipeline, log_file=tmp_path / "worker.log") as worker:
        yield worker


def test_a_worker_outlives_the_thread_that_first_asked_it(scripted, tiny_pair):
    answers = []

    def ask():
        answers.extend(scripted.ask(Prepare(pair=tiny_pair)))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert isinstance(answers[-1], Prepared)
    before = scripted._process.pid
    time.sleep(0.5)
    assert isinstance([*scripted.ask(Prepare(pair=tiny_pair))][-1], Prepared)
    assert scripted._process.pid == before


def test_an_interrupted_request_fails_in_a_way_that_may_pass(scripted, tiny_pair):
    assert isinstance([*scripted.ask(Prepare(pair=tiny_pair))][-1], Prepared)
    process = scripted._process
    process.send_signal(signal.SIGSTOP)  # it cannot have answered before it is interrupted
    answers = []
    thread = threading.Thread(target=lambda: answers.extend(scripted.ask(Prepare(pair=tiny_pair))))
    thread.start()
    scripted.interrupt()
    process.send_signal(signal.SIGCONT)
    thread.join()
    assert (answers[-1].type, answers[-1].failure) == ("failed", "transient")
    assert isinstance([*scripted.ask(Prepare(pair=tiny_pair))][-1], Prepared)
