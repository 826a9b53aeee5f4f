"""How time and memory grow with prompt length, batch, fused layers, or the number of trials.

Along the first three axes it is one training step that is measured, of three kinds turn by turn
(see `steps`); along the last a whole study against as many runs of the published kind (see
`study`). Each point is measured, and a straight line is laid through them by least squares:

    python benchmarks/growth.py --axis prompt-length --plot prompt-length.svg
    python benchmarks/growth.py --axis trials --values 1 2 4 8 --plot trials.png

The plot is drawn with matplotlib, which mlflow brings; the file's ending chooses its format.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numpy as np
import study
import timing
from steps import Examples
from steps import Steps
from steps import published
from steps import stepping

from c2c_search.evaluation.latency.peak_memory import peak_memory
from c2c_search.models.loading import LoadedModel
from c2c_search.models.loading import load
from c2c_search.models.loading import resolve
from c2c_search.tokenization.templates import asked
from c2c_search.training.process import keep_freed_memory


AXES = {
    "prompt-length": ("tokens of a prompt's text", (16, 32, 64, 128, 256)),
    "batch": ("examples a step", (1, 2, 4, 8, 16, 32)),
    "layers": ("fused layers of the receiver", (1, 8, 15, 22, 30)),
    "trials": ("trials", (1, 2, 4)),
}
"""What each axis counts, and where it is measured unless told otherwise."""

NAMES = {
    "stored": "stored prompt caches",
    "recomputed": "prefills recomputed",
    "reference": "reference-style",
    "study": "one study",
}
_TEXT = (
    "The river ran past the old town and under the bridge, where the boats of the market lay, "
    "and nobody who stood there in the evening could say which of them had come first. "
)


def main() -> None:
    """Measure, print and draw."""
    options = parse()
    if options.axis == "trials":
        points, described = trials(options), machine.describe()
    else:
        keep_freed_memory()
        receiver, sharer = load(options.receiver), load(options.sharer)
        points = training_steps(receiver, sharer, options)
        described = machine.describe(receiver, sharer)
    lines = fits(points)
    if options.plot is not None:
        draw(points, lines, options.axis, options.plot)
    report(points, lines, described, options)


def training_steps(
    receiver: LoadedModel, sharer: LoadedModel, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Median seconds, and bytes at the peak, of every kind of step at every value."""
    points = []
    for value in options.values:
        with _steps(receiver, sharer, options, value) as steps:
            times = timing.medians(steps.measure(options.turns))
            peaks = {
                kind: peak_memory(partial(steps.once, kind), steps.pair.device)
                for kind in steps.kinds
            }
        seconds = {kind: times[kind] for kind in steps.kinds}
        points.append({"value": value, "seconds": seconds, "peak_bytes": peaks})
    return points


