"""The part of a study's report that maps layers: who feeds whom, and how far gates are open."""

from __future__ import annotations

from pathlib import Path

from c2c_search.errors import C2CError
from c2c_search.fuser.stored import StoredConfig
from c2c_search.fuser.stored import read_config
from c2c_search.report.page import Chart
from c2c_search.report.page import Grid
from c2c_search.report.page import Section
from c2c_search.report.page import Series
from c2c_search.study.findings import Findings


_HEADING = "Map of layers"
_NAME = "layers"


def layers(found: Findings) -> Section:
    """Of the fuser that leads."""
    trial = found.best
    folder = None if trial is None else found.fuser(trial)
    if trial is None or folder is None:
        return Section(_NAME, _HEADING)
    try:
        stored = read_config(folder)
    except C2CError as error:
        return Section(_NAME, _HEADING, [f"The fuser of {trial.name} cannot be read: {error}"])
    opened, remark = _openness(folder, stored)
    rows, points = [], []
    for index, (layer, sources) in enumerate(zip(stored.layers, stored.sources, strict=True)):
        keys, values = (None, None) if opened is None else opened[index]
        told = [_share(keys), _share(values)]
        rows.append((str(layer), ", ".join(map(str, sources)), *told))
        points += [(source, layer, keys, values) for source in sources]
    heads = ("receiver layer", "is fed by sharer layers", "keys open", "values open")
    grid = Grid(f"Layers of {trial.name}, from 0", heads, rows)
    text = [
        f"{trial.name} feeds {len(stored.layers)} of the receiver's {stored.receiver.layers} "
        f"layers from the sharer's {stored.sharer.layers}. {remark}"
    ]
    return Section(_NAME, _HEADING, text, [grid], [_chart(trial.name, points)])


Point = tuple[int, int, float | None, float | None]
"""Sharer layer, receiver layer, openness of keys and of values."""


def _chart(name: str, points: list[Point]) -> Chart:
    series = [
        Series(
            kind,
            [point[0] + apart for point in points],
            [float(point[1]) for point in points],
            labels=[
                f"sharer layer {point[0]} to receiver layer {point[1]}: {kind} "
                f"{_share(point[which])}"
                for point in points
            ],
            mark=mark,
            sizes=[4 + 8 * (1.0 if (one := point[which]) is None else one) for point in points],
        )
        for kind, which, apart, mark in (
            ("keys", 2, -0.15, "square"),
            ("values", 3, 0.15, "circle-open"),
        )
    ]
    about = f"Each mark is a way from a sharer layer to a receiver layer of {name}: squares are "
    about += "keys, rings values; the larger, the further its gate is open."
    return Chart(_HEADING, about, "sharer layer", "receiver layer", series, height=460)


def _share(opened: float | None) -> str:
    return "by input" if opened is None else f"{100 * opened:.0f} %"


def _openness(
    folder: Path, stored: StoredConfig
) -> tuple[list[tuple[float | None, float | None]] | None, str]:
    """How far each layer's gate is open for keys and values, as evaluation reads it."""
    if stored.fuser.gate.granularity == "none":
        return [(1.0, 1.0)] * len(stored.layers), "It has no gates: everything passes."
    from c2c_search.fuser.checkpoint import load

    try:
        gate = load(folder).gate
    except C2CError:
        return None, "Its weights cannot be read, and with them how far gates are open."
    if gate is None or gate.from_input is not None:
        return None, "Its gates depend on the input: each token opens them differently."
    opened = gate.open_by_layer()
    pairs = [*zip(opened["keys"], opened["values"], strict=True)]
    return pairs, "Gates are shown as evaluation reads them, means over heads or values."
