from __future__ import annotations

import json
from typing import Any

import pytest

from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Trained


RUNG: dict[str, Any] = {
    "type": "rung",
    "rung": 0,
    "step": 3,
    "split": "validation",
    "objective": 0.75,
    "metrics": {},
}
TRAINED: dict[str, Any] = {
    "type": "trained",
    "step": 3,
    "split": "validation",
    "pruned": False,
    "objective": 0.75,
    "best_rung": 0,
    "best_dir": "best",
    "parameters": 1,
    "bytes": 4,
    "seconds": {},
    "metrics": {},
}


@pytest.mark.parametrize(("kind", "record"), [(Rung, RUNG), (Trained, TRAINED)])
def test_a_record_of_before_has_its_objective_as_accuracy(
    kind: type[Rung | Trained], record: dict[str, Any]
) -> None:
    found = kind.model_validate_json(json.dumps(record))
    assert (found.accuracy, found.deranged) == (0.75, None)
    known = kind.model_validate({**record, "accuracy": 0.5, "deranged": 0.25})
    assert (known.objective, known.accuracy, known.deranged) == (0.75, 0.5, 0.25)
    assert kind.model_validate_json(known.model_dump_json()) == known
