"""The store must return what was computed, once, whatever interrupted it."""

from __future__ import annotations

import errno

import pytest
import torch

from c2c_search.errors import StoreError
from c2c_search.pair import store as store_module
from c2c_search.pair.store import PromptCaches
from c2c_search.pair.store import PromptCacheStore


PROMPTS = [[1, 2, 3], [1, 5], [1, 2, 9, 9], [1, 7], [1, 2, 8]]


@pytest.fixture
def calls(monkeypatch):
    """Counts the prompts that really run, two to a batch."""
    ran = []
    real = store_module.prefill

    def counting(model, prompts, **kwargs):
        for rows, caches in real(model, prompts, batch_tokens=6):
            ran.extend(rows)
            yield rows, caches

    monkeypatch.setattr(store_module, "prefill", counting)
    return ran


def test_equals_computing_in_memory(tiny_model, tmp_path):
    stored = PromptCacheStore(tmp_path).get(tiny_model(), PROMPTS)
    fresh = PromptCaches.compute(tiny_model().model, PROMPTS)
    assert stored.offsets == fresh.offsets == (0, 3, 5, 9, 11, 14)
    torch.testing.assert_close(stored.tokens.float(), fresh.tokens.float(), atol=2e-3, rtol=1e-2)


def test_computed_once(tiny_model, tmp_path, calls):
    store = PromptCacheStore(tmp_path)
    seen = []
    store.get(tiny_model(), PROMPTS, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert len(calls) == 5
    store.get(tiny_model(), PROMPTS)
    assert len(calls) == 5


def test_key_changes_with_what_changes_a_cache(tiny_model, tmp_path):
    store = PromptCacheStore(tmp_path)
    keys = {
        store.key(tiny_model(), PROMPTS),
        store.key(tiny_model(seed=1), PROMPTS),
        store.key(tiny_model(), PROMPTS[:-1]),
        store.key(tiny_model(), PROMPTS[::-1]),
    }
    assert len(keys) == 4


def test_goes_on_after_an_interruption(tiny_model, tmp_path, calls):
    store = PromptCacheStore(tmp_path)

    def stop(done: int, total: int) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get(tiny_model(), PROMPTS, progress=stop)
    ran = len(calls)
    whole = store.get(tiny_model(), PROMPTS)
    assert len(calls) == 5  # what was done is not done again
    assert 3 <= ran < 5
    other = PromptCacheStore(tmp_path / "other").get(tiny_model(), PROMPTS)
    torch.testing.assert_close(whole.tokens.float(), other.tokens.float(), atol=2e-3, rtol=1e-2)


def test_full_disk_is_said(tiny_model, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "_reserve", full)
    with pytest.raises(StoreError, match="must fit on the disk"):
        PromptCacheStore(tmp_path).get(tiny_model(), PROMPTS)
    monkeypatch.undo()
    assert len(PromptCacheStore(tmp_path).get(tiny_model(), PROMPTS).offsets) == 6


def test_packed_takes_chosen_tokens(tiny_model):
    caches = PromptCaches.compute(tiny_model().model, PROMPTS)
    packed = caches.packed([2, 0], [torch.tensor([0, 3, 3]), torch.tensor([1])])
    assert packed.shape == (2, 2, 4, 16)
    assert packed.dtype == torch.float32
    assert packed.is_contiguous()
    assert torch.equal(packed[:, :, 1], caches.tokens[5 + 3].float())
    assert torch.equal(packed[:, :, 3], caches.tokens[1].float())
