"""Several processes may use one store, and any of them may be killed at any instant."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch

from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.maintenance import verify
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.prompt_cache.store import PromptCacheStore


pytestmark = pytest.mark.usefixtures("a_batch_for_each_length")

PROMPTS = [[1, 2, 3], [1, 5], [1, 2, 9, 9], [1, 7], [1, 2, 8, 4, 4, 4]]

GET = """
import os, pickle, signal, sys, time
from pathlib import Path
from c2c_search.prompt_cache import entries
from c2c_search.prompt_cache import prefill
from c2c_search.prompt_cache.store import PromptCacheStore

prefill.TOKENS_TO_BEGIN = 0
folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])
model, prompts = pickle.loads((folder / "asked").read_bytes())
replace, shards = os.replace, 0

def dying(path, target):
    global shards
    shards += str(target).endswith(".bin")
    if kill_at and shards == kill_at:  # the shard is written, under another name
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)

os.replace = dying
print("ready", flush=True)
sys.stdin.readline()
done = []
store = PromptCacheStore(folder / "store")
store.get(model, prompts, progress=lambda d, t: done.append(d) if t else None)  # 0 of 0: it waits
print(len(done), flush=True)
"""


@pytest.fixture
def start(tiny_model, tmp_path):
    (tmp_path / "asked").write_bytes(pickle.dumps((tiny_model(), PROMPTS)))
    running = []

    def start(*, kill_at: int = 0) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", GET, str(tmp_path), str(kill_at)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def go(process: subprocess.Popen) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def test_two_processes_share_the_work_and_a_killed_one_leaves_it_resumable(
    start, tiny_model, tmp_path, monkeypatch
):
    first, second, killed = start(), start(), start(kill_at=3)
    for process in (first, second, killed):
        assert process.stdout.readline() == "ready\n"

    go(killed)
    assert killed.wait(60) == -9
    store = tmp_path / "store"
    assert len(list(store.glob("*/*.partial"))) == 1
    assert (verify(store).shards, verify(store).damaged) == (2, ())

    go(first)
    go(second)
    # Four shards in all, two of which are there: one process computes the others.
    assert sorted(int(process.communicate()[0]) for process in (first, second)) == [0, 2]
    assert list(store.glob("*/*.partial")) == []
    assert (verify(store).shards, verify(store).damaged) == (4, ())

    expected = PromptCaches.compute(tiny_model().model, PROMPTS)
    monkeypatch.setattr(Prefill, "run", None)  # nothing is left to compute
    stored = PromptCacheStore(store).get(tiny_model(), PROMPTS)
    for number in range(4):
        torch.testing.assert_close(stored.shards[number], expected.shards[number])
