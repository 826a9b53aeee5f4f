from __future__ import annotations

from random import Random

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial

from c2c_search.space import importance
from c2c_search.space.importance import fanova
from c2c_search.space.importance import ped_anova


def _trials(number: int) -> list[FrozenTrial]:
    """``width`` decides, ``rate`` hardly does, ``noise`` only applies to half of them."""
    rng = Random(0)
    found = []
    for _ in range(number):
        params = {"width": rng.random(), "rate": rng.random(), "one": 1.0}
        known = {name: FloatDistribution(0.0, 1.0) for name in params}
        if rng.random() < 0.5:
            params["noise"] = rng.choice(["a", "b"])
            known["noise"] = CategoricalDistribution(("a", "b"))
        value = params["width"] + 0.02 * params["rate"]
        found.append(optuna.trial.create_trial(params=params, distributions=known, value=value))
    return found


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "_RESAMPLES", 6)


def test_what_decides_has_the_largest_share() -> None:
    trials = _trials(60)
    for measure in (ped_anova, fanova):
        found = measure(trials)
        assert max(found, key=lambda name: found[name].value) == "width"
        assert found["width"].value > 0.5
        assert sum(each.value for each in found.values()) == pytest.approx(1.0)
        assert all(0 <= each.low <= each.value <= each.high <= 1 for each in found.values())
        assert measure(trials) == found  # the same again


def test_fanova_leaves_out_what_does_not_always_apply_and_both_what_never_varies() -> None:
    trials = _trials(30)
    assert ped_anova(trials).keys() == {"width", "rate", "noise"}
    assert fanova(trials).keys() == {"width", "rate"}


def test_of_one_trial_nothing_is_known() -> None:
    assert ped_anova(_trials(1)) == fanova(_trials(1)) == {}


@pytest.mark.parametrize("better", [0, 1])
def test_where_trials_end_alike_nothing_decides(better: int) -> None:
    trials = _trials(12)
    for number, trial in enumerate(trials):
        trial.values = [0.5 + (number < better)]
    for measure in (ped_anova, fanova):
        found = measure(trials)
        assert {"width", "rate"} <= found.keys()
        assert all(each.low == 0.0 for each in found.values())
    if not better:
        assert all(each.value == 0.0 for each in fanova(trials).values())
