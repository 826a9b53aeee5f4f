from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import reject
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.errors import ConfigError
from c2c_search.space import sampling
from c2c_search.space.dimensions import applies
from c2c_search.space.sampling import DoesNotFit
from c2c_search.space.sampling import Fits
from c2c_search.space.sampling import make_pruner
from c2c_search.space.sampling import make_sampler
from c2c_search.space.sampling import suggest
from c2c_search.space.schema import Space
from c2c_search.study.resume import recover


Make = Callable[..., Space]
GATE, NOISE = "fuser.gate.granularity", "fuser.gate.noise"

optuna.logging.set_verbosity(optuna.logging.WARNING)


def _study(space: Space, fits: Fits | None = None) -> optuna.Study:
    return optuna.create_study(
        study_name=space.study,
        sampler=make_sampler(space, fits=fits),
        pruner=make_pruner(space),
        direction="maximize",
    )


def _run(space: Space, study: optuna.Study, trials: int, fits: Fits | None = None) -> None:
    for _ in range(trials):
        trial = study.ask()
        config = suggest(space, trial, fits=fits)
        study.tell(trial, -abs(config.fuser.width - 64) - config.fuser.depth)


_FIELDS: dict[str, list[dict[str, Any]]] = {
    "pair": [{"choices": ["there", "back"]}, {"choices": ["back", "there"]}],
    "fuser.depth": [{"int": [1, 8]}, {"choices": [1, 3]}, {"int": [2, 6], "step": 2}],
    "fuser.width": [{"int": [8, 512], "log": True}],
    "fuser.dropout": [{"float": [0.0, 0.5]}, {"choices": [0.0, 0.1]}],
    "fuser.dynamic_weight": [{"choices": [True, False]}],
    GATE: [{"choices": ["none", "layer", "token"]}, {"choices": ["head", "value"]}],
    NOISE: [{"choices": ["none", "gumbel"]}, {"choices": ["gumbel", "logistic"]}],
    "fuser.gate.rule": [{"choices": ["hard", "soft"]}],
    "training.learning_rate": [{"float": [1e-5, 1e-2], "log": True}],
    "training.batch_size": [{"choices": [4, 8]}],
}


@st.composite
def _spaces(draw: st.DrawFn) -> Space:
    """Spaces over some of the fields, with conditions between them, in any order."""
    names = draw(st.sets(st.sampled_from(sorted(_FIELDS)), max_size=6))
    dimensions: dict[str, dict[str, Any]] = {}
    for name in draw(st.permutations(sorted(names | {"pair"}))):
        dimension = dict(draw(st.sampled_from(_FIELDS[name])))
        parents = [other for other, each in dimensions.items() if "choices" in each]
        if parents and draw(st.booleans()):
            parent = GATE if name == NOISE and GATE in parents else draw(st.sampled_from(parents))
            values = st.sampled_from(dimensions[parent]["choices"])
            dimension["when"] = {parent: draw(st.lists(values, min_size=1, unique=True))}
        dimensions[name] = dimension
    dimensions["pair"].pop("when", None)
    try:
        return Space.model_validate(
            {
                "study": "test",
                "pipeline": Pipeline(name="test"),
                "pairs": {
                    "there": {"receiver": "path:a", "sharer": "path:b"},
                    "back": {"receiver": "path:b", "sharer": "path:a"},
                },
                "search": {"trials": 8, "pruner": "none", "sampler": "random"},
                "dimensions": dict(draw(st.permutations(sorted(dimensions.items())))),
            }
        )
    except ConfigError:
        reject()


@settings(max_examples=25, deadline=None)
@given(_spaces())
def test_every_accepted_space_samples_valid_trials_only(space: Space) -> None:
    study = _study(space)
    for number in range(4):
        trial = study.ask()
        config = suggest(space, trial)
        study.tell(trial, float(number))
        assert TrialConfig.model_validate_json(config.model_dump_json()) == config
        for name, dimension in space.dimensions.items():
            assert (name in trial.params) == applies(dimension, trial.params)
            assert name not in trial.params or dimension.contains(trial.params[name])


