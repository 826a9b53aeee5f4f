"""What a pipeline may and may not ask of the data."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import features


def test_default_is_the_quiz_in_ten_scripts() -> None:
    config = DataConfig()
    assert config.source == "quiz"
    assert len(config.groups.test) == 10
    assert config.groups.train == config.groups.validation == config.groups.test


def test_every_field_is_described() -> None:
    schema = DataConfig.model_json_schema()
    for model in (schema, *schema["$defs"].values()):
        for name, field in model["properties"].items():
            assert field.get("description"), name


def test_one_path_or_pattern_stands_for_a_list_of_one() -> None:
    assert DataConfig(groups={"train": "country/*"}).groups.train == ("country/*",)
    assert DataConfig(source="jsonl", files={"train": "a.jsonl"}).files.train == ("a.jsonl",)


def test_round_trip() -> None:
    config = DataConfig(limit={"test": 7}, groups={"test": ["capital/of"]})
    assert DataConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"source": "jsonl"}, "needs files.train"),
        ({"files": {"train": "a.jsonl"}}, "files belong to source jsonl"),
        ({"holdout": {"validation": 0.5, "test": 0.5}}, "leave examples to train on"),
        ({"groups": {"train": []}}, "at least 1 item"),
        ({"limit": {"train": 0}}, "greater than or equal to 1"),
        ({"template": "alpaca"}, "'plain' or 'chat'"),
        ({"template": {"receiver": "chat"}}, "one of them for each role"),
        ({"template": {"receiver": "chat", "sharer": "base"}}, "one of them for each role"),
        ({"template": 1}, "'plain' or 'chat'"),
        ({"shuffle": True}, "Extra inputs"),
    ],
)
def test_what_cannot_hold_is_refused(given: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        DataConfig.model_validate(given)


def test_features_are_the_canonical_columns() -> None:
    assert list(features()) == [
        "id",
        "group",
        "cluster",
        "messages",
        "sharer_messages",
        "response",
        "choices",
        "answer",
        "draft",
    ]


def test_a_config_is_read_without_datasets() -> None:
    code = "import sys, c2c_search.data.schema; assert 'datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_template_of_each_role_is_told_as_such_and_equal_ones_as_one() -> None:
    mixed = DataConfig(template={"receiver": "chat", "sharer": "plain"})
    content = mixed.model_dump(mode="json")
    assert content["template"] == {"receiver": "chat", "sharer": "plain"}
    assert DataConfig.model_validate_json(json.dumps(content), strict=True) == mixed
    same = DataConfig(template={"receiver": "chat", "sharer": "chat"})
    assert same == DataConfig(template="chat")
    assert same.model_dump(mode="json")["template"] == "chat"
