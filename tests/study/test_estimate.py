"""The seconds of a study, from work that is counted and a pace that is given."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.models.pair import PairSpec
from c2c_search.space.candidates import random_trials
from c2c_search.space.forecast import CacheList
from c2c_search.space.forecast import CachePlan
from c2c_search.space.forecast import Forecast
from c2c_search.space.plan import plan
from c2c_search.space.schema import Space
from c2c_search.study.estimate import Reading
from c2c_search.study.estimate import estimate
from c2c_search.study.pace import TrainingCost
from tests.space.conftest import DIMENSIONS
from tests.space.conftest import PAIRS


ROWS = {"train": 100, "validation": 10, "test": 20}


class Clock:
    """A machine whose every kind of work takes a round number of seconds."""

    start = 7.0
    spread = (1.0, 1.0)
    measured_seconds = 30.0
    others = 0.25
    basis = ("As the test says.",)

    def prefill(self, model: str) -> float:
        return 0.001

    def training(self, trial: TrialConfig, control: str | None = None) -> TrainingCost:
        return TrainingCost(start=1.0, step=0.1 if control else 0.2, judged=0.01)

    def answer(self, system: str, pair: PairSpec) -> float:
        return 0.5 if system == "text_relay" else 0.1


def caches(missing: int = 1000, budget: int = 10**9) -> CachePlan:
    one = CacheList("path:a", "train", 10, 2000, 2_000_000, (2000 - missing) * 1000, missing)
    return CachePlan((one,), budget)


def told(space: Space, reading: CachePlan | None = None, **options: Any) -> Forecast:
    known = Reading(ROWS, reading or caches(), private=False)
    return estimate(space, plan(space), known, Clock(), **options)


def seconds(forecast: Forecast) -> dict[str, tuple[float, float, float]]:
    return {
        phase.name: (phase.seconds.low, phase.seconds.expected, phase.seconds.high)
        for phase in forecast.phases
    }


def with_controls(space: Space, *controls: str, finalists: int = 2) -> Space:
    champion = space.pipeline.champion.model_copy(
        update={"controls": controls, "finalists": finalists}
    )
    return space.model_copy(
        update={"pipeline": space.pipeline.model_copy(update={"champion": champion})}
    )


@pytest.fixture
def space() -> Space:
    """Two pairs of the same two models; rungs at the steps 10, 30 and 90."""
    training = TrainingConfig(steps=90, rungs=(1 / 9, 1 / 3, 1.0))
    made = Space(
        study="test",
        pipeline=Pipeline(name="test", training=training),
        pairs=PAIRS,
        search={"trials": 20, "pruner": "halving"},
        dimensions=DIMENSIONS,
    )
    return with_controls(made, "text_relay")


def test_every_phase_is_its_work_times_its_pace(space: Space) -> None:
    found = seconds(told(space))
    assert found["start"] == (7, 7, 7)
    assert found["prompt caches"] == pytest.approx((1, 1, 1))
    # Two models answer ten questions each.
    assert found["models alone, validation"] == pytest.approx((2, 2, 2))
    # Each pair's twin: a start, ten steps and one validation.
    assert found["references without sharer"] == pytest.approx([2 * (1 + 1 + 0.1)] * 3)
    # Two finalists' twins: 90 steps, three validations.
    assert found["control: No-sharer fuser"] == pytest.approx([2 * (1 + 9 + 0.3)] * 3)
    # Models alone; fuser, twin, relay, three derangements of two finalists; one of them shut.
    test = 20 * (2 * 0.1 + 2 * (0.1 + 0.1 + 0.5 + 3 * 0.1) + 0.1)
    assert found["test"] == pytest.approx([test] * 3)
    assert found["package"] == (14, 14, 14)


def test_finalists_are_trained_again_with_further_seeds(space: Space) -> None:
    search = space.search.model_copy(update={"confirm_seeds": 3})
    found = seconds(told(space.model_copy(update={"search": search})))
    assert found["further seeds"] == pytest.approx([2 * 3 * (1 + 90 * 0.2 + 0.3)] * 3)
    assert "further seeds" not in seconds(told(space))


def test_any_trial_may_become_a_finalist_and_what_it_takes_is_told(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def training(self: Clock, trial: TrialConfig, control: str | None = None) -> TrainingCost:
        slow = trial.fuser.depth == 1
        return TrainingCost(start=0.0, step=(1.0 if slow else 0.2), judged=0.0)

    monkeypatch.setattr(Clock, "training", training)
    one = with_controls(space, finalists=1)
    low, expected, high = seconds(told(one))["control: No-sharer fuser"]
    assert low == pytest.approx(90 * 0.2)
    assert expected < high <= 90 * 1.0
    slow = [trial.fuser.depth == 1 for trial in islice(random_trials(one, 50), 50)]
    assert expected == pytest.approx(90 * (0.2 + 0.8 * sum(slow) / len(slow)))
    # Of several the mean is surer.
    of_six = seconds(told(with_controls(space, finalists=6)))["control: No-sharer fuser"]
    least, mean, most = (each / 6 for each in of_six)
    assert mean == pytest.approx(expected)
    assert low <= least < mean < most < high


def test_what_anchors_say_alone_is_asked_of_every_finalist_that_has_any(space: Space) -> None:
    beside = {"fuser.injection": "append", "fuser.anchors": "first"}
    anchored = space.model_copy(update={"fixed": {**space.fixed, **beside}})
    more = seconds(told(anchored))["test"][1] - seconds(told(space))["test"][1]
    assert more == pytest.approx(20 * 2 * 0.1)


def test_costs_that_are_measured_of_trained_fusers_are_told_to_be_left_out(space: Space) -> None:
    search = space.search.model_copy(update={"bounds": {"latency_ms": 40.0}})
    basis = told(space.model_copy(update={"search": search})).basis
    assert basis[1:] == (
        "Asking trained fusers for latency_ms and peak_memory_mb is not counted.",
    )


def test_trials_are_pruned_at_their_first_rung_at_the_least_and_nowhere_at_the_most(
    space: Space,
) -> None:
    low, expected, high = seconds(told(space))["trials"]
    assert low == pytest.approx(20 * (1 + 10 * 0.2 + 0.1) + 2 * (80 * 0.2 + 0.2))
    assert high == pytest.approx(20 * (1 + 90 * 0.2 + 0.3))
    reached = [rung.trials for rung in plan(space).rungs]
    steps = 10 * reached[0] + 20 * reached[1] + 60 * reached[2]
    assert expected == pytest.approx(20 + 0.2 * steps + 0.1 * sum(reached))


def test_a_machine_that_wavers_widens_the_range(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "spread", (0.8, 1.5))
    assert seconds(told(space))["start"] == pytest.approx((5.6, 7, 10.5))


def test_the_total_and_what_it_rests_on(space: Space) -> None:
    forecast = told(space)
    assert forecast.total.expected == pytest.approx(
        sum(phase.seconds.expected for phase in forecast.phases)
    )
    assert forecast.others == 0.25
    assert forecast.calibration_seconds == 30
    assert forecast.basis == ("As the test says.",)


def test_workers_share_what_can_be_shared(space: Space) -> None:
    alone, four = seconds(told(space)), seconds(told(space, workers=4))
    assert four["trials"][1] == pytest.approx(alone["trials"][1] / 4)
    assert four["control: No-sharer fuser"][1] == pytest.approx(
        alone["control: No-sharer fuser"][1] / 2  # of two finalists
    )
    assert four["prompt caches"] == alone["prompt caches"]


def test_caches_that_are_there_cost_nothing(space: Space) -> None:
    assert "prompt caches" not in seconds(told(space, caches(missing=0)))


def test_caches_beyond_the_budget_are_computed_again_in_every_step(space: Space) -> None:
    alone = seconds(told(space, caches(missing=0)))
    again = seconds(told(space, caches(missing=0, budget=1_000_000)))
    # A quarter of the budget is left to others. Of eight examples, each has 200 tokens for the
    # one model that reads any, and begins a pass.
    more = (1 - 0.375) * 8 * (200 + 48) * 0.001
    assert again["trials"][2] - alone["trials"][2] == pytest.approx(20 * 90 * more)


def test_what_is_judged_by_is_kept_before_what_is_learned_from() -> None:
    learned = CacheList("path:a", "train", 10, 2000, 2_000_000, 0, 2000)
    judged = CacheList("path:a", "validation", 10, 300, 300_000, 0, 300)
    found = CachePlan((learned, judged), 1_000_000)
    assert found.judged_beyond == 0
    assert found.learned_beyond == pytest.approx(1 - 450_000 / 2_000_000)
    assert found.beyond == pytest.approx(1_550_000 / 2_300_000)
    assert CachePlan((learned, judged), 2_300_000).beyond == 0
    assert CachePlan((learned, judged), 100_000).judged_beyond == pytest.approx(2 / 3)


def test_what_is_not_counted_is_told(space: Space) -> None:
    search = space.search.model_copy(update={"trials_per_device": 2, "hours": 5.0})
    champion = space.pipeline.champion.model_copy(update={"harmless_on": ("arc_easy",)})
    pipeline = space.pipeline.model_copy(update={"champion": champion})
    told_all = " ".join(
        told(space.model_copy(update={"search": search, "pipeline": pipeline})).basis
    )
    for part in ("side by side", "after 5 hours", "harmless_on"):
        assert part in told_all


def test_candidates_beyond_the_limits_do_not_count(space: Space) -> None:
    def none(trial: TrialConfig) -> bool:
        return trial.fuser.depth == 1

    assert seconds(told(space, fits=none))["trials"] == seconds(told(space))["trials"]
