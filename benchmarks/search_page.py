"""What replays on the table of fusers say, in words: tables, a plot, and what follows."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from comparison import LEVEL
from comparison import PLAIN
from comparison import Line
from comparison import Method
from comparison import Signal
from comparison import over_steps
from replay import TOP
from replay import Lookup
from replay import Replayed
from replay import ToldDrop
from replay import regrets

from c2c_search.evaluation.statistics.accuracy import wilson
from c2c_search.testing.tabled_fusers import FuserTable


BEGIN = "<!-- benchmarks/search.py writes from here -->"
END = "<!-- benchmarks/search.py writes to here -->"

HALF = 0.5
"""Of random search's steps, in which the default should reach its regret."""
KILLED = 0.05
"""Of the best fusers' trials, which a pruner may stop."""


def head(table: FuserTable, lookup: Lookup, signal: Signal, command: str, repeats: int) -> str:
    """What was replayed, and how much the table can tell."""
    trainings = sum(len(each.trainings) for each in table.fusers)
    seeds = "" if signal.seeds is None else f"; between a fuser's seeds it is {signal.seeds:.3f}"
    noise = (
        "so that validation tells these fusers apart on test"
        if signal.correlation.low > 0
        else "so that it is not shown that validation tells these fusers apart at all: rankings "
        "of samplers below are luck as far as is known"
    )
    return (
        f"{len(lookup.fusers)} fusers ({trainings} trainings) of {table.rungs[-1]} steps, rungs "
        f"{', '.join(map(str, table.rungs))}. Margin on test: best {lookup.best:.3f}, median "
        f"{np.median(lookup.worth):.3f}; its standard deviation within a pair is "
        f"{signal.spread:.3f}{seeds}. Within pairs margins on validation and on test correlate "
        f"by {signal.correlation.written('.2f')}, {noise}.\n\n"
        f"Of {repeats} replays of each method at least, with 95 % intervals over them "
        f"(`{command}`):\n"
    )


def markdown(trials: int, lines: Sequence[Line]) -> str:
    """A table of methods at a number of trials."""
    rows = [
        f"| {line.method[0]} | {line.method[1]} | {line.steps:,.0f} | {line.regret} "
        f"| {line.beyond.written('+.3f')} | {_share(line)} | {line.killed:.2f} |"
        for line in lines
    ]
    return (
        f"{trials} trials:\n\n| sampler | pruner | steps | regret | above random search's | share "
        "of random's steps to random's regret | best twentieth stopped |\n"
        "|---|---|--:|--:|--:|--:|--:|\n" + "\n".join(rows) + "\n"
    )


def drops_told(drops: Mapping[tuple[Method, int], Sequence[ToldDrop]]) -> str:
    """How the champions' drops were told, where halves of validation stand for both splits."""
    rows = []
    for (method, trials), each in drops.items():
        if not each:
            continue
        covered = sum(one.covered for one in each)
        told, measured = (fmean(values) for values in _ends(each))
        share = wilson(covered / len(each), len(each), LEVEL)
        rows.append(
            f"| {' + '.join(method)} | {trials} | {told:+.3f} | {measured:+.3f} "
            f"| {share.written('.2f')} |"
        )
    if not rows:
        return "No replay ran enough trials to its end to tell its champion's drop.\n"
    return (
        "The champion's drop from the half of validation that it was chosen by to the other half, "
        "as it is told before and as it is; its interval is meant to hold in 0.90 of them:\n\n"
        "| method | trials | told | is | within the interval |\n|---|--:|--:|--:|--:|\n"
        + "\n".join(rows)
        + "\n"
    )


def left_out_told(
    kind: str, trials: int, methods: Sequence[Method], ends: Sequence[Sequence[float]]
) -> str:
    """Whether methods rank alike on two halves, by their mean regrets."""
    from scipy.stats import kendalltau

    found = kendalltau(*ends)
    rows = [
        f"| {' + '.join(method)} | {one:.3f} | {other:.3f} |"
        for method, one, other in zip(methods, *ends, strict=True)
    ]
    return (
        f"Left out: half of the {kind}, {trials} trials. Kendall's tau between the two rankings "
        f"{found.statistic:.2f} (p = {found.pvalue:.2f}).\n\n"
        "| method | regret on one half | on the other |\n|---|--:|--:|\n" + "\n".join(rows) + "\n"
    )


