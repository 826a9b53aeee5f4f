from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from c2c_search.report.forecast_table import span_text
from c2c_search.report.planned import render
from c2c_search.space.forecast import CacheList
from c2c_search.space.forecast import CachePlan
from c2c_search.space.forecast import Forecast
from c2c_search.space.forecast import Phase
from c2c_search.space.forecast import Span
from c2c_search.space.fuser_sizes import FuserSizes
from c2c_search.space.fuser_sizes import SizeBin
from c2c_search.space.plan import DimensionPlan
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


def shown(plan: Plan, **more: Any) -> str:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(render("tiny", plan, **more))
    return console.export_text()


def test_stages_are_shown_where_there_are_any() -> None:
    assert "stages" not in shown(PLAN)
    text = shown(replace(PLAN, stages="reconstruction 100 -> task 100"))
    assert "reconstruction 100 -> task 100" in text


def test_a_plan_without_models_says_how_to_get_sizes() -> None:
    text = shown(PLAN)
    for part in ("fuser.depth", "always [x]", "endless", "about 3", "about 1,229", "--fetch"):
        assert part in text


def test_a_plan_tells_tokens_operations_and_the_budget_that_ends_it() -> None:
    assert "FLOP" not in shown(PLAN)
    text = shown(replace(PLAN, tokens=1_234_567, flops=3.21e15, ended_by="tokens"))
    assert "about 12, by which search.tokens are spent" in text
    assert "about 1.235 million" in text
    assert "about 3.2e+15 FLOP" in text


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


def test_a_plan_with_a_histogram_and_what_limits_refuse() -> None:
    sizes = FuserSizes(
        smallest=100,
        median=400,
        largest=1600,
        fitting=0.75,
        histogram=(SizeBin(100, 400, 0.75), SizeBin(400, 1600, 0.25)),
        refused={"max_parameters": 0.25},
    )
    lines = [line.rstrip() for line in shown(replace(PLAN, sizes=sizes)).splitlines()]
    assert any("beyond limits.max_parameters" in line and "25%" in line for line in lines)
    bars = {line.strip().split("  ")[0]: line.count("█") for line in lines if "█" in line}
    assert bars == {"100 to 400": 24, "400 to 1.6 k": 8}


def test_a_plan_with_caches() -> None:
    one = CacheList("path:a", "train", 1000, 2000, 3_000_000, 1_000_000, 1500)
    assert "3.0 MB of 1,000 prompts, 1.0 MB of it there already" in shown(
        PLAN, caches=CachePlan((one,), budget=10**9)
    )
    text = " ".join(shown(PLAN, caches=CachePlan((one,), budget=1_500_000)).split())
    assert "1.5 MB fit the budget, and the rest is computed whenever it is read" in text


def test_a_plan_with_time() -> None:
    phases = (
        Phase("prompt caches", "10 tokens", Span(40, 50, 60)),
        Phase("trials", "3 trials", Span(600, 3600, 7200)),
    )
    forecast = Forecast(phases, 2, 30.0, ("Measured here.",), others=0.5)
    text = " ".join(shown(PLAN, forecast=forecast).split())
    for part in ("time in 2 workers", "40 s", "50 s", "10 min", "1 h", "2 h"):
        assert part in text
    assert "Measured here. Other programs took 50% of the processors" in text
    assert "Other programs" not in shown(PLAN, forecast=replace(forecast, others=0.05))


def test_times_in_words() -> None:
    assert span_text(Span(60, 3000, 7200)) == "about 50 min (1 min to 2 h)"
