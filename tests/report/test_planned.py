from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from c2c_search.report.planned import render
from c2c_search.space.plan import DimensionPlan
from c2c_search.space.plan import FuserSizes
from c2c_search.space.plan import MemoryPlan
from c2c_search.space.plan import Plan
from c2c_search.space.plan import RungPlan


PLAN = Plan(
    dimensions=(DimensionPlan("fuser.depth", "1 to 4", "always [x]"),),
    configurations=None,
    trials=12,
    rungs=(RungPlan(50, 12.0), RungPlan(200, 3.4)),
    expected_steps=1229,
    most_steps=2400,
    twin_steps=600,
    reference_steps=100,
    sizes=None,
)


def shown(plan: Plan) -> str:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(render("tiny", plan))
    return console.export_text()


def test_stages_are_shown_where_there_are_any() -> None:
    assert "stages" not in shown(PLAN)
    text = shown(replace(PLAN, stages="reconstruction 100 -> task 100"))
    assert "reconstruction 100 -> task 100" in text


def test_a_plan_without_models_says_how_to_get_sizes() -> None:
    text = shown(PLAN)
    for part in ("fuser.depth", "always [x]", "endless", "about 3", "about 1,229", "--fetch"):
        assert part in text


def test_a_plan_says_what_each_trained_control_takes() -> None:
    text = shown(replace(PLAN, control_steps={"Self-sharer": 600}))
    assert "steps of Self-sharer" in text
    assert "about 2,529" in text  # 1,229 + 600 of twins + 600 + 100 of references


def test_a_plan_with_sizes_and_limits() -> None:
    sizes = FuserSizes(smallest=100_000, median=2_000_000, largest=9_000_000, fitting=0.5)
    text = shown(replace(PLAN, sizes=sizes, configurations=1234))
    for part in ("0.1 M to 9.0 M, median 2.0 M", "50% of the candidates", "1,234"):
        assert part in text


def test_a_plan_with_memory() -> None:
    parts = {"models": 1_600_000_000, "caches": 20_000_000, "activations": 300_000_000}
    memory = MemoryPlan(least=1_750_000_000, most=parts, limit=None)
    text = " ".join(shown(replace(PLAN, memory=memory)).split())
    for part in ("1.75 to 1.92 GB", "models 1.60, caches 0.02, activations 0.30"):
        assert part in text
    assert "none is tried" not in text
    limited = shown(replace(PLAN, memory=replace(memory, limit=1.8)))
    assert "beyond 1.8 GB none is tried" in " ".join(limited.split())
