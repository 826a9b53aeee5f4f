"""Nested configuration as MLflow's flat, short, textual parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from c2c_search.host.names import fit


MAX_VALUE = 6000  # characters; MLflow truncates longer values without a word


def flatten(values: Mapping[str, Any]) -> dict[str, str]:
    """Flatten to dotted names and text, e.g. ``{"fuser": {"depth": 3}}`` to ``fuser.depth: 3``.

    Lists become JSON; None, True and False are written as in YAML. A value too long for MLflow is
    split over ``NAME``, ``NAME.part2``, ``NAME.part3`` and so on. Names are made fit for a store.
    """
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            inside = flatten(value)
            flat |= {f"{fit(str(name))}.{inner}": text for inner, text in inside.items()}
        else:
            flat |= _chunks(fit(str(name)), _text(value))
    return flat


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _chunks(name: str, text: str) -> dict[str, str]:
    parts = [text[start : start + MAX_VALUE] for start in range(0, len(text), MAX_VALUE)] or [""]
    return {
        name if number == 1 else f"{name}.part{number}": part
        for number, part in enumerate(parts, start=1)
    }
