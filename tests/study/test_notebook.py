"""The notebook that reads a finished study runs on one, from its first cell to its last."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib


NOTEBOOK = Path(__file__).parents[2] / "docs" / "finished_study.ipynb"


def read_by_notebook(root: Path, until: str = "") -> dict[str, Any]:
    """What its cells have found of the study `tiny`, by name; ``until`` so much is known."""
    matplotlib.use("agg")
    seen: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            continue
        assert not cell["outputs"]  # those of a study that the reader does not have
        if "parameters" in cell["metadata"].get("tags", []):
            source = f"root, study = {str(root)!r}, 'tiny'"
        exec(source, seen)
        if until in seen:
            break
    return seen


def test_it_reads_a_finished_study(run: Callable[..., Any], root: Path) -> None:
    outcome = run()
    seen = read_by_notebook(root)
    trials, curves, verdict = seen["trials"], seen["curves"], seen["verdict"]
    assert len(trials) == 5
    assert set(curves.metric) == {"A_M", "A_D"}
    assert set(curves.step) == {2, 4}
    best = trials.set_index("number").loc[int(outcome.champion.name.removeprefix("trial-"))]
    assert best.value == max(trials.value)
    assert best.accuracy - best.deranged == best.P
    assert verdict["champion"] == outcome.champion.name, verdict
