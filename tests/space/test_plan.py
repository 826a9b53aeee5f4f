from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.fuser.config import FuserConfig
from c2c_search.space.candidates import random_trials
from c2c_search.space.expected_work import TrialWork
from c2c_search.space.plan import expected_trials
from c2c_search.space.plan import plan
from c2c_search.space.schema import Space


Make = Callable[..., Space]
DEPTH = {"pair": {"choices": ["there", "back"]}, "fuser.depth": {"choices": [1, 2, 3]}}


def test_what_is_searched(make_space: Make) -> None:
    planned = plan(make_space())
    assert [each.name for each in planned.dimensions] == [
        "pair",
        "fuser.depth",
        "fuser.width",
        "fuser.gate.granularity",
        "training.learning_rate",
        "fuser.gate.noise",
        "fuser.gate.temperature_end",
    ]
    assert planned.dimensions[5].when == "fuser.gate.granularity is layer or head"
    assert planned.dimensions[2].values == "16 to 256, log"
    assert planned.configurations is None
    assert plan(make_space(dimensions=DEPTH)).configurations == 6


def test_steps_without_a_pruner(make_space: Make) -> None:
    planned = plan(make_space(search={"trials": 20, "pruner": "none"}))
    assert [(rung.step, rung.trials) for rung in planned.rungs] == [(10, 20), (30, 20), (90, 20)]
    assert planned.expected_steps == planned.most_steps == 20 * 90
    assert planned.twin_steps == 3 * 90
    assert planned.reference_steps == 2 * 10
    assert planned.total_steps == 23 * 90 + 2 * 10


def test_a_very_long_study_is_planned_from_a_shorter_one(make_space: Make) -> None:
    planned = plan(make_space(search={"trials": 1_000_000, "pruner": "halving"}))
    assert planned.rungs[0].trials == 1_000_000
    assert 300_000 < planned.rungs[1].trials < 400_000


def test_a_long_range_is_counted_not_listed(make_space: Make) -> None:
    ranges = {
        "fuser.intermediate": {"int": [1, 2**18]},
        "fuser.rank": {"int": [1, 2**16]},
        "fuser.width": {"int": [1, 2**16]},
        "fuser.depth": {"choices": [1, 2], "when": {"fuser.width": [3, 4]}},
        "fuser.projector": {"choices": ["joint"]},
    }
    dimensions = {**ranges, "pair": {"choices": ["there", "back"]}}
    wide = plan(make_space(dimensions=dimensions, search={"trials": 3}))
    assert wide.configurations == 2 * 2**18 * 2**16 * (2**16 - 2 + 2 * 2)


def test_controls_that_are_trained_are_counted_and_fits_are_not(make_space: Make) -> None:
    space = make_space(search={"trials": 20, "pruner": "none"})
    controls = ("routing", "noise", "ridge", "no_sharer", "self", "lora", "cartridge")
    champion = space.pipeline.champion.model_copy(update={"controls": controls})
    pipeline = space.pipeline.model_copy(update={"champion": champion})
    planned = plan(space.model_copy(update={"pipeline": pipeline}))
    assert planned.control_steps == {
        "Self-sharer": 3 * 90,
        "LoRA on the receiver": 3 * 90,
        "Cartridge on the receiver": 3 * 90,
    }
    assert planned.total_steps == plan(space).total_steps + 3 * 3 * 90


def test_what_fusers_with_anchors_must_beat_is_told(make_space: Make) -> None:
    beside = {"fuser.injection": "append"}
    anchored = plan(make_space(fixed={**beside, "fuser.anchors": "last"}))
    assert anchored.controls[-1] == "Anchors alone"
    pair = {"pair": {"choices": ["there", "back"]}}
    searched = {**pair, "fuser.anchors": {"choices": ["none", "first"]}}
    some = plan(make_space(fixed=beside, dimensions=searched))
    assert some.controls[-1] == "Anchors alone, of those with anchors"
    assert len(plan(make_space()).controls) == len(some.controls) - 1


