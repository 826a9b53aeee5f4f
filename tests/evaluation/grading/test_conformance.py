"""Every grader passes the conformance suite."""

from __future__ import annotations

import pytest

from c2c_search.evaluation.grading import GRADERS
from c2c_search.evaluation.items import Item
from c2c_search.testing import GraderConformance


CHOSEN = Item("1", "g", "1", messages=(), choices=("Lyon", "Paris"), answer=1)
LONG = Item("1", "g", "1", messages=(), references=("Tatoeba",), facts={"subset": "qasper"})

SETTINGS = {"choice": {"item": CHOSEN, "right": "B"}, "longbench": {"item": LONG}}
SETTINGS["longbench"]["right"] = "Tatoeba"


def _suite(name: str) -> type[GraderConformance]:
    return type(f"Test_{name}", (GraderConformance,), {"plugin": name, **SETTINGS.get(name, {})})


globals().update({f"Test_{name}": _suite(name) for name in GRADERS})


@pytest.mark.parametrize("name", GRADERS)
def test_a_grader_is_called_as_its_function(name: str) -> None:
    assert GRADERS[name].grade.__name__ == name
