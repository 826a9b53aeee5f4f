"""The store must return what computing would, whatever is stored, interrupted or evicted."""

from __future__ import annotations

import errno
import os

import pytest
import torch
from filelock import FileLock
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.errors import StoreError
from c2c_search.prompt_cache import entries
from c2c_search.prompt_cache import store as store_module
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.prompt_cache.store import PromptCacheStore


pytestmark = pytest.mark.usefixtures("a_batch_for_each_length")

# A token of the tiny model: keys and values of 2 layers, 16 numbers each, 2 bytes a number.
PROMPTS = [[1, 2, 3], [1, 5], [1, 2, 9, 9], [1, 7], [1, 2, 8, 4, 4, 4]]
TOKEN = 2 * 2 * 16 * 2
LISTS = (PROMPTS, PROMPTS[::-1], [[4, 5], [6, 7, 8]])


@pytest.fixture
def ran(monkeypatch):
    """The prompts that really run, batch by batch."""
    ran = []
    real = Prefill.read_rows

    def counting(self, rows, width):
        ran.append([tuple(self.prompts[row]) for row in rows])
        return real(self, rows, width)

    monkeypatch.setattr(Prefill, "read_rows", counting)
    return ran


def all_of(caches, prompts):
    return caches.packed(range(len(prompts)), [torch.arange(len(prompt)) for prompt in prompts])


def computed(model, prompts, dtype=torch.bfloat16):
    return all_of(PromptCaches.compute(model.model, prompts, dtype), prompts)


def keys(directory):
    return {entry.folder.name for entry in entries.entries(directory)}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_equals_computing_in_memory(tiny_model, tmp_path, dtype):
    stored = PromptCacheStore(tmp_path, dtype=dtype).get(tiny_model(), PROMPTS)
    assert stored.ready
    assert stored.shards[0].dtype == dtype
    assert torch.equal(all_of(stored, PROMPTS), computed(tiny_model(), PROMPTS, dtype))


def test_computed_once(tiny_model, tmp_path, ran):
    store = PromptCacheStore(tmp_path)
    seen = []
    store.get(tiny_model(), PROMPTS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 5), (2, 5), (3, 5), (5, 5)]  # two prompts have two tokens
    assert len(ran) == 4
    all_of(store.get(tiny_model(), PROMPTS), PROMPTS)
    assert len(ran) == 4


def test_key_changes_with_what_changes_a_cache(tiny_model, tmp_path):
    store = PromptCacheStore(tmp_path)
    keys = {
        store.key(tiny_model(), PROMPTS),
        store.key(tiny_model(seed=1), PROMPTS),
        store.key(tiny_model(), PROMPTS[:-1]),
        store.key(tiny_model(), PROMPTS[::-1]),
        PromptCacheStore(tmp_path, dtype=torch.float32).key(tiny_model(), PROMPTS),
    }
    assert len(keys) == 5


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_other_versions_of_the_libraries_have_keys_of_their_own(
    tiny_model, tmp_path, monkeypatch, library
):
    store = PromptCacheStore(tmp_path)
    before = store.key(tiny_model(), PROMPTS)
    # The module that the store has: transformers may stand twice in a process that reloads it.
    monkeypatch.setattr(getattr(store_module, library), "__version__", "5.99")
    assert store.key(tiny_model(), PROMPTS) != before


def test_budget_is_no_part_of_the_key(tiny_model, tmp_path):
    keys = {PromptCacheStore(tmp_path, budget=n).key(tiny_model(), PROMPTS) for n in (None, 7)}
    assert len(keys) == 1


def test_goes_on_after_an_interruption(tiny_model, tmp_path, ran):
    store = PromptCacheStore(tmp_path)

    def stop(done: int, total: int) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get(tiny_model(), PROMPTS, progress=stop)
    assert len(ran) == 3
    whole = store.get(tiny_model(), PROMPTS)
    assert len(ran) == 4  # what was done is not done again
    assert torch.equal(all_of(whole, PROMPTS), computed(tiny_model(), PROMPTS))


def test_who_waits_for_another_process_says_so(tiny_model, tmp_path):
    store = PromptCacheStore(tmp_path)
    folder = tmp_path / store.key(tiny_model(), PROMPTS)
    folder.mkdir()
    other, told = FileLock(folder / "lock"), []
    other.acquire()

    def notify(message):
        told.append(message)
        other.release()

    assert store.get(tiny_model(), PROMPTS, notify=notify).ready
    assert told == ["Waiting for another process that computes the same prompt caches …"]


def test_full_disk_is_said(tiny_model, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(entries.Entry, "write", full)
        with pytest.raises(StoreError, match="must fit on the disk"):
            PromptCacheStore(tmp_path).get(tiny_model(), PROMPTS)
    assert PromptCacheStore(tmp_path).get(tiny_model(), PROMPTS).ready


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOLCK])
def test_a_disk_that_cannot_keep_them_is_said(tiny_model, tmp_path, monkeypatch, number):
    def refusing(*args):
        raise OSError(number, "refused")

    monkeypatch.setattr(entries.Entry, "write_meta", refusing)
    with pytest.raises(StoreError, match="set C2C_SEARCH_CACHE to a folder of yours"):
        PromptCacheStore(tmp_path).get(tiny_model(), PROMPTS)


