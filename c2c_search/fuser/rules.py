"""Which values of a fuser's configuration fit together, and what is said of those that do not."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import TypeVar

from c2c_search.fuser.families import PROJECTORS
from c2c_search.fuser.granularities import GATES
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.fuser.layers import listed


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig


_Declared = TypeVar("_Declared")


def faults(config: FuserConfig) -> list[str]:
    """What does not fit together in a configuration: each rule, and the way out."""
    return [
        *_gate_faults(config),
        *_family_faults(config),
        *_layer_faults(config),
        *_injection_faults(config),
    ]


def _gate_faults(config: FuserConfig) -> list[str]:
    if config.gate.granularity != "none":
        return []
    set_for_nothing = {
        "noise": config.gate.noise != "none",
        "sparsity": config.gate.sparsity > 0,
        "input_dependent": config.gate.input_dependent,
    }
    return [
        f"gate.{name} needs a gate: set gate.granularity to "
        f"{_names(GATES, lambda one: one.name != 'none')}, or leave gate.{name} out"
        for name, given in set_for_nothing.items()
        if given
    ]


def _family_faults(config: FuserConfig) -> list[str]:
    wrong = []
    if config.rank is not None and not config.family.takes_rank:
        takers = _names(PROJECTORS, lambda family: family.takes_rank)
        wrong.append(f"rank belongs to projector {takers}; leave rank out")
    if config.initialisation == "ridge" and not config.family.ridge_start:
        starters = _names(PROJECTORS, lambda family: family.ridge_start)
        wrong.append(f"initialisation ridge needs projector {starters}")
    if config.ridge_weighting != "none" and not config.fitted:
        wrong.append(
            "ridge_weighting weighs what a ridge map is fitted on: set projector or "
            "initialisation to ridge, or leave ridge_weighting out"
        )
    if config.fitted and config.injected.projects == "change":
        fitting = _names(INJECTIONS, lambda injection: injection.projects != "change")
        wrong.append(
            f"a ridge map predicts the receiver's cache itself: it needs injection {fitting} "
            f"({config.injection} would add the cache to itself)"
        )
    if config.family.closed_form:
        if config.gate.granularity != "none":
            wrong.append(
                f"projector {config.projector} is fitted, not trained: set gate.granularity to "
                "none"
            )
        if config.aligned.learned or config.source_combination == "learned":
            wrong.append(
                f"projector {config.projector} is fitted, not trained: layer_alignment and "
                "source_combination cannot be learned"
            )
    return wrong


def _layer_faults(config: FuserConfig) -> list[str]:
    wrong, named = [], listed(config.layers)
    if config.aligned.learned and config.sources_per_layer > 1:
        wrong.append(
            f"layer_alignment {config.layer_alignment} weighs its own window: set "
            "sources_per_layer to 1 and alignment_window to the number of layers"
        )
    if config.layer_count is not None and config.layer_share < 1:
        wrong.append("layer_count and layer_share say one thing: leave one of them out")
    if named and (config.layer_count is not None or config.layer_share < 1):
        wrong.append(
            f"layers {config.layers} says how many: leave layer_count and layer_share out"
        )
    count = min(map(len, named.values()), default=0)
    if count and config.layer_alignment not in ("terminal", "explicit"):
        wrong.append(
            f"layers {config.layers} names the sharer's layers itself: leave layer_alignment out"
        )
    if count and count != config.sources_per_layer:
        wrong.append(
            f"layers {config.layers} names {count} of the sharer's for each: set "
            f"sources_per_layer to {count}"
        )
    return wrong


def _injection_faults(config: FuserConfig) -> list[str]:
    wrong = []
    if config.adds_entries:
        named = f"injection {config.injection}"
        if config.gate.granularity != "none":
            wrong.append(
                f"{named} has no gate to shut, attention always sees its entries: set "
                "gate.granularity to none"
            )
        if not config.all_layers:
            wrong.append(
                f"{named} adds entries to every layer: set layer_share to 1, and layer_count and "
                "a list of layers not at all"
            )
        if config.fuse_response:
            wrong.append(f"{named} has no response to fuse: leave fuse_response out")
    return wrong


def _names(declared: Mapping[str, _Declared], chosen: Callable[[_Declared], bool]) -> str:
    """``a, b or c``: the plug-ins that a rule leaves."""
    *others, last = (name for name, one in declared.items() if chosen(one))
    return f"{', '.join(others)} or {last}" if others else last
