"""Every task passes the conformance suite, on a file in exactly its hub's columns."""

from __future__ import annotations

from c2c_search.evaluation.tasks.task import TASKS
from c2c_search.testing import TaskConformance
from tests.evaluation.hub_samples import SAMPLES


def _suite(name: str) -> type[TaskConformance]:
    return type(
        f"Test_{name}", (TaskConformance,), {"plugin": name, "rows": SAMPLES.get(name, ())}
    )


globals().update({f"Test_{name}": _suite(name) for name in TASKS})
