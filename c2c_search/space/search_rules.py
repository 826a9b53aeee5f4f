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


class Fault(NamedTuple):
    """An option that cannot be: its name, the rule, the value found, the way out."""

    option: str
    rule: str
    value: Any
    hint: str


def faults(search: Search, dimensions: Mapping[str, Dimension]) -> Iterator[Fault]:
    """What is wrong with the options of a search, apart from its rungs."""
    yield from _not_its_own(search)
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
