from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import ClassVar

import pytest
from optuna.samplers import TPESampler

from c2c_search.space.samplers import SAMPLERS
from c2c_search.space.schema import Space
from c2c_search.space.shown import OnShown
from c2c_search.testing import SamplerConformance


class TestAuto(SamplerConformance):
    plugin = "auto"


class TestTpe(SamplerConformance):
    plugin = "tpe"


class TestTpeMultivariate(SamplerConformance):
    plugin = "tpe_multivariate"
    options: ClassVar = {"startup_trials": 4}


class TestTpeHierarchical(SamplerConformance):
    plugin = "tpe_hierarchical"
    options: ClassVar = {"startup_trials": 4}


class TestGp(SamplerConformance):
    plugin = "gp"
    options: ClassVar = {"startup_trials": 12}


class TestCmaEs(SamplerConformance):
    plugin = "cmaes"
    options: ClassVar = {"population": 4}

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("cmaes")


class TestNsga2(SamplerConformance):
    plugin = "nsga2"


class TestNsga3(SamplerConformance):
    plugin = "nsga3"


class TestGrid(SamplerConformance):
    plugin = "grid"
    options: ClassVar = {"grid_points": 4}


class TestQmc(SamplerConformance):
    plugin = "qmc"


class TestRandom(SamplerConformance):
    plugin = "random"


@pytest.mark.parametrize(
    ("name", "trials", "enqueued", "startup"),
    [("auto", 4, 1, 2), ("auto", 2, 0, 1), ("auto", 400, 3, 10), ("tpe", 4, 1, 10)],
)
def test_when_it_starts_to_learn(
    make_space: Callable[..., Space], name: str, trials: int, enqueued: int, startup: int
) -> None:
    space = make_space(search={"trials": trials}, enqueue=[{"fuser.depth": 1}] * enqueued)
    sampler = SAMPLERS[name].make(space, 0)
    assert isinstance(sampler, OnShown)
    assert isinstance(sampler._sampler, TPESampler)
    assert sampler._sampler._n_startup_trials == startup


def test_names_are_checked_without_what_they_stand_for() -> None:
    code = "import sys; from c2c_search.space.declaration import Search; "
    code += "Search(trials=1, sampler='tpe', pruner='median'); "
    code += "print({'optuna', 'numpy', 'torch'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "set()", found.stderr
