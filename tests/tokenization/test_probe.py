"""The number of what a tokenizer does: equal for equal ids, another for any other setting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from c2c_search.tokenization.probe import tokenization_sha256


@pytest.fixture
def saved(tiny_model, tmp_path):
    """A folder with a tokenizer: ``saved(name, **settings)``."""

    def save(name: str, **settings) -> Path:
        tiny_model("llama", seed=1).tokenizer.save_pretrained(tmp_path / name)
        path = tmp_path / name / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        return tmp_path / name

    return save


def probe(folder: Path) -> str:
    return tokenization_sha256(AutoTokenizer.from_pretrained(folder))


def test_a_tokenizer_saved_again_is_the_same(saved, tmp_path):
    folder = saved("once")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert probe(folder) == probe(tmp_path / "again")


@pytest.mark.parametrize(
    "settings",
    [
        {"split_special_tokens": True},
        {"additional_special_tokens": ["<mine>"]},
        {"mask_token": "<mask>"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_change_prompts_change_it(saved, settings):
    assert probe(saved("without")) != probe(saved("with", **settings))


def test_settings_that_change_nothing_do_not(saved):
    assert probe(saved("short")) == probe(saved("long", model_max_length=7, padding_side="left"))


def test_tokens_put_around_a_text_count(saved):
    tokenizer = AutoTokenizer.from_pretrained(saved("plain"))
    before = tokenization_sha256(tokenizer)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        "$A <eos>", "$A $B", [("<eos>", tokenizer.eos_token_id)]
    )
    assert tokenization_sha256(tokenizer) != before
