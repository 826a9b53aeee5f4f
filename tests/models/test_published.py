"""Configurations that are known without a model are those that were published."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.models.attention_maps import skeleton_of
from c2c_search.models.published import known_config


# Parameters in millions, as the models' cards and weights have them.
PUBLISHED = {
    "hf:Qwen/Qwen2.5-0.5B-Instruct": 494.0,
    "hf:Qwen/Qwen2.5-1.5B-Instruct": 1543.7,
    "hf:Qwen/Qwen3-0.6B": 596.0,
    "hf:Qwen/Qwen3-1.7B": 1720.6,
    "hf:Qwen/Qwen3-4B-Base": 4022.5,
    "hf:Qwen/Qwen3-8B": 8190.7,
    "hf:meta-llama/Llama-3.2-1B-Instruct": 1235.8,
}


@pytest.mark.parametrize(("source", "millions"), PUBLISHED.items())
def test_the_model_has_its_published_size(
    source: str, millions: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path))
    config = known_config(f"{source}@main")
    assert config is not None
    model = skeleton_of(config)
    assert sum(each.numel() for each in model.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.1
    )


def test_others_are_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path))
    assert known_config("hf:nobody/nothing") is None
    assert known_config("pypi:gemma-3-270m") is None
