"""Which values of a fuser's configuration fit together, and what is said of those that do not."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import TypeVar

from c2c_search.fuser.families import PROJECTORS
from c2c_search.fuser.granularities import GATES
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.fuser.layers import listed


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig


DRAFT_TOKENS = 32
"""Of a draft at most, where ``draft_tokens`` is left out."""

ANCHOR_TOKENS = 32
"""Of a message's words at most, where ``anchor_tokens`` is left out."""

_Declared = TypeVar("_Declared")


def faults(config: FuserConfig) -> list[str]:
    """What does not fit together in a configuration: each rule, and the way out."""
    return [
        *_gate_faults(config),
        *_family_faults(config),
        *_layer_faults(config),
        *_injection_faults(config),
        *_message_faults(config),
        *_draft_faults(config),
        *_refresh_faults(config),
        *_anchor_faults(config),
    ]


def _gate_faults(config: FuserConfig) -> list[str]:
    if config.gate.granularity != "none":
        return [*_tanh_faults(config)] if config.gate.rule == "tanh" else []
    set_for_nothing = {
        "noise": config.gate.noise != "none",
        "sparsity": config.gate.sparsity > 0,
        "input_dependent": config.gate.input_dependent,
        "rule tanh": config.gate.rule == "tanh",
    }
    return [
        f"gate.{name} needs a gate: set gate.granularity to "
        f"{_names(GATES, lambda one: one.name != 'none')}, or leave gate.{name.split()[0]} out"
        for name, given in set_for_nothing.items()
        if given
    ]


def _tanh_faults(config: FuserConfig) -> Iterator[str]:
    if config.gate.noise != "none":
        yield "gate.rule tanh is read the same in training: set gate.noise to none"
    says_nothing = config.injected.projects != "cache" and (
        config.injected.projects == "change" or config.normalisation != "calibrated"
    )
    if says_nothing and config.initialisation == "zero" and config.gate.initial_logit == 0:
        yield (
            "gate.rule tanh begins shut at gate.initial_logit 0, and behind it initialisation "
            "zero has nothing to say: neither would ever learn. Set initialisation to random or "
            "ridge, or gate.initial_logit to another number"
        )


def _family_faults(config: FuserConfig) -> list[str]:
    wrong = []
    if config.rank is not None and not config.family.takes_rank:
        takers = _names(PROJECTORS, lambda family: family.takes_rank)
        wrong.append(f"rank belongs to projector {takers}; leave rank out")
    if not config.bias and (config.projector != "linear" or config.fitted):
        wrong.append(
            "bias false belongs to projector linear, initialisation zero or random: leave bias out"
        )
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
    named = f"injection {config.injection}"
    if config.adds_entries and not config.all_layers:
        wrong.append(
            f"{named} adds entries to every layer: set layer_share to 1, and layer_count and "
            "a list of layers not at all"
        )
    if config.stands_beside and config.fuse_response:
        wrong.append(f"{named} has no response to fuse: leave fuse_response out")
    if config.reads_from == "all" and not config.adds_memory:
        reading = _names(INJECTIONS, lambda injection: injection.projects == "memory")
        wrong.append(f"reads_from all needs injection {reading}: leave reads_from out")
    return wrong


def _message_faults(config: FuserConfig) -> list[str]:
    wrong = []
    if config.source == "hidden" and config.fuse_response:
        wrong.append(
            "source hidden is read of the prompt alone, as the sharer's keys and values are what "
            "it reads on with: leave fuse_response out, or set source to kv"
        )
    if config.slots is not None and not config.stands_beside:
        wrong.append(
            "slots are entries of their own, which belong to none of the receiver's tokens: set "
            f"injection to {_beside()}, or leave slots out"
        )
    return wrong


def _draft_faults(config: FuserConfig) -> list[str]:
    if not config.drafts:
        if config.draft_tokens == DRAFT_TOKENS:
            return []
        return ["draft_tokens belongs to message draft or both; leave draft_tokens out"]
    if config.stands_beside:
        return []
    return [
        f"message {config.message}: what is drafted stands for no token of the receiver's prompt, "
        f"so it needs injection {_beside()}, or set message to prompt"
    ]


def _refresh_faults(config: FuserConfig) -> Iterator[str]:
    if config.refresh is None:
        return
    ways_out = {
        f"injection to {_beside()}": config.stands_beside,
        "source to kv": config.source == "kv",
        "message to prompt": not config.drafts,
    }
    if missing := [way_out for way_out, given in ways_out.items() if not given]:
        yield (
            "refresh has the sharer read on behind its prompt, by its own cache, and adds entries "
            f"to its message: set {', '.join(missing)}, or leave refresh out"
        )
    if config.slots is not None:
        yield "a message of so many slots cannot grow: leave slots or refresh out"


def _anchor_faults(config: FuserConfig) -> Iterator[str]:
    if not config.anchored:
        if config.anchor_tokens != ANCHOR_TOKENS:
            yield "anchor_tokens belongs to anchors first or last; leave anchor_tokens out"
        return
    if not config.stands_beside:
        yield (
            "anchors are words that only the sharer has read or drafted, which stand for none of "
            f"the receiver's tokens: set injection to {_beside()}, or leave anchors out"
        )
    if config.sharer == "blank":
        yield "anchors are the sharer's words, and sharer blank says none: leave anchors out"


def _beside() -> str:
    """The injections of what belongs to none of the receiver's tokens."""
    return _names(INJECTIONS, lambda one: one.stands_beside)


def _names(declared: Mapping[str, _Declared], chosen: Callable[[_Declared], bool]) -> str:
    """``a, b or c``: the plug-ins that a rule leaves."""
    *others, last = (name for name, one in declared.items() if chosen(one))
    return f"{', '.join(others)} or {last}" if others else last
