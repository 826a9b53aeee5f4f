"""How long a suggestion takes after many trials, sampler by sampler.

The trials are made up: their space has many dimensions, half of them conditional, and a third of
them ended, as under `halving`. What is timed is a whole suggestion, as a study asks for it, with
every trial compared with the candidate; the time of comparing each with each, as it was once
done, is printed beside it:

    python benchmarks/sampler_speed.py --trials 2000 --dimensions 20 --samplers auto tpe
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from random import Random
from statistics import median
from typing import Any

import machine
import optuna
from optuna.trial import TrialState

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.space.alike import SAME
from c2c_search.space.alike import Tried
from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import walk
from c2c_search.space.sampling import make_sampler
from c2c_search.space.schema import Space
from c2c_search.space.shown import distributions


SAMPLERS = ("auto", "tpe", "tpe_hierarchical", "nsga2", "random", "qmc")


def space_of(dimensions: int, sampler: str, trials: int) -> Space:
    """A space whose second half of dimensions applies with one choice of four.

    The names are made up: only samplers see them, no trial is made of their values.
    """
    choice = Dimension.model_validate({"choices": ["a", "b", "c", "d"]})
    kinds: list[dict[str, Any]] = [
        {"float": [1e-4, 1e-2], "log": True},
        {"int": [1, 64]},
        {"float": [0.0, 1.0]},
        {"choices": [1, 2, 3]},
    ]
    found = {"d00": choice}
    for number in range(1, dimensions):
        kind = dict(kinds[number % len(kinds)])
        if number >= dimensions // 2:
            kind["when"] = {"d00": "abcd"[number % 4]}
        found[f"d{number:02}"] = Dimension.model_validate(kind)
    pipeline = Pipeline(name="speed", training=TrainingConfig(steps=90, rungs=(1 / 9, 1 / 3, 1.0)))
    valid = Space.model_validate(
        {
            "study": "speed",
            "pipeline": pipeline,
            "pairs": {"pair": {"receiver": "path:a", "sharer": "path:b"}},
            "search": {"trials": trials, "sampler": sampler},
            "dimensions": {"fuser.depth": {"int": [1, 4]}},
        }
    )
    return valid.model_copy(update={"dimensions": found})


def filled(space: Space, trials: int) -> optuna.Study:
    """A study of so many trials by chance, in memory."""
    rng = Random(0)
    known = distributions(space.dimensions)
    study = optuna.create_study(direction="maximize", sampler=make_sampler(space))
    for number in range(trials):
        params = walk(space.dimensions, lambda _, each: each.draw(rng))
        ended = number % 3 == 0
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if ended else TrialState.PRUNED,
                value=rng.random(),
                params=params,
                distributions={name: known[name] for name in params},
                intermediate_values={10: rng.random(), 30: rng.random()},
            )
        )
    return study


def suggestion(space: Space, study: optuna.Study) -> float:
    """Seconds of a suggestion, which no trial is left of."""
    sampler = make_sampler(space)
    trial = study.ask()
    asked = study.trials[trial.number]
    begun = time.perf_counter()
    drawn = sampler.sample_relative(study, asked, distributions(space.dimensions))
    spent = time.perf_counter() - begun
    assert drawn
    study.tell(trial, state=TrialState.FAIL)
    return spent


def comparing(study: optuna.Study, candidate: Params) -> tuple[float, float]:
    """Seconds of comparing a candidate with every trial, and of looking it up among them."""
    settings = [trial.params for trial in study.trials]
    begun = time.perf_counter()
    for params in settings:
        _ = candidate.keys() == params.keys() and all(
            abs(one - params[name]) <= SAME * abs(one)
            if isinstance(one, float)
            else one == params[name]
            for name, one in candidate.items()
        )
    each = time.perf_counter() - begun
    tried = Tried(settings)
    begun = time.perf_counter()
    _ = candidate in tried
    return each, time.perf_counter() - begun


def main() -> None:
    """Measure, and print a line a sampler."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--dimensions", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = measured(options.samplers, options.trials, options.dimensions, options.repeats)
    if options.json:
        print(json.dumps({"machine": machine.describe(), **found}, indent=2))
        return
    for name, seconds in found["seconds"].items():
        print(f"{name:18} {seconds:8.3f} s a suggestion")
    print(f"comparing each: {found['each']:.5f} s; looking up: {found['lookup']:.6f} s")


def measured(
    samplers: Sequence[str], trials: int, dimensions: int, repeats: int
) -> dict[str, Any]:
    """Median seconds of a suggestion by sampler, and of the two ways to compare."""
    seconds = {}
    study = None
    for name in samplers:
        space = space_of(dimensions, name, trials + repeats)
        study = study or filled(space, trials)
        seconds[name] = median(suggestion(space, study) for _ in range(repeats))
    assert study is not None
    each, lookup = comparing(study, study.trials[0].params)
    return {
        "trials": trials,
        "dimensions": dimensions,
        "seconds": seconds,
        "each": each,
        "lookup": lookup,
    }


if __name__ == "__main__":
    main()
