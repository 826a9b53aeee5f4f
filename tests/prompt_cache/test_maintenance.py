"""What the store holds is told, cleared and verified."""

from __future__ import annotations

import json
import os

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.prompt_cache import maintenance
from c2c_search.prompt_cache.entries import Entry
from c2c_search.prompt_cache.store import PromptCacheStore


pytestmark = pytest.mark.usefixtures("a_batch_for_each_length")

PROMPTS = [[1, 2, 3], [1, 5], [1, 2, 9, 9]]
DAY = 86400.0


@pytest.fixture
def kept(tiny_model, tmp_path):
    """A store with the caches of two models, used one and forty days ago; the second's folder."""
    store = PromptCacheStore(tmp_path)
    for seed, days in ((1, 1), (2, 40)):
        store.get(tiny_model(seed=seed), PROMPTS)
        folder = tmp_path / store.key(tiny_model(seed=seed), PROMPTS)
        os.utime(folder / "use", (100 * DAY - days * DAY,) * 2)
    return folder


@pytest.fixture
def old(tmp_path):
    """What the first format left."""
    folder = tmp_path / ("0" * 32)
    folder.mkdir()
    (folder / "meta.json").write_text(json.dumps({"shape": [1, 2, 1, 1], "offsets": [0, 1]}))
    (folder / "tokens.bin").write_bytes(b"1234")
    os.utime(folder, (DAY, DAY))
    return folder


def test_contents_are_told_the_last_used_first(kept, old, tmp_path):
    found = maintenance.contents(tmp_path)
    assert [each.model for each in found.kept] == [
        "path:llama-2-2-8-1",
        "path:llama-2-2-8-2",
        "",
    ]
    first, _, last = found.kept
    assert (first.prompts, first.tokens, first.dtype, first.state) == (
        3,
        9,
        "bfloat16",
        "complete",
    )
    assert first.size > 9 * 2 * 2 * 16 * 2
    assert (last.state, last.last_used) == ("unreadable", DAY)
    assert maintenance.contents(tmp_path).kept == found.kept  # looking changes nothing


def test_a_store_that_is_not_there_is_empty(tmp_path):
    assert maintenance.contents(tmp_path / "none").kept == ()


def test_partial_and_in_use_are_told(tiny_model, tmp_path):
    caches = PromptCacheStore(tmp_path, budget=0).get(tiny_model(), PROMPTS)
    (only,) = maintenance.contents(tmp_path).kept
    assert (only.state, only.in_use) == ("partial", True)
    del caches
    (only,) = maintenance.contents(tmp_path).kept
    assert not only.in_use


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, ["", "path:llama-2-2-8-2", "path:llama-2-2-8-1"]),
        ({"model": "path:llama-2-2-8-2"}, ["path:llama-2-2-8-2"]),
        ({"older_than": "30d"}, ["", "path:llama-2-2-8-2"]),
        ({"older_than": "30d", "model": "path:llama-2-2-8-1"}, []),
        ({"older_than": "2160h"}, [""]),  # ninety days
        ({"down_to": 10**9}, []),
        ({"down_to": 0}, ["", "path:llama-2-2-8-2", "path:llama-2-2-8-1"]),
    ],
)
def test_choosing(kept, old, tmp_path, options, chosen):
    found = maintenance.contents(tmp_path)
    picked = maintenance.choose(found, now=100 * DAY, **options)
    assert [each.model for each in picked] == chosen


def test_a_model_without_caches_and_a_time_that_is_none(kept, tmp_path):
    found = maintenance.contents(tmp_path)
    with pytest.raises(ConfigError, match="path:llama-2-2-8-1, path:llama-2-2-8-2"):
        maintenance.choose(found, now=0, model="hf:none")
    with pytest.raises(ConfigError, match="For example 30d"):
        maintenance.choose(found, now=0, older_than="a month")