def test_names_in_optuna_are_dotted(make_space: Make) -> None:
    space = make_space()
    study = _study(space)
    _run(space, study, 12)
    for trial in study.trials:
        assert {"pair", "fuser.depth", GATE} <= set(trial.params) <= set(space.dimensions)
        assert (NOISE in trial.params) == (trial.params[GATE] != "none")


def test_suggestions_repeat_after_an_interruption(make_space: Make) -> None:
    space = make_space()
    whole, first = _study(space), _study(space)
    _run(space, whole, 16)
    _run(space, first, 9)
    # The same storage, opened by another process: a new sampler.
    again = optuna.load_study(
        study_name=first.study_name, storage=first._storage, sampler=make_sampler(space)
    )
    _run(space, again, 7)
    assert [trial.params for trial in again.trials] == [trial.params for trial in whole.trials]


def test_seeds_differ(make_space: Make) -> None:
    params = []
    for seed in (0, 1):
        space = make_space(search={"trials": 20, "seed": seed})
        study = _study(space)
        _run(space, study, 3)
        params += [trial.params["training.learning_rate"] for trial in study.trials]
    assert len(set(params)) == 6


@pytest.mark.parametrize("sampler", ["auto", "tpe", "random"])
def test_what_does_not_fit_is_never_suggested(make_space: Make, sampler: str) -> None:
    def fits(config: TrialConfig) -> bool:
        return config.fuser.width * config.fuser.depth <= 128

    space = make_space(search={"trials": 12, "sampler": sampler})
    study = _study(space, fits)
    _run(space, study, 12, fits)
    # No number is spent on a candidate that does not fit, so none is failed or pruned either.
    assert [trial.number for trial in study.trials] == list(range(12))
    assert all(trial.state.name == "COMPLETE" for trial in study.trials)
    assert all(
        trial.params["fuser.width"] * trial.params["fuser.depth"] <= 128 for trial in study.trials
    )


def test_a_space_in_which_nothing_fits(make_space: Make) -> None:
    space = make_space()
    study = _study(space, lambda _: False)
    with pytest.raises(DoesNotFit, match="No candidate within `limits`"):
        suggest(space, study.ask(), fits=lambda _: False)


SMALL = {"pair": {"choices": ["there", "back"]}, "fuser.depth": {"choices": [1, 2, 3]}}


def test_nothing_is_tried_twice_before_everything_was_tried(make_space: Make) -> None:
    space = make_space(dimensions=SMALL)
    study = _study(space)
    _run(space, study, 7)
    tried = [tuple(sorted(trial.params.items())) for trial in study.trials]
    assert len(set(tried[:6])) == 6
    assert tried[6] in tried[:6]


def test_what_differs_beyond_four_digits_alone_is_not_tried_twice(make_space: Make) -> None:
    rate = {"float": [1.0e-3, 1.0001e-3]}
    space = make_space(dimensions=SMALL | {"training.learning_rate": rate})
    study = _study(space)
    _run(space, study, 6)
    others = [(trial.params["pair"], trial.params["fuser.depth"]) for trial in study.trials]
    assert len(set(others)) == 6


@pytest.mark.parametrize("sampler", ["auto", "random"])
def test_a_trial_that_goes_on_takes_no_suggestion_of_another(
    make_space: Make, sampler: str
) -> None:
    space = make_space(search={"trials": 20, "sampler": sampler})
    whole, broken = _study(space), _study(space)
    _run(space, whole, 12)
    _run(space, broken, 4)
    trial = broken.ask()
    suggest(space, trial)
    for _ in range(2):  # interrupted twice, and tried again as another trial
        recover(broken)
        trial = broken.ask()
        config = suggest(space, trial)
    broken.tell(trial, -abs(config.fuser.width - 64) - config.fuser.depth)
    _run(space, broken, 7)
    completed = [trial.params for trial in broken.trials if trial.value is not None]
    assert completed == [trial.params for trial in whole.trials]


