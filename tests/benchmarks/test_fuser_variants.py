"""The fusers that the benchmark compares exist, and are told apart."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from c2c_search.config.training import TrainingConfig
from c2c_search.fuser.config import FuserConfig


_FILE = Path(__file__).parents[2] / "benchmarks" / "fuser_variants.py"


@pytest.fixture(scope="module")
def variants():
    spec = importlib.util.spec_from_file_location("fuser_variants", _FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_variant_is_a_fuser_of_its_own(variants):
    for name, chosen in variants.SETS.items():
        names = [variant.name for variant in chosen]
        assert len(set(names)) == len(names), name
        configs = [
            (
                FuserConfig.model_validate(variant.fuser).model_dump_json(),
                TrainingConfig.model_validate(
                    {"steps": 80, **variants.training_of(variant, 80)}
                ).model_dump_json(),
            )
            for variant in chosen
        ]
        assert len(set(configs)) == len(configs), name


def test_stages_are_scaled_to_the_steps(variants):
    for chosen in variants.SETS.values():
        for variant in chosen:
            if "stages" not in variant.training:
                continue
            for steps in (3, 60, 700):
                stages = variants.training_of(variant, steps)["stages"]
                assert sum(stage.steps for stage in stages) == steps
                assert all(stage.steps for stage in stages)
    staged = next(v for v in variants.PRIVATE if "stages" in v.training)
    assert [stage.steps for stage in variants.training_of(staged, 40)["stages"]] == [15, 25]


def test_files_of_different_sets_are_told_apart(variants):
    everything = {
        (variant.name, str(variant.fuser))
        for chosen in variants.SETS.values()
        for variant in chosen
    }
    assert len({name for name, _ in everything}) == len(everything)
