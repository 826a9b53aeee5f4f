"""Published methods by name."""

from __future__ import annotations

import pytest

from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.presets import PRESETS
from c2c_search.fuser.presets import preset
from c2c_search.fuser.presets import written_out
from c2c_search.fuser.rosetta.layout import published


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_fuser_and_names_its_source(name: str) -> None:
    config = FuserConfig.model_validate(preset(name).fuser)
    assert FuserConfig.model_validate(config.model_dump()) == config
    assert preset(name).name == name
    assert preset(name).reference


def test_presets_differ() -> None:
    configs = {FuserConfig.model_validate(each.fuser) for each in PRESETS.values()}
    assert len(configs) == len(PRESETS)


def test_c2c_is_the_published_class_of_its_published_size() -> None:
    stated = FuserConfig.model_validate(preset("c2c").fuser).model_dump()
    imported = published().model_dump()
    of_checkpoint = {"width", "depth", "intermediate", "gate", "dropout"}
    assert {key for key in stated if stated[key] != imported[key]} <= of_checkpoint
    assert stated["gate"]["noise"] == imported["gate"]["noise"]


def test_what_stands_beside_a_preset_goes_before_it() -> None:
    values = written_out({"preset": "c2c", "width": 32, "gate": {"rule": "soft"}})
    assert values["width"] == 32
    assert values["depth"] == 3
    assert values["gate"]["rule"] == "soft"
    assert values["gate"]["noise"] == "gumbel"
