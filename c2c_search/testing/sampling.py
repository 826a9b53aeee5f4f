"""What every sampler and pruner must do, as tests to inherit.

from c2c_search.testing import SamplerConformance

class TestMine(SamplerConformance):
    plugin = "my_package.my_module.my_sampler"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.space.dimensions import applies
from c2c_search.space.plan import expected_trials
from c2c_search.space.pruners import PRUNERS
from c2c_search.space.pruners import rung_blocks
from c2c_search.space.samplers import SAMPLERS
from c2c_search.space.sampling import Fits
from c2c_search.space.sampling import make_pruner
from c2c_search.space.sampling import make_sampler
from c2c_search.space.sampling import suggest
from c2c_search.space.schema import Space
from c2c_search.study.resume import recover


_TRIALS = 16
_WORKERS = 3
_BLOCKS = 10
_ENQUEUED = {"fuser.depth": 2, "fuser.gate.granularity": "none"}


def _space(**search: Any) -> Space:
    """Choices, ranges of every kind, and a condition."""
    gated = {"fuser.gate.granularity": "layer"}
    return Space.model_validate(
        {
            "study": "conformance",
            "pipeline": Pipeline(
                name="conformance", training=TrainingConfig(steps=90, rungs=(1 / 9, 1 / 3, 1.0))
            ),
            "pairs": {"pair": {"receiver": "path:a", "sharer": "path:b"}},
            "search": {"trials": _TRIALS, **search},
            "dimensions": {
                "fuser.depth": {"int": [1, 4]},
                "fuser.width": {"int": [16, 256], "log": True},
                "fuser.dropout": {"float": [0.0, 0.5]},
                "fuser.gate.noise": {"choices": ["none", "gumbel"], "when": gated},
                "fuser.gate.granularity": {"choices": ["none", "layer"]},
                "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
            },
            "enqueue": [_ENQUEUED],
        }
    )


class SamplerConformance:
    """What a study asks of a sampler; inherit from it and name yours."""

    plugin: str
    """Name or dotted path, as in YAML."""

    options: Mapping[str, Any] = {}
    """Further fields of ``search`` that it needs."""

    def _space(self, **search: Any) -> Space:
        return _space(sampler=self.plugin, **self.options, **search)

    def _study(self, space: Space, fits: Fits | None = None) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = make_sampler(space, fits=fits)
        study = optuna.create_study(sampler=sampler, direction="maximize")
        for params in space.enqueue:
            study.enqueue_trial(params)
        return study

    def _run(
        self, space: Space, study: optuna.Study, trials: int, fits: Fits | None = None
    ) -> list[TrialConfig]:
        configurations = []
        for _ in range(trials):
            trial = study.ask()
            config = suggest(space, trial, fits=fits)
            study.tell(trial, -abs(config.fuser.width - 64) - config.fuser.depth)
            configurations.append(config)
        return configurations

    def test_it_has_a_name_and_a_reference(self) -> None:
        entry = SAMPLERS[self.plugin]
        assert SAMPLERS[entry.name] is entry
        assert entry.reference.strip()

    def test_it_makes_a_sampler_of_optuna(self) -> None:
        assert isinstance(SAMPLERS[self.plugin].make(self._space(), 0), BaseSampler)

    def test_every_trial_is_a_point_of_the_space(self) -> None:
        space = self._space()
        study = self._study(space)
        self._run(space, study, _TRIALS)
        for trial in study.trials:
            for name, dimension in space.dimensions.items():
                assert (name in trial.params) == applies(dimension, trial.params)
                assert name not in trial.params or dimension.contains(trial.params[name])

    def test_enqueued_settings_come_first_and_are_completed(self) -> None:
        space = self._space()
        study = self._study(space)
        self._run(space, study, 1)
        assert study.trials[0].params.items() >= _ENQUEUED.items()
        assert "training.learning_rate" in study.trials[0].params

    def test_what_does_not_fit_costs_no_trial(self) -> None:
        def fits(config: TrialConfig) -> bool:
            return config.fuser.width * config.fuser.depth <= 256

        space = self._space()
        study = self._study(space, fits)
        assert all(map(fits, self._run(space, study, _TRIALS, fits)))
        assert len(study.trials) == _TRIALS

    def test_an_interrupted_study_goes_on_as_it_would_have(self) -> None:
        space = self._space()
        whole = self._run(space, self._study(space), _TRIALS)
        first = self._study(space)
        before = self._run(space, first, _TRIALS // 2)
        # The same storage, opened by another process: a new sampler.
        again = optuna.load_study(
            study_name=first.study_name, storage=first._storage, sampler=make_sampler(space)
        )
        assert before + self._run(space, again, _TRIALS - len(before)) == whole

    def test_a_killed_trial_takes_no_suggestion_of_another(self) -> None:
        space = self._space()
        whole = self._run(space, self._study(space), _TRIALS)
        broken = self._study(space)
        before = self._run(space, broken, _TRIALS // 2)
        suggest(space, broken.ask())
        recover(broken)  # by the start that follows a kill
        again = optuna.load_study(
            study_name=broken.study_name, storage=broken._storage, sampler=make_sampler(space)
        )
        assert before + self._run(space, again, _TRIALS - len(before)) == whole

    def test_killed_workers_go_on_as_they_would_have(self) -> None:
        space = self._space()
        whole = self._beside(space, self._study(space), _TRIALS)
        broken = self._study(space)
        before = self._beside(space, broken, _TRIALS // 2)
        recover(broken)  # three trials ran when they were killed
        again = optuna.load_study(
            study_name=broken.study_name, storage=broken._storage, sampler=make_sampler(space)
        )
        after = self._beside(space, again, _TRIALS - len(before) + _WORKERS)
        assert after[:_WORKERS] == before[-_WORKERS:]
        assert before + after[_WORKERS:] == whole

    def _beside(self, space: Space, study: optuna.Study, trials: int) -> list[TrialConfig]:
        """So many trials, some of them at once: the first that began ends first."""
        running: list[tuple[optuna.Trial, TrialConfig]] = []
        configurations: list[TrialConfig] = []
        while len(configurations) < trials:
            if len(running) == _WORKERS:
                ended, config = running.pop(0)
                study.tell(ended, -abs(config.fuser.width - 64) - config.fuser.depth)
            trial = study.ask()
            running.append((trial, suggest(space, trial)))
            configurations.append(running[-1][1])
        return configurations

    def test_trials_at_once_differ(self) -> None:
        space = self._space()
        study = self._study(space)
        self._run(space, study, _TRIALS - 4)
        together = [suggest(space, study.ask()) for _ in range(4)]
        assert len({each.hash() for each in together}) == len(together)

    def test_hyperband_hides_no_trial_from_it(self) -> None:
        space = self._space(pruner="hyperband")
        study = self._study(space)
        study.pruner = make_pruner(space)
        for number in range(_TRIALS):
            trial = study.ask()
            suggest(space, trial)
            trial.report(float(number % 5), space.pipeline.training.rung_steps[0])
            pruned = trial.should_prune()
            study.tell(trial, None if pruned else 0.0, TrialState.PRUNED if pruned else None)
        assert len({str(sorted(trial.params.items())) for trial in study.trials}) == _TRIALS


class PrunerConformance:
    """What a study asks of a pruner; inherit from it and name yours."""

    plugin: str
    """Name or dotted path, as in YAML."""

    options: Mapping[str, Any] = {}
    """Further fields of ``search`` that it needs."""

    def _reached(self, *, killed: bool = False) -> list[int]:
        """Play trials that get better and worse in turn; the last step of each.

        Args:
            killed: Whether those that go on from the first rung are killed there, and go on.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = _space(pruner=self.plugin, **self.options)
        study = optuna.create_study(
            study_name=space.study, pruner=make_pruner(space), direction="maximize"
        )
        *early, last = space.pipeline.training.rung_steps
        reached = []
        for number in range(_TRIALS):
            trial, objective = study.ask(), number * 7 % _TRIALS / _TRIALS
            for step in early:
                if step in study.trials[trial.number].intermediate_values:
                    continue  # before it was killed
                blocks = [objective + block % 3 / 100 for block in range(_BLOCKS)]
                trial.set_user_attr(rung_blocks(step), blocks)
                trial.report(objective, step)
                dies = killed and step == early[0]
                if not trial.should_prune() and dies:
                    recover(study)  # by the start that follows
                    trial = study.ask()
                elif trial.should_prune():
                    study.tell(trial, state=TrialState.PRUNED)
                    reached.append(step)
                    break
            else:
                trial.report(objective, last)
                study.tell(trial, objective)
                reached.append(last)
        return reached

    def test_it_has_a_name_and_a_reference(self) -> None:
        entry = PRUNERS[self.plugin]
        assert PRUNERS[entry.name] is entry
        assert entry.reference.strip()

    def test_it_makes_a_pruner_of_optuna(self) -> None:
        space = _space(pruner=self.plugin, **self.options)
        assert isinstance(PRUNERS[self.plugin].make(space), BasePruner)

    def test_some_trial_reaches_the_last_rung(self) -> None:
        assert max(self._reached()) == _space().pipeline.training.steps

    def test_the_same_trials_are_pruned_again_and_where_they_were_killed(self) -> None:
        assert self._reached(killed=True) == self._reached()

    def test_the_plan_can_tell_what_it_saves(self) -> None:
        reached = expected_trials(_space(pruner=self.plugin, **self.options))
        assert reached[0] == _TRIALS
        assert reached == sorted(reached, reverse=True)
        assert reached[-1] > 0
