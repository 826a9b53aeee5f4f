"""The bounds are of the model's own weights, and what is measured beside them is whole steps."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def roofline(program):
    return program("roofline")


def test_the_vocabulary_is_no_layer(roofline, tiny_model):
    weights = roofline.layer_weights(tiny_model())
    # Of each of two layers: queries, keys, values, output; gate, up and down.
    assert (
        sorted(tuple(weight.shape) for weight in weights)
        == 2 * [(16, 32)] * 2 + 2 * [(32, 32)] * 2 + 2 * [(32, 48)] + 2 * [(48, 32)] * 2
    )


def test_rates_are_of_all_layers(roofline, tiny_model):
    loaded = tiny_model()
    numbers = sum(weight.numel() for weight in roofline.layer_weights(loaded))
    one, many = roofline.products(loaded, [1, 8], turns=2)
    assert (one["rows"], many["rows"]) == (1, 8)
    for each in (one, many):  # two operations a number and row, four bytes a number
        seconds = 2 * each["rows"] * numbers / each["flop_per_second"]
        assert each["bytes_per_second"] == pytest.approx(4 * numbers / seconds)


def test_steps_and_tokens_are_measured(roofline, tiny_model):
    receiver, sharer = tiny_model("qwen3", layers=3, seed=1), tiny_model("gemma3", seed=2)
    options = roofline.parse(["--batch", "2", "--turns", "2", "--width", "8"])
    steps = roofline.training_steps(receiver, sharer, options)
    assert steps["stored"]["flop"] < steps["recomputed"]["flop"] < steps["reference"]["flop"]
    token = roofline.decoding(receiver, options)
    assert token["bytes"] == sum(weight.nbytes for weight in receiver.model.parameters())
    assert token["seconds"] > 0