def verdict(lines: Mapping[int, Sequence[Line]], signal: Signal, default: Method) -> str:
    """What follows for samplers and pruners, and how sure it is."""
    methods = [line.method for line in next(iter(lines.values()))]
    by_method = {
        method: [line for each in lines.values() for line in each if line.method == method]
        for method in methods
    }
    others = {method: each for method, each in by_method.items() if method != PLAIN}
    faster = [method for method, each in others.items() if all(map(_in_half, each))]
    worse = [method for method, each in others.items() if any(one.beyond.low > 0 for one in each)]
    better = [
        method for method, each in others.items() if all(one.beyond.high < 0 for one in each)
    ]
    budgets = ", ".join(map(str, lines))
    told = [
        f"- **Half of random search's steps for random search's regret** (upper end of the "
        f"interval, at {budgets} trials): {_named(faster)}.",
        f"- **Lower regret than random search without pruning** at each of them: "
        f"{_named(better)}; higher at one of them: {_named(worse)}.",
        *_of_pruners(by_method),
        *_of_default(by_method.get(default, ()), default, list(lines)),
        f"- **What follows**: {_recommended(by_method, faster, signal)}",
    ]
    return "What follows:\n\n" + "\n".join(told) + "\n"


def _of_pruners(by_method: Mapping[Method, Sequence[Line]]) -> list[str]:
    pruners = dict.fromkeys(pruner for _, pruner in by_method if pruner != "none")
    found = []
    for pruner in pruners:
        each = [one for method, of in by_method.items() if method[1] == pruner for one in of]
        plain = [one for method, of in by_method.items() if method[1] == "none" for one in of]
        saved = 1 - fmean(one.steps for one in each) / fmean(one.steps for one in plain)
        killed = fmean(one.killed for one in each)
        limit = "within" if killed <= KILLED else "beyond"
        found.append(
            f"- **{pruner}** stops {killed:.0%} of the trials of the best {TOP:.0%} of fusers, "
            f"{limit} the {KILLED:.0%} that it may, and saves {saved:.0%} of the steps."
        )
    return found


def _of_default(each: Sequence[Line], default: Method, budgets: Sequence[int]) -> list[str]:
    if not each:
        return []
    told = "; ".join(
        f"{one.beyond.written('+.3f')} at {trials} trials"
        for one, trials in zip(each, budgets, strict=True)
    )
    return [
        f"- **The default** ({' + '.join(default)}) has a regret above random search's by {told}."
    ]


def _recommended(
    by_method: Mapping[Method, Sequence[Line]], faster: Sequence[Method], signal: Signal
) -> str:
    if signal.correlation.low <= 0:
        return (
            "nothing yet. A table on which validation does not tell fusers apart cannot tell "
            "samplers apart; the defaults rest on the literature."
        )
    if faster:
        first = min(
            faster, key=lambda method: fmean(one.share[0] or 1 for one in by_method[method])
        )
        return f"`{first[0]}` with `{first[1]}`, which reaches random search's regret soonest."
    sound = {
        method: each
        for method, each in by_method.items()
        if all(one.beyond.low <= 0 for one in each)
        and not fmean(one.killed for one in each) > KILLED
    }
    first = min(sound, key=lambda method: fmean(one.steps for one in sound[method]))
    return (
        "no method reaches random search's regret with half of its steps for certain. Of those "
        f"that are not shown to be worse and stop few of the best, `{first[0]}` with "
        f"`{first[1]}` takes the fewest steps."
    )


def write_between(page: Path, text: str, plot: Path | None) -> None:
    """Put what was found between a page's marks, in place of what stood there.

    Raises:
        SystemExit: The page has no such marks.
    """
    before = page.read_text(encoding="utf-8")
    if plot is not None:
        text += (
            f"\n![Mean regret against trials and steps]({os.path.relpath(plot, page.parent)})\n"
        )
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    after, times = re.subn(pattern, lambda _: f"{BEGIN}\n\n{text}\n{END}", before, flags=re.DOTALL)
    if times != 1:
        raise SystemExit(f"{page} must have the marks {BEGIN!r} and {END!r} once")
    page.write_text(after, encoding="utf-8")


def draw(
    path: Path, found: Mapping[Method, Sequence[Replayed]], lookup: Lookup, last: int
) -> None:
    """Mean regret against trials and against steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    for method, each in found.items():
        curve = regrets(each, lookup.best).mean(axis=0)
        most = int(np.mean([one.steps[-1] for one in each]))
        spent = over_steps(each, lookup.best, last, most).mean(axis=0)
        style = {"color": "black", "linestyle": "--"} if method == PLAIN else {}
        left.plot(range(1, len(curve) + 1), curve, label=" + ".join(method), **style)
        right.plot(np.arange(1, len(spent) + 1) * last, spent, **style)
    left.set(xlabel="trials", ylabel="mean regret of the champion (margin on test)", yscale="log")
    right.set(xlabel="optimizer steps")
    left.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _in_half(line: Line) -> bool:
    highest = line.share[2]
    return highest is not None and highest <= HALF


def _ends(drops: Sequence[ToldDrop]) -> tuple[list[float], list[float]]:
    return [one.told.value for one in drops], [one.measured for one in drops]


def _named(methods: Sequence[Method]) -> str:
    return ", ".join(f"{sampler} + {pruner}" for sampler, pruner in methods) or "none"


def _share(line: Line) -> str:
    value, low, high = ("never" if one is None else f"{one:.2f}" for one in line.share)
    return f"{value} [{low}, {high}]"
