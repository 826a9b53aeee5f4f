"""Prompts that are in no store: exactly those asked for are computed, with the store's bits."""

from __future__ import annotations

import random

import pytest
import torch

from c2c_search.prompt_cache import recomputed
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.prompt_cache.store import PromptCacheStore


RANDOM = random.Random(0)
LENGTHS = [40, 39, 38, 37, 30, 29, 12, 11, 10, 9, 9, 9]
PROMPTS = [[1, *(RANDOM.randrange(2, 30) for _ in range(length - 1))] for length in LENGTHS]
TOKEN = 2 * 2 * 16 * 2


@pytest.fixture
def passes(monkeypatch):
    """The rows of each pass, and how wide it is."""
    found = []
    real = Prefill.read_rows

    def counting(self, rows, width):
        found.append(([*rows], width))
        return real(self, rows, width)

    monkeypatch.setattr(Prefill, "read_rows", counting)
    return found


@pytest.fixture
def batches_of_four(monkeypatch):
    """The twelve prompts in three batches of four, of 40, 30 and 10 tokens."""

    def planned(self, *args, **kwargs):
        real(self, *args, **kwargs)
        if len(self.prompts) == len(PROMPTS):
            self.batches = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]

    real = Prefill.__init__
    monkeypatch.setattr(Prefill, "__init__", planned)


@pytest.fixture
def nothing_stored(tiny_model, tmp_path, batches_of_four):
    return PromptCacheStore(tmp_path, budget=0).get(tiny_model(), PROMPTS)


def pack(caches, rows):
    return caches.packed(rows, [torch.arange(len(PROMPTS[row])) for row in rows])


def test_single_prompts_have_the_bits_of_their_batch(tiny_model, nothing_stored):
    whole = PromptCaches.compute(tiny_model().model, PROMPTS)
    order = list(range(len(PROMPTS)))
    for seed in range(3):
        random.Random(seed).shuffle(order)
        for rows in (order[:1], order[1:4], order[4:]):
            assert torch.equal(pack(nothing_stored, rows), pack(whole, rows))


def test_what_is_asked_for_runs_and_nothing_else(nothing_stored, passes, monkeypatch):
    monkeypatch.setattr(recomputed.Recomputed, "_try", lambda *_: True)
    pack(nothing_stored, [1, 9, 3])
    assert passes == [([1, 3], 40), ([9], 10)]
    pack(nothing_stored, [3, 0, 0])  # the third is there, and the first is needed once
    assert passes[2:] == [([0], 40)]


def test_a_shape_is_compared_with_a_whole_batch_once(nothing_stored, passes):
    pack(nothing_stored, [1])
    assert passes == [([0, 1, 2, 3], 40), ([3], 40), ([1], 40)]
    pack(nothing_stored, [2])
    assert passes[3:] == [([2], 40)]


def test_where_a_pass_of_few_has_other_bits_whole_batches_run(
    tiny_model, nothing_stored, passes, monkeypatch
):
    monkeypatch.setattr(recomputed.Recomputed, "_try", lambda *_: False)
    whole = PromptCaches.compute(tiny_model().model, PROMPTS)
    del passes[:]
    assert torch.equal(pack(nothing_stored, [1, 9]), pack(whole, [1, 9]))
    assert passes == [([0, 1, 2, 3], 40), ([8, 9, 10, 11], 10)]
    pack(nothing_stored, [0, 8])  # they came along
    assert len(passes) == 2


def test_a_pass_with_another_bit_is_found_out(nothing_stored, passes, monkeypatch):
    real = Prefill.read_rows

    def by_count(self, rows, width):
        return real(self, rows, width) + (1e-6 if len(rows) == 1 else 0)

    monkeypatch.setattr(Prefill, "read_rows", by_count)
    pack(nothing_stored, [5])
    assert passes[-1] == ([4, 5, 6, 7], 30)


def test_a_pass_is_filled_with_what_is_expected(nothing_stored, passes, monkeypatch):
    monkeypatch.setattr(recomputed.Recomputed, "_try", lambda *_: True)
    nothing_stored.expect([6, 0, 2, 3, 9, 1])
    pack(nothing_stored, [1])
    # 6 and 9 are of other shapes, and would have to have passes of their own.
    assert passes == [([1, 0, 2, 3], 40)]
    pack(nothing_stored, [0, 2])
    assert len(passes) == 1


def test_memory_holds_what_is_asked_for_and_recent_ones_that_fit(
    nothing_stored, passes, monkeypatch
):
    monkeypatch.setattr(recomputed.Recomputed, "_try", lambda *_: True)
    monkeypatch.setattr(recomputed, "_RECENT", 45 * TOKEN)
    pack(nothing_stored, [0])
    pack(nothing_stored, [8])  # 50 tokens: the first 40 have to go
    pack(nothing_stored, [8, 0])
    assert [rows for rows, _ in passes] == [[0], [8], [0]]
    pack(nothing_stored, [0])
    assert len(passes) == 3


def test_lists_behind_each_other_are_each_asked_for_their_own(
    tiny_model, nothing_stored, passes, monkeypatch
):
    monkeypatch.setattr(recomputed.Recomputed, "_try", lambda *_: True)
    computed = PromptCaches.compute(tiny_model().model, PROMPTS)
    both = computed.followed_by(nothing_stored)
    del passes[:]
    both.expect([0, 12 + 2])
    found = both.packed([1, 13], [torch.arange(39)] * 2)
    assert torch.equal(found[:, :, :39], found[:, :, 39:])
    assert passes == [([1, 2], 40)]