def test_no_more_twins_than_trials(make_space: Make) -> None:
    assert plan(make_space(search={"trials": 2})).twin_steps == 2 * 90


def test_pruners_save_steps(make_space: Make) -> None:
    for pruner in ("halving", "hyperband", "median"):
        planned = plan(make_space(search={"trials": 20, "pruner": pruner}))
        assert planned.expected_steps < planned.most_steps
        reached = [rung.trials for rung in planned.rungs]
        assert reached == sorted(reached, reverse=True)


@pytest.mark.parametrize(("factor", "expected"), [(2, 12), (3, 8)])
def test_halving_lets_one_in_factor_go_on(make_space: Make, factor: int, expected: int) -> None:
    space = make_space(search={"trials": 24, "reduction_factor": factor})
    first, second, _ = expected_trials(space)
    assert first == 24
    assert second == pytest.approx(expected, rel=0.2)


def test_the_expectation_repeats_and_leaves_optunas_log_alone(make_space: Make) -> None:
    space, verbosity = make_space(), optuna.logging.get_verbosity()
    assert expected_trials(space) == expected_trials(space)
    assert optuna.logging.get_verbosity() == verbosity


def _parameters(config: FuserConfig, receiver: int, sharer: int) -> int:
    return config.depth * 100 + receiver * 10 + sharer


def test_what_trials_take_and_which_budget_ends_them(make_space: Make) -> None:
    search = {"trials": 20, "pruner": "none"}

    def work(trial: TrialConfig) -> TrialWork:
        return TrialWork(tokens=10.0, flops=100.0, judged=7.0)

    whole = plan(make_space(search=search), work=work)
    steps, rungs = 20 * 90, 20 * len(whole.rungs)
    assert (whole.tokens, whole.flops) == (10 * steps, pytest.approx(100 * steps + 7 * rungs))
    assert (whole.trials, whole.ended_by) == (20, "")
    limited = make_space(search={**search, "tokens": 2800, "steps": 1500})
    found = plan(limited, work=work)
    assert (found.ended_by, found.trials, found.tokens) == ("tokens", 4, 4 * 900)
    # Tokens are not known without the models; steps are.
    unknown = plan(limited)
    assert (unknown.ended_by, unknown.trials, unknown.tokens) == ("steps", 17, None)


def test_sizes_of_the_fusers(make_space: Make) -> None:
    space = make_space(dimensions=DEPTH, limits={"max_parameters": 212})
    geometries = {"path:a": 1, "path:b": 2}
    sizes = plan(space, geometries=geometries, parameters=_parameters).sizes
    assert sizes is not None
    assert (sizes.smallest, sizes.largest) == (112, 321)
    assert 112 < sizes.median < 321
    # Depth 1 both ways, and depth 2 where the smaller model listens.
    assert sizes.fitting == pytest.approx(0.5, abs=0.1)
    assert plan(space).sizes is None


def test_memory_of_the_smallest_and_the_largest_fuser(make_space: Make) -> None:
    space = make_space(dimensions=DEPTH, limits={"max_memory_gb": 5})
    geometries = {"path:a": 1, "path:b": 2}
    asked = []

    def memory(trial: TrialConfig) -> dict[str, int]:
        asked.append(trial)
        return {"models": 7, "fuser": trial.fuser.depth}

    planned = plan(space, geometries=geometries, parameters=_parameters, memory=memory)
    assert planned.memory is not None
    assert planned.memory.least == 7 + 1
    assert planned.memory.most == {"models": 7, "fuser": 3}
    assert planned.memory.limit == 5
    assert [trial.fuser.depth for trial in asked] == [1, 3]
    assert plan(space, geometries=geometries, parameters=_parameters).memory is None


def test_random_trials_repeat(make_space: Make) -> None:
    space = make_space()
    assert list(random_trials(space, 5)) == list(random_trials(space, 5))
    assert len({trial.hash() for trial in random_trials(space, 20)}) == 20