def test_what_is_in_use_is_not_cleared(kept, old, tiny_model, tmp_path):
    caches = PromptCacheStore(tmp_path).get(tiny_model(seed=2), PROMPTS)
    found = maintenance.contents(tmp_path)
    cleared = maintenance.clear(found, found.kept)
    assert [each.model for each in cleared.in_use] == ["path:llama-2-2-8-2"]
    assert [each.model for each in cleared.removed] == ["path:llama-2-2-8-1", ""]
    assert [each.model for each in maintenance.contents(tmp_path).kept] == ["path:llama-2-2-8-2"]
    assert caches.packed([0], [torch.arange(3)]).shape == (2, 2, 3, 16)


def test_as_written(kept, old, tmp_path):
    seen = []
    found = maintenance.verify(tmp_path, progress=lambda done, total: seen.append((done, total)))
    # Two models, three batches each; 9 tokens of 128 bytes each.
    assert (found.shards, found.size, found.damaged) == (6, 2 * 9 * 128, ())
    assert found.unreadable == ("0" * 32,)
    assert seen[-1] == (6, 6)


def test_a_flipped_bit_is_found_removed_and_computed_anew(kept, tiny_model, tmp_path):
    shard = kept / "000001.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:5] + bytes([whole[5] ^ 1]) + whole[6:])
    (kept / "000002.bin").write_bytes(b"short")
    found = maintenance.verify(tmp_path)
    assert [(each.shard, each.what, each.removed) for each in found.damaged] == [
        (1, "its checksum does not hold", False),
        (2, "5 bytes instead of 256", False),
    ]
    assert all(each.removed for each in maintenance.verify(tmp_path, delete=True).damaged)
    assert maintenance.verify(tmp_path).damaged == ()
    PromptCacheStore(tmp_path).get(tiny_model(seed=2), PROMPTS)
    assert shard.read_bytes() == whole


def test_a_shard_that_is_gone_is_damage(kept, tmp_path):
    (kept / "000000.bin").unlink()
    (damage,) = maintenance.verify(tmp_path).damaged
    assert (damage.shard, damage.what) == (0, "missing")


def test_a_folder_that_is_begun_anew_while_we_look_is_not_damaged(kept, tmp_path, monkeypatch):
    real = Entry.damage

    def removing(self, number):
        if self.folder == kept and (kept / "000000.bin").exists():
            for path in kept.glob("*.bin"):
                path.unlink()
            (kept / "shards.jsonl").write_text("")
        return real(self, number)

    monkeypatch.setattr(Entry, "damage", removing)
    found = maintenance.verify(tmp_path)
    assert (found.shards, found.damaged) == (6, ())


def test_damage_in_use_is_told_and_kept(kept, tiny_model, tmp_path):
    shard = kept / "000000.bin"
    shard.write_bytes(bytes(len(shard.read_bytes())))
    caches = PromptCacheStore(tmp_path).get(tiny_model(seed=2), PROMPTS)
    (damage,) = maintenance.verify(tmp_path, delete=True).damaged
    assert not damage.removed
    assert shard.exists()
    del caches


def test_a_line_that_was_cut_short_costs_one_shard(kept, tiny_model, tmp_path):
    journal = kept / "shards.jsonl"
    journal.write_text(journal.read_text().rstrip()[:-3])
    (entry,) = [e for e in maintenance.contents(tmp_path).kept if e.state == "partial"]
    assert entry.model == "path:llama-2-2-8-2"
    assert PromptCacheStore(tmp_path).get(tiny_model(seed=2), PROMPTS).ready
    assert {e.state for e in maintenance.contents(tmp_path).kept} == {"complete"}


@pytest.mark.parametrize("line", [b"\xff\xfe\n", b"[1]\n", b'{"shard": 99, "blake2b": "0"}\n'])
def test_a_damaged_journal_costs_nothing_but_its_line(kept, tmp_path, line):
    journal = kept / "shards.jsonl"
    journal.write_bytes(line + journal.read_bytes())
    assert {each.state for each in maintenance.contents(tmp_path).kept} == {"complete"}
    assert maintenance.verify(tmp_path).damaged == ()
