"""The machine is described completely."""

from __future__ import annotations

import json


def test_everything_that_a_number_depends_on_is_told(program, tiny_model):
    machine = program("machine")
    described = machine.describe(tiny_model())
    assert described["cores"] >= 1
    assert described["memory_gib"] > 0
    assert list(described["models"].values()) == ["float32"]
    json.dumps(described)
    words = machine.in_words(described)
    assert described["processor"] in words
    assert "float32" in words


def test_other_processes_may_load_the_models(program):
    assert "models" not in program("machine").describe()
