"""What must hold between the options of a space's search."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from c2c_search.space.dimensions import Dimension
from c2c_search.space.grid_size import grid_size
from c2c_search.space.objectives import COSTS
from c2c_search.space.objectives import SCORES


if TYPE_CHECKING:
    from c2c_search.space.declaration import Search

_TPE = ("auto", "tpe", "tpe_multivariate", "tpe_hierarchical")
OPTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sampler": {
        "startup_trials": (*_TPE, "gp"),
        "constant_liar": _TPE,
        "population": ("cmaes", "nsga2", "nsga3"),
        "grid_points": ("grid",),
    },
    "pruner": {
        "percentile": ("percentile",),
        "patient_rungs": ("patient",),
        "wilcoxon_p": ("wilcoxon",),
    },
}
"""By what is chosen, its options and the names that they belong to. ``reduction_factor`` may stand
beside any pruner, as it does in spaces of before."""

BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "sampler": (*_TPE, "gp", "cmaes", "nsga2", "nsga3", "random", "grid", "qmc"),
    "pruner": (
        "halving",
        "asha",
        "hyperband",
        "median",
        "percentile",
        "patient",
        "wilcoxon",
        "none",
    ),
}
"""Whose options are known; a plug-in may read any of them."""

MOST_GP_TRIALS = 500

_OF_ONE = {"gp": "it models one number of each trial", "cmaes": "it ranks trials by one number"}
_OF_SEVERAL = ("halving", "asha", "none")


class Fault(NamedTuple):
    """An option that cannot be: its name, the rule, the value found, the way out."""

    option: str
    rule: str
    value: Any
    hint: str


def faults(search: Search, dimensions: Mapping[str, Dimension]) -> Iterator[Fault]:
    """What is wrong with the options of a search, apart from its rungs."""
    yield from _not_its_own(search)
    yield from _of_objectives(search)
    yield from _of_choice(search)
    if search.sampler == "grid":
        yield from _grid(search, dimensions)
    if search.sampler == "gp" and search.trials > MOST_GP_TRIALS:
        yield Fault(
            "sampler",
            f"gp takes no more than {MOST_GP_TRIALS} trials: its time grows with their cube.",
            search.trials,
            "Set sampler: tpe_multivariate, or fewer trials.",
        )
    if search.sampler == "cmaes" and find_spec("cmaes") is None:
        yield Fault(
            "sampler",
            "The sampler cmaes needs the package cmaes, which is not installed.",
            search.sampler,
            "pip install 'c2c-search[search]', or set sampler: tpe_multivariate.",
        )


def _not_its_own(search: Search) -> Iterator[Fault]:
    for kind, options in OPTIONS.items():
        chosen = getattr(search, kind)
        if chosen not in BUILT_IN[kind]:
            continue
        for option, names in options.items():
            value, field = getattr(search, option), type(search).model_fields[option]
            if value != field.default and chosen not in names:
                yield Fault(
                    option,
                    f"This is an option of another {kind} than {chosen}.",
                    value,
                    f"Drop it, or set {kind}: {' or '.join(names)}.",
                )


def _of_objectives(search: Search) -> Iterator[Fault]:
    """What does not go with several objectives, or with bounds."""
    if "parameters" in search.bounds:
        yield Fault(
            "bounds",
            "Parameters are known before a fuser is trained, and so is whether they are too many.",
            search.bounds["parameters"],
            "Set limits.max_parameters: what is beyond is then never trained.",
        )
    yield from _of_bounds(search)
    if (objectives := search.objectives) is None:
        return
    if "objective" in search.model_fields_set:
        yield Fault(
            "objectives",
            "A search has one objective, or several objectives, not both.",
            list(objectives),
            "Drop search.objective, or search.objectives.",
        )
    if objectives[0] not in SCORES:
        yield Fault(
            "objectives",
            "The best rung of a training is kept by the first objective, which must be a score.",
            objectives[0],
            f"Begin with one of {', '.join(SCORES)}.",
        )
    if len(set(objectives)) < len(objectives):
        rule = "Each objective is named once."
        yield Fault("objectives", rule, list(objectives), "Drop what stands there twice.")
    if (reason := _OF_ONE.get(search.sampler)) is not None:
        yield Fault(
            "sampler",
            f"{search.sampler} has no use of several objectives: {reason}.",
            search.sampler,
            "Set sampler: auto, tpe, tpe_multivariate, tpe_hierarchical, nsga2, nsga3, random, "
            "grid or qmc.",
        )
    if search.pruner not in _OF_SEVERAL:
        yield Fault(
            "pruner",
            f"{search.pruner} compares trials by one number; of several objectives only halving "
            "can, by their Pareto rank at a rung.",
            search.pruner,
            "Set pruner: halving or none.",
        )


def _of_bounds(search: Search) -> Iterator[Fault]:
    """Bounds that every trial keeps to, or none."""
    for name, bound in search.bounds.items():
        least = 0 if name == "accuracy" else -1
        if name in SCORES and not least <= bound <= 1:
            rule = f"Scores are shares of the answers: {name} is between {least} and 1."
            yield Fault("bounds", rule, bound, "Write 85 % as 0.85.")
        elif name in COSTS and bound <= 0:
            rule = f"No fuser's {name} is as low as that."
            yield Fault("bounds", rule, bound, f"Name the most that is accepted, or drop {name}.")


def _of_choice(search: Search) -> Iterator[Fault]:
    if (choose := search.choose) is None:
        return
    if search.objectives is None:
        yield Fault(
            "choose",
            "This chooses from the Pareto front of several objectives, and there is only one.",
            search.objective,
            "Name search.objectives instead of search.objective, or drop this.",
        )
        return
    for name in (choose.best, choose.then):
        if name is not None and name not in search.objectives:
            rule = "Finalists are chosen by what the search compares trials by."
            hint = f"Take one of {', '.join(search.objectives)}, or add it to the objectives."
            yield Fault("choose", rule, name, hint)
    if choose.within and choose.within_percent is not None:
        rule = "How much worse still counts as good is said once, in units or in percent."
        yield Fault("choose", rule, choose.within_percent, "Drop within, or within_percent.")
    if choose.then is None and (choose.within or choose.within_percent):
        yield Fault(
            "choose",
            "Those within a distance of the best need a second measure to choose from them by.",
            choose.best,
            "Add then:, e.g. then: parameters.",
        )
    if choose.best in SCORES and choose.within >= 1:
        rule = "Scores are shares of the answers: within 1 of the best there is every other."
        yield Fault(
            "choose", rule, choose.within, "Write 2 points as 0.02, or set within_percent."
        )
    if choose.then == choose.best:
        rule = "The second measure must be another than the first."
        yield Fault("choose", rule, choose.then, "Name another objective, or drop then.")


def _grid(search: Search, dimensions: Mapping[str, Dimension]) -> Iterator[Fault]:
    size = grid_size(dimensions, search.grid_points)
    if size is None:
        endless = [name for name, each in dimensions.items() if each.floats is not None]
        yield Fault(
            "sampler",
            "A grid has no end where a range of floats is not divided.",
            endless,
            "Set search.grid_points, or give choices instead of the range.",
        )
    elif search.trials > size:
        yield Fault(
            "trials",
            f"The grid has {size} points, and each is tried once.",
            search.trials,
            f"Set trials: {size}, or more grid_points.",
        )
