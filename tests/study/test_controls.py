from __future__ import annotations

from c2c_search.models.pair import PairSpec
from c2c_search.study.controls import single_models


def test_every_model_is_measured_once_receivers_first() -> None:
    there = PairSpec(receiver="pypi:small", sharer="hf:org/big@main")
    pairs = {"there": there, "back": PairSpec(receiver=there.sharer, sharer=there.receiver)}
    small, big = single_models(pairs, private=False)
    assert (small.name, small.role, small.pair) == ("small alone", "receiver", "there")
    assert (big.name, big.role, big.pair) == ("org/big@main alone", "receiver", "back")
    assert big.key == "hf-org-big-main"


def test_a_model_that_only_speaks_is_measured_as_sharer() -> None:
    pairs = {"one": PairSpec(receiver="path:a", sharer="path:b")}
    assert [model.role for model in single_models(pairs, private=False)] == ["receiver", "sharer"]


def test_on_private_data_a_model_is_measured_with_and_without_the_context() -> None:
    there = PairSpec(receiver="pypi:small", sharer="pypi:big")
    pairs = {"there": there, "back": PairSpec(receiver=there.sharer, sharer=there.receiver)}
    models = single_models(pairs, private=True)
    assert [(model.name, model.role) for model in models] == [
        ("small alone", "receiver"),
        ("big alone", "receiver"),
        ("big reading the context", "sharer"),
        ("small reading the context", "sharer"),
    ]
    assert len({model.key for model in models}) == 4