def trials(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds of a study of every number of trials, each with a process and a store of its own."""
    for source in (options.receiver, options.sharer):
        resolve(source)
    configs = study.trials(options, max(options.values))
    theirs = study.reference_runs(configs[: options.reference_runs])
    one = theirs.total / len(theirs.losses)
    return [
        {
            "value": count,
            "seconds": {
                "study": study.study(configs[:count], options.trials_per_device).total,
                "reference": one * count,
            },
        }
        for count in options.values
    ]


def fits(points: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each kind the line of least squares: seconds at nothing, for one more, and R²."""
    values = np.array([point["value"] for point in points], dtype=float)
    lines = {}
    for kind in points[0]["seconds"]:
        seconds = np.array([point["seconds"][kind] for point in points])
        slope, start = np.polyfit(values, seconds, 1)
        left = seconds - (start + slope * values)
        spread = float(((seconds - seconds.mean()) ** 2).sum()) or 1.0
        lines[kind] = {
            "fixed_seconds": float(start),
            "seconds_for_one_more": float(slope),
            "r_squared": 1 - float((left**2).sum()) / spread,
        }
    return lines


def draw(
    points: Sequence[Mapping[str, Any]],
    lines: Mapping[str, Mapping[str, float]],
    axis: str,
    path: Path,
) -> None:
    """One plot: time with its lines, and memory beside it where it was measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = 2 if "peak_bytes" in points[0] else 1
    figure, axes = pyplot.subplots(1, panels, figsize=(5.5 * panels, 4), squeeze=False)
    values = [point["value"] for point in points]
    for kind in points[0]["seconds"]:
        measured = [point["seconds"][kind] for point in points]
        (drawn,) = axes[0, 0].plot(values, measured, "o", label=NAMES[kind])
        line = lines[kind]
        fitted = [line["fixed_seconds"] + line["seconds_for_one_more"] * v for v in values]
        axes[0, 0].plot(values, fitted, "-", color=drawn.get_color(), linewidth=1)
        if panels == 2:
            peaks = [point["peak_bytes"][kind] / 2**20 for point in points]
            axes[0, 1].plot(values, peaks, "o-", color=drawn.get_color(), label=NAMES[kind])
    axes[0, 0].set_ylabel("seconds" if axis == "trials" else "seconds a step")
    if panels == 2:
        axes[0, 1].set_ylabel("MiB at the peak, beyond models and fuser")
    for panel in axes[0]:
        panel.set_xlabel(AXES[axis][0])
        panel.set_ylim(bottom=0)
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
        panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def report(
    points: Sequence[Mapping[str, Any]],
    lines: Mapping[str, Mapping[str, float]],
    described: dict[str, Any],
    options: argparse.Namespace,
) -> None:
    """Print every point and the lines through them."""
    if options.json:
        result = {"axis": options.axis, "points": points, "lines": lines, "machine": described}
        print(json.dumps(result, indent=2))
        return
    print(f"{options.receiver} <- {options.sharer}, on {machine.in_words(described)}")
    kinds = list(points[0]["seconds"])
    print(f"{AXES[options.axis][0]:>30}" + "".join(f"{NAMES[kind]:>30}" for kind in kinds))
    for point in points:
        cells = [f"{point['seconds'][kind]:.3f} s" for kind in kinds]
        if "peak_bytes" in point:
            cells = [
                f"{cell}, {point['peak_bytes'][kind] / 2**20:.0f} MiB"
                for cell, kind in zip(cells, kinds, strict=True)
            ]
        print(f"{point['value']:>30}" + "".join(f"{cell:>30}" for cell in cells))
    for kind, line in lines.items():
        print(
            f"  {NAMES[kind]}: {line['fixed_seconds']:.3f} s "
            f"+ {line['seconds_for_one_more']:.4f} s each (R² {line['r_squared']:.3f})"
        )
    if options.plot is not None:
        print(f"drawn in {options.plot}")


def _steps(
    receiver: LoadedModel, sharer: LoadedModel, options: argparse.Namespace, value: int
) -> AbstractContextManager[Steps]:
    """Steps at one value of the axis, all else as the options say."""
    batch = value if options.axis == "batch" else options.batch
    share = 1.0
    if options.axis == "layers":
        share = min(1.0, value / receiver.model.config.num_hidden_layers)
    if options.axis == "prompt-length":
        examples = long_questions(receiver, 4 * batch, value)
    else:
        examples = Examples.of_quiz(4 * batch)
    return stepping(receiver, sharer, examples, published(options.width, share), batch=batch)


def long_questions(loaded: LoadedModel, count: int, length: int) -> Examples:
    """Questions of about so many tokens of a model, which begin differently."""
    tokenizer = loaded.text_tokenizer
    ids = tokenizer(_TEXT * (length + count), add_special_tokens=False)["input_ids"]
    texts = [tokenizer.decode(ids[first : first + length]).strip() for first in range(count)]
    return Examples([asked(text) for text in texts], ["the old town"] * count)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--axis", choices=sorted(AXES), required=True)
    parser.add_argument("--values", type=int, nargs="+", help="at least three points of the axis")
    parser.add_argument("--turns", type=int, default=5, help="measured steps of each kind")
    study.add_settings(parser)
    parser.add_argument("--reference-runs", type=int, default=1, help="of --axis trials")
    parser.add_argument("--plot", type=Path, help="draw into this file: .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    options.values = sorted(set(options.values or AXES[options.axis][1]))
    if len(options.values) < 3 or options.values[0] < 1:
        parser.error("--values: at least three different whole numbers above 0")
    return options


if __name__ == "__main__":
    main()
