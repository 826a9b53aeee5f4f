"""What a study reads is told without weights, to the byte that its worker then stores."""

from __future__ import annotations

from pathlib import Path

from c2c_search.prompt_cache.entries import FOLDER
from c2c_search.prompt_cache.entries import entries
from c2c_search.space.schema import Space
from c2c_search.study.prompt_lists import PromptLists
from c2c_search.training.service import WorkerService


def test_caches_are_told_to_the_byte_and_those_that_are_there_are_known(
    planned_space: Space, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    prompts = PromptLists(planned_space)
    assert {name: len(rows) for name, rows in prompts.rows.items()} == {
        "train": 42,
        "validation": 6,
        "test": 12,
    }
    assert not prompts.private
    before = prompts.plan(cache)
    assert (before.stored, before.beyond) == (0, 0.0)
    assert all(each.missing == each.tokens > 0 for each in before.lists)

    service = WorkerService(planned_space.pipeline, cache_dir=cache, emit=lambda _: None)
    service.prepare(planned_space.pairs["there"])
    written = sum(
        path.stat().st_size for one in entries(cache / FOLDER) for path in one.folder.glob("*.bin")
    )
    after = prompts.plan(cache)
    assert after.stored == written > 0
    assert after.size == before.size
    there = [each for each in after.lists if each.stored]
    assert {each.of for each in there} == {"train", "validation", "test"}
    assert all(each.missing == 0 for each in there)
