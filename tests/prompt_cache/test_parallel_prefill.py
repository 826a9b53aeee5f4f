"""Both models read at once where a core is idle, and their caches are the same."""

from __future__ import annotations

import threading

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.models.geometry import rope_window
from c2c_search.prompt_cache import parallel_prefill
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.parallel_prefill import read_both
from tests.architectures import ARCHITECTURES


OWN = [[5, 9, 2, 7], [3, 4]]
HEARD = [[8, 1, 6], [2, 2, 9, 30, 31]]


@pytest.fixture
def receiver(tiny_model):
    return tiny_model("qwen3", layers=3).model


@pytest.fixture
def sharer(tiny_model):
    return tiny_model("llama").model


@pytest.fixture
def threads_of(monkeypatch):
    """Give the process so many cores for each of torch's threads; in which thread a model ran."""

    def give(cores, *models):
        monkeypatch.setattr(
            parallel_prefill, "usable_cores", lambda: cores * torch.get_num_threads()
        )
        found = [set() for _ in models]
        for model, threads in zip(models, found, strict=True):
            model.register_forward_pre_hook(
                lambda *_, threads=threads: threads.add(threading.get_ident())
            )
        return found

    return give


def whole(caches, prompts):
    return caches.packed(range(len(prompts)), [torch.arange(len(prompt)) for prompt in prompts])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [None, (1, 1), (2, 1)])
def test_the_caches_are_those_of_one_model_after_the_other(
    receiver, sharer, monkeypatch, threads, dtype
):
    monkeypatch.setattr(parallel_prefill, "_threads", lambda *_: threads)
    own, heard = read_both(receiver, OWN, sharer, HEARD, dtype)
    expected = PromptCaches.compute(receiver, OWN, dtype)
    torch.testing.assert_close(whole(own, OWN), whole(expected, OWN))
    expected = PromptCaches.compute(sharer, HEARD, dtype)
    torch.testing.assert_close(whole(heard, HEARD), whole(expected, HEARD))


def test_with_idle_cores_each_model_has_a_thread(threads_of):
    models = [ARCHITECTURES["llama"](), ARCHITECTURES["qwen3"]()]
    first, second = threads_of(2, *(model.base_model for model in models))
    read_both(models[0], OWN, models[1], HEARD, torch.float32)
    assert len(first) == len(second) == 1
    assert first != second


@pytest.mark.parametrize(
    ("own", "heard", "threads", "cores", "expected"),
    [
        (10, 10, 2, 4, (2, 2)),  # a core for every thread of both
        (1, 99, 1, 2, (1, 1)),
        (10, 10, 1, 1, None),
        (0, 0, 2, 2, None),
        (106, 100, 2, 2, (1, 1)),
        (10, 20, 2, 2, None),  # the longer one would run on one core for twice as long
        (10, 30, 4, 4, (1, 3)),
        (1, 99, 8, 8, (1, 7)),
        (10, 990, 4, 4, None),
    ],
)
def test_threads_are_shared_out_where_that_is_even(
    own, heard, threads, cores, expected, monkeypatch
):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert parallel_prefill._threads(own, heard, threads, cores) == expected


def test_threads_that_mkl_was_told_cannot_be_shared_out(monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    assert parallel_prefill._threads(10, 10, 2, 2) is None
    assert parallel_prefill._threads(10, 10, 2, 4) == (2, 2)


def test_shared_out_threads_are_given_back(receiver, sharer, monkeypatch):
    monkeypatch.setattr(parallel_prefill, "_threads", lambda *_: (1, 1))
    seen, before = [], torch.get_num_threads()
    for model in (receiver, sharer):
        model.base_model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    read_both(receiver, OWN, sharer, HEARD, torch.float32)
    assert set(seen) == {1}
    assert torch.get_num_threads() == before
    # Which MKL would compute wrongly if torch had been told.
    matrix = torch.eye(64).expand(60, 64, 64) * 2
    assert torch.equal(
        torch.linalg.solve(matrix, torch.ones(60, 64, 8)), torch.full((60, 64, 8), 0.5)
    )


def test_without_idle_cores_one_thread_reads_both(threads_of, monkeypatch):
    monkeypatch.setattr(parallel_prefill, "_UNEVEN", 0.0)
    models = [ARCHITECTURES["llama"](), ARCHITECTURES["qwen3"]()]
    first, second = threads_of(1, *(model.base_model for model in models))
    read_both(models[0], OWN, models[1], HEARD, torch.float32)
    assert first == second == {threading.get_ident()}


def test_a_device_has_one_stream_beside_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
    parallel_prefill._beside.cache_clear()
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    assert parallel_prefill._beside(first) is parallel_prefill._beside(first)
    assert parallel_prefill._beside(first) is not parallel_prefill._beside(second)
    parallel_prefill._beside.cache_clear()


def test_a_model_that_is_its_own_sharer_reads_once(sharer):
    own, heard = read_both(sharer, OWN, sharer, OWN, torch.float32)
    assert own is heard
    own, heard = read_both(sharer, OWN, sharer, HEARD, torch.float32)
    assert torch.equal(
        whole(heard, HEARD), whole(PromptCaches.compute(sharer, HEARD, torch.float32), HEARD)
    )


@pytest.mark.parametrize("cores", [1, 2])
def test_a_prompt_that_the_sharer_cannot_read_is_refused(receiver, monkeypatch, cores):
    monkeypatch.setattr(parallel_prefill, "usable_cores", lambda: cores * torch.get_num_threads())
    sharer = ARCHITECTURES["phi3, longrope"]()
    window = rope_window(sharer)
    with pytest.raises(ConfigError, match=f"must fit into {window} tokens"):
        read_both(receiver, OWN, sharer, [[1] * (window + 1)], torch.float32)
