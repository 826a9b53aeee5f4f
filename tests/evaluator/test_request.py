from __future__ import annotations

import pytest

from c2c_search.errors import ConfigError
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluator.request import choose_systems
from c2c_search.evaluator.target import find_target


def test_without_names_all_that_needs_no_training_answers(trial, trained_root) -> None:
    chosen, skipped = choose_systems((), find_target(trial.hash(), root=trained_root))
    assert set(chosen) == {"receiver", "sharer", "routing", "c2c", "deranged", "shut"}
    assert skipped == {}


def test_a_model_alone_is_compared_with_nobody(tmp_path) -> None:
    chosen, skipped = choose_systems((), find_target("path:a", root=tmp_path))
    assert chosen == ("receiver",)
    assert skipped == {}


def test_all_says_why_a_system_cannot_answer(tmp_path) -> None:
    chosen, skipped = choose_systems(
        ("all",), find_target("path:a", root=tmp_path, sharer="path:b")
    )
    assert "text_relay" in chosen
    assert "evaluate a champion" in skipped["c2c"]
    assert set(chosen) | set(skipped) == set(SYSTEMS)


def test_routing_brings_the_models_that_it_routes_between(trial, trained_root) -> None:
    target = find_target(trial.hash(), root=trained_root)
    assert choose_systems(("routing",), target)[0] == ("receiver", "sharer", "routing")


def test_every_wrong_name_is_told_at_once(tmp_path) -> None:
    target = find_target("path:a", root=tmp_path)
    with pytest.raises(ConfigError) as raised:
        choose_systems(("reciever", "c2c", "receiver"), target)
    assert "'receiver' is" in str(raised.value)
    assert "c2c cannot answer" in str(raised.value)