def test_enqueued_settings_come_first_and_are_completed(make_space: Make) -> None:
    space = make_space(
        enqueue=[{"fuser.depth": 3, GATE: "layer", NOISE: "gumbel"}, {GATE: "none"}]
    )
    study = _study(space)
    for params in space.enqueue:
        study.enqueue_trial(params)
    _run(space, study, 3)
    first, second, _ = (trial.params for trial in study.trials)
    assert (first["fuser.depth"], first[GATE], first[NOISE]) == (3, "layer", "gumbel")
    assert set(first) == set(space.dimensions)
    assert second[GATE] == "none"
    assert NOISE not in second


def test_an_enqueued_setting_may_be_tried_again(make_space: Make) -> None:
    space = make_space(dimensions=SMALL)
    study = _study(space)
    for _ in range(2):
        study.enqueue_trial({"pair": "there", "fuser.depth": 2})
    _run(space, study, 2)
    assert study.trials[0].params == study.trials[1].params


def test_what_an_enqueued_setting_leaves_out_is_chosen_to_fit(make_space: Make) -> None:
    def fits(config: TrialConfig) -> bool:
        return config.fuser.width <= 20

    space = make_space()
    study = _study(space, fits)
    study.enqueue_trial({"fuser.depth": 4})
    config = suggest(space, study.ask(), fits=fits)
    assert config.fuser.depth == 4
    assert config.fuser.width <= 20


def test_an_enqueued_setting_that_does_not_fit_says_so(make_space: Make) -> None:
    space = make_space(dimensions=SMALL)
    study = _study(space, lambda _: False)
    study.enqueue_trial({"pair": "there", "fuser.depth": 2})
    with pytest.raises(DoesNotFit, match="Drop it from `enqueue`"):
        suggest(space, study.ask(), fits=lambda _: False)


@pytest.mark.parametrize("pruner", ["hyperband", "halving", "median", "none"])
def test_pruners_judge_at_the_rungs(make_space: Make, pruner: str) -> None:
    space = make_space(search={"trials": 20, "pruner": pruner})
    study = _study(space)
    rungs = space.pipeline.training.rung_steps
    for number in range(12):
        trial = study.ask()
        for step in rungs[:-1]:
            # Every trial is worse than all before it.
            trial.report(-number, step)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            trial.report(-number, rungs[-1])
            study.tell(trial, -number)
    pruned = sum(trial.state.name == "PRUNED" for trial in study.trials)
    assert (pruned > 0) == (pruner != "none")
    assert study.trials[0].state.name == "COMPLETE"


def test_the_quickstart_samples() -> None:
    space = Space.load(Path(__file__).parents[2] / "spaces/names.yaml")
    study = _study(space)
    for params in space.enqueue:
        study.enqueue_trial(params)
    _run(space, study, space.search.trials)
    assert {trial.params["pair"] for trial in study.trials} == set(space.pairs)


def test_one_rung_and_no_pruner(make_space: Make) -> None:
    pipeline = Pipeline(name="test", training=TrainingConfig(steps=5))
    space = make_space(pipeline=pipeline, search={"trials": 1, "pruner": "none"})
    assert isinstance(make_pruner(space), optuna.pruners.NopPruner)


def test_looking_for_a_candidate_within_the_limits_ends_soon(
    make_space: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "_SECONDS", -1.0)
    space = make_space()
    study = optuna.create_study(sampler=make_sampler(space, fits=lambda trial: False))
    with pytest.raises(DoesNotFit, match="No candidate within `limits` in 1 draws and 0 s"):
        suggest(space, study.ask(), fits=lambda trial: False)