def test_what_is_complete_needs_no_disk_that_can_be_written(tiny_model, tmp_path, monkeypatch):
    store = PromptCacheStore(tmp_path)
    store.get(tiny_model(), PROMPTS)
    real = os.open

    def reading(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", reading)
    stored = store.get(tiny_model(), PROMPTS)
    assert torch.equal(all_of(stored, PROMPTS), computed(tiny_model(), PROMPTS))


def test_what_does_not_fit_is_computed_again_with_the_same_numbers(tiny_model, tmp_path, ran):
    told = []
    # The journal and meta.json come before the first shard, so room for the two shortest shards:
    # 2 x 2 and 3 tokens, and not the 4 more of the next.
    store = PromptCacheStore(tmp_path, budget=10 * TOKEN)
    caches = store.get(tiny_model(), PROMPTS, notify=told.append)
    assert [len(batch) for batch in ran] == [1, 2]
    assert not caches.ready
    assert torch.equal(all_of(caches, PROMPTS), computed(tiny_model(), PROMPTS))
    # 17 tokens of 128 bytes are 2,176 bytes, 7 of them 896.
    assert told[0].startswith("Of 2.2 kB of prompt caches of path:llama-2-2-8-0, 896 B fit")


def test_learned_prompts_that_do_not_fit_leave_a_quarter_to_others(tiny_model, tmp_path):
    def stored(folder, budget, **how):
        store = PromptCacheStore(tmp_path / folder, budget=budget)
        held.append(store.get(tiny_model(), PROMPTS, **how))
        (entry,) = entries.entries(tmp_path / folder)
        return sum(entry.meta.shards[number] for number in entry.there)

    held = []
    assert stored("all", 17 * TOKEN, learned=True) == 17
    # 14 of the 16 tokens that there is room for would be those of the shortest, and 12 are free.
    assert stored("often", 16 * TOKEN) == 11
    assert stored("learned", 16 * TOKEN, learned=True) == 11
    assert stored("few", 14 * TOKEN, learned=True) == 7


def test_a_larger_budget_completes_what_a_smaller_one_left(tiny_model, tmp_path, ran):
    PromptCacheStore(tmp_path, budget=10 * TOKEN).get(tiny_model(), PROMPTS)
    assert PromptCacheStore(tmp_path).get(tiny_model(), PROMPTS).ready
    assert len(ran) == 4


def test_the_least_recently_used_makes_room(tiny_model, tmp_path):
    store = PromptCacheStore(tmp_path)
    for seed in (1, 2, 3):
        store.get(tiny_model(seed=seed), PROMPTS)
    store.get(tiny_model(seed=1), PROMPTS)  # used again: 2 is the oldest now
    of = {seed: store.key(tiny_model(seed=seed), PROMPTS) for seed in (1, 2, 3, 4)}
    room = sum(entry.size for entry in entries.entries(tmp_path)) + TOKEN
    PromptCacheStore(tmp_path, budget=room).get(tiny_model(seed=4), PROMPTS)
    assert keys(tmp_path) == {of[1], of[3], of[4]}


def test_what_is_in_use_makes_no_room(tiny_model, tmp_path):
    store = PromptCacheStore(tmp_path)
    used = store.get(tiny_model(seed=1), PROMPTS)
    before = all_of(used, PROMPTS)
    tiny = PromptCacheStore(tmp_path, budget=1)
    assert not tiny.get(tiny_model(seed=2), PROMPTS).ready
    assert store.key(tiny_model(seed=1), PROMPTS) in keys(tmp_path)
    assert torch.equal(all_of(used, PROMPTS), before)
    del used
    tiny.get(tiny_model(seed=2), PROMPTS)
    assert store.key(tiny_model(seed=1), PROMPTS) not in keys(tmp_path)


def test_an_interrupted_removal_is_finished(tiny_model, tmp_path):
    (tmp_path / ".trash-1").mkdir()
    (tmp_path / ".trash-1" / "000000.bin").write_bytes(b"0")
    PromptCacheStore(tmp_path).get(tiny_model(), PROMPTS)
    assert not (tmp_path / ".trash-1").exists()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(range(len(LISTS))),
            st.integers(1, 2),
            st.one_of(st.none(), st.integers(0, 60 * TOKEN)),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_calls_with_any_budget_return_what_computing_does(tiny_model, tmp_path_factory, calls):
    folder = tmp_path_factory.mktemp("store")
    held = []
    for which, seed, budget, keeps in calls:
        model, prompts = tiny_model(seed=seed), LISTS[which]
        caches = PromptCacheStore(folder, budget=budget).get(model, prompts)
        assert torch.equal(all_of(caches, prompts), computed(model, prompts))
        held.append((caches, model, prompts) if keeps else None)
    for caches, model, prompts in filter(None, held):
        assert torch.equal(all_of(caches, prompts), computed(model, prompts))
