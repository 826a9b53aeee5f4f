"""A plan that is put together from what each part tells."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from c2c_search.space.forecast import CachePlan
from c2c_search.space.schema import Space
from c2c_search.study import planning
from c2c_search.training.divergence import DivergedError
from c2c_search.training.memory.trial_memory import TrialMemory


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads models and data tells nothing."""
    memory = TrialMemory(models=1, caches=1, fuser=1, activations=1)
    prompts = SimpleNamespace(
        plan=lambda: CachePlan((), 0), rows={"validation": []}, private=False, sizes={}, lengths={}
    )
    monkeypatch.setattr(planning, "lengths_of_pairs", lambda _: ["told"])
    monkeypatch.setattr(planning, "memory_of_trials", lambda _: lambda _: memory)
    monkeypatch.setattr(planning, "PromptLists", lambda _: prompts)
    monkeypatch.setattr(planning, "counted_work", lambda *_: None)


def test_a_study_whose_own_work_fails_is_planned_without_time(
    planned_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise DivergedError("the loss is nan at step 2")

    monkeypatch.setattr(planning, "measure_pace", fails)
    planned = planning.plan_at_hand(planned_space)
    assert planned.forecast is None
    assert planned.plan.sizes is not None
    first, second = planned.notices
    assert (first, "the loss is nan at step 2" in second) == ("told", True)


def test_a_quick_plan_measures_nothing(
    planned_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "measure_pace", None)
    assert planning.plan_at_hand(planned_space, quick=True).notices == ("told",)
