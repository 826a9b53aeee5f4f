"""All ways to prompt caches give the same caches, and each is timed."""

from __future__ import annotations

import pytest


PROMPTS = [(1, 2, 3, 4), (1, 2, 5), (1, 2, 6, 7, 8, 9), (1, 2, 9, 8, 7, 6), (1, 2)]


@pytest.fixture(scope="module")
def prefill(program):
    return program("prefill")


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_padding_and_head_change_no_cache(prefill, tiny_model, family):
    assert prefill.difference(tiny_model(family).model, PROMPTS, 2) < 1e-5


def test_other_caches_are_told_apart(prefill, tiny_model, monkeypatch):
    other = tiny_model(seed=5).model
    plain = prefill.padded_prefill
    monkeypatch.setattr(prefill, "padded_prefill", lambda model, rows: plain(other, rows))
    assert prefill.difference(tiny_model(seed=1).model, PROMPTS, 2) > 0.1


def test_every_way_runs_and_the_store_is_filled_anew(prefill, program, tiny_model, tmp_path):
    loaded = tiny_model()
    ways = prefill.Ways(loaded, PROMPTS, 2, tmp_path)
    times = program("timing").take_turns(ways.all, 2, loaded.model.device)
    assert {name: len(seconds) for name, seconds in times.items()} == dict.fromkeys(ways.all, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2", "filled"}
    summary = prefill.summary("tiny", PROMPTS, times, 0.0, ways.profiles())
    assert summary["tokens"] == 21
    plain = {part["name"] for part in summary["profiles"]["plain"]["parts"]}
    assert {"LlamaModel", "LlamaForCausalLM: head"} <= plain
    ours = {part["name"] for part in summary["profiles"]["computed"]["parts"]}
    assert "LlamaForCausalLM: head" not in ours


def test_rows_come_in_order(prefill):
    assert prefill.in_order(5, 2) == [[0, 1], [2, 3], [4]]
