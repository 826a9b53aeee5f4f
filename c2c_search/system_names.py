"""The names of all systems, by which a pipeline or a command names them.

They stand below the floor of configurations, so that one is checked before anything is loaded.
What each system is stands in the module named beside it; see `evaluation.systems.registry`.
"""

from __future__ import annotations

from typing import Any

from c2c_search.plugins import Register


TWIN = "no_sharer"
"""The control that every finalist has: the same training without a sharer."""

ANCHORS = "anchors"
"""A control of every finalist whose receiver reads words: what they say without the fuser."""

_BUILT_IN = "c2c_search.evaluation.systems.built_in"

SYSTEMS: Register[Any] = Register(
    "system",
    {
        "receiver": _BUILT_IN,
        "sharer": _BUILT_IN,
        "text_relay": _BUILT_IN,
        "text_relay_answer": _BUILT_IN,
        "routing": _BUILT_IN,
        "c2c": _BUILT_IN,
        "c2c_confident": _BUILT_IN,
        "few_shot": _BUILT_IN,
        "oracle": _BUILT_IN,
        TWIN: _BUILT_IN,
        "deranged": _BUILT_IN,
        "zeroed": _BUILT_IN,
        "noise": _BUILT_IN,
        "random": _BUILT_IN,
        "shut": _BUILT_IN,
        ANCHORS: _BUILT_IN,
        "self": _BUILT_IN,
        "ridge": _BUILT_IN,
        "lora": _BUILT_IN,
        "cartridge": _BUILT_IN,
    },
)
"""In the order of tables. Typed in `evaluation.systems.registry`."""
