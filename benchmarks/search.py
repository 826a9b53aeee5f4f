"""Samplers and pruners compared on the table of fusers: regret against trials and steps.

Every sampler and pruner that is named runs its studies on the table (see replay.py); nothing is
trained. Regret is how much the champion's margin on test lies below the best fuser's of the
table; the champion is chosen on validation, as a study chooses it. All methods share the replays'
seeds: validation sets and trainings are the same.

    python benchmarks/search.py --samplers auto random --pruners halving none --trials 24 48
    python benchmarks/search.py --leave-out fusers axes --plot search.png --markdown search.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from replay import Lookup
from replay import Replayed
from replay import false_kills
from replay import regrets
from replay import replay

from c2c_search.host.threads import usable_cores
from c2c_search.space.samplers import SAMPLERS
from c2c_search.space.schema import Space
from c2c_search.testing.tabled_fusers import FILE
from c2c_search.testing.tabled_fusers import FuserTable
from c2c_search.testing.tabled_fusers import fuser_table


ROOT = Path(__file__).parents[1]
PLAIN = ("random", "none")
"""What the others are measured against."""
RESAMPLES = 1000

Method = tuple[str, str]
"""Names of a sampler and a pruner."""
Found = dict[Method, list[Replayed]]


@dataclass(frozen=True)
class Line:
    """What a method did at a budget of trials.

    Args:
        method: Sampler and pruner.
        steps: Mean optimizer steps.
        regret: Mean, and its 95 % interval over the replays.
        share: Of the steps of `PLAIN`, those after which the mean regret is what `PLAIN`'s is at
            its end, and its interval; None where it never is.
        killed: Of the trials of the best twentieth, those that were stopped.
        covered: Of the champions' drops from validation to test, those within the told interval.
    """

    method: Method
    steps: float
    regret: tuple[float, float, float]
    share: tuple[float | None, float | None, float | None]
    killed: float
    covered: float


def main() -> None:
    """Replay, and print and draw what was found."""
    options = parse()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = fuser_table(options.table)
    space = on_table(Space.load(options.space), table, enqueue=options.enqueue)
    methods = list(dict.fromkeys([PLAIN, *each_method(options.samplers, options.pruners)]))
    lookup = Lookup(table, space.dimensions)
    found = {trials: replays(space, lookup, methods, trials, options) for trials in options.trials}
    lines = {trials: compare(each, lookup, table.rungs[-1]) for trials, each in found.items()}
    text = head(table, lookup, options)
    text += "".join(markdown(trials, each) for trials, each in lines.items())
    for kind in options.leave_out:
        text += left_out(kind, table, space, methods, options)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.plot:
        draw(options.plot, found[max(found)], lookup, table.rungs[-1])


def each_method(samplers: Iterable[str], pruners: Sequence[str]) -> list[Method]:
    return [(sampler, pruner) for sampler in samplers for pruner in pruners]


def on_table(space: Space, table: FuserTable, *, enqueue: bool) -> Space:
    """The space, with the table's rungs; without enqueued settings unless they are wanted."""
    last = table.rungs[-1]
    budget = {"steps": last, "rungs": tuple(rung / last for rung in table.rungs)}
    training = space.pipeline.training.model_copy(update=budget)
    pipeline = space.pipeline.model_copy(update={"training": training})
    update: dict[str, Any] = {"pipeline": pipeline}
    return space.model_copy(update=update if enqueue else {**update, "enqueue": ()})


def replays(
    space: Space,
    lookup: Lookup,
    methods: Sequence[Method],
    trials: int,
    options: argparse.Namespace,
) -> Found:
    """Every method's replays, spread over processes."""
    work = [(method, seed) for method in methods for seed in range(options.repeats)]
    one = partial(_replayed, space, lookup, trials)
    with ProcessPoolExecutor(options.jobs) as pool:
        done = list(pool.map(one, work, chunksize=max(1, options.repeats // 20)))
    found: Found = {method: [] for method in methods}
    for (method, _), each in zip(work, done, strict=True):
        found[method].append(each)
    return found


def _replayed(space: Space, lookup: Lookup, trials: int, work: tuple[Method, int]) -> Replayed:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (sampler, pruner), seed = work
    update = {"sampler": sampler, "pruner": pruner, "trials": trials}
    search = space.search.model_copy(update=update)
    return replay(space.model_copy(update={"search": search}), lookup, seed)


def compare(found: Found, lookup: Lookup, last: int) -> list[Line]:
    """A line a method, the lowest regret first."""
    goal = float(regrets(found[PLAIN], lookup.best)[:, -1].mean())
    plain = found[PLAIN][0].steps[-1]
    lines = []
    for method, each in found.items():
        ends = regrets(each, lookup.best)[:, -1]
        told = [one.covered for one in each if one.covered is not None]
        lines.append(
            Line(
                method,
                steps=float(np.mean([one.steps[-1] for one in each])),
                regret=_with_interval(ends),
                share=_share(over_steps(each, lookup.best, last, plain), goal),
                killed=false_kills(each, lookup.top),
                covered=sum(told) / len(told) if told else float("nan"),
            )
        )
    return sorted(lines, key=lambda line: line.regret[0])


def over_steps(replays: Sequence[Replayed], best: float, last: int, most: int) -> np.ndarray:
    """``(repeats, most // last)`` regret after each training's worth of steps."""
    known = regrets(replays, best)
    grid = np.arange(last, most + 1, last)
    rows = []
    for each, regret in zip(replays, known, strict=True):
        at = np.searchsorted(each.steps, grid, side="right") - 1
        rows.append(np.where(at < 0, best, regret[np.maximum(at, 0)]))
    return np.array(rows)


def _resampled(values: np.ndarray) -> np.ndarray:
    """``(RESAMPLES, ...)`` means over replays drawn with replacement."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    return np.stack([values[each].mean(axis=0) for each in drawn])


def _with_interval(values: np.ndarray) -> tuple[float, float, float]:
    low, high = np.quantile(_resampled(values), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def _share(curves: np.ndarray, goal: float) -> tuple[float | None, float | None, float | None]:
    """When a mean curve has come down to the goal, as a share of its length."""
    resampled = [_reached(curve, goal) for curve in _resampled(curves)]
    low, high = np.quantile([2.0 if one is None else one for one in resampled], [0.025, 0.975])
    ends = [None if one > 1 else float(one) for one in (low, high)]
    return _reached(curves.mean(axis=0), goal), ends[0], ends[1]


def _reached(curve: np.ndarray, goal: float) -> float | None:
    below = np.flatnonzero(curve <= goal + 1e-9)
    return None if not len(below) else (int(below[0]) + 1) / len(curve)


def left_out(
    kind: str,
    table: FuserTable,
    space: Space,
    methods: Sequence[Method],
    options: argparse.Namespace,
) -> str:
    """Whether methods rank alike on both halves of the fusers, or of the axes."""
    from scipy.stats import kendalltau

    trials = min(options.trials)
    ends = []
    for half in halves(kind, table, space):
        found = replays(*half, methods, trials, options)
        ends.append([regrets(found[one], half[1].best)[:, -1].mean() for one in methods])
    found_tau = kendalltau(*ends)
    rows = [
        f"| {' + '.join(method)} | {one:.3f} | {other:.3f} |"
        for method, one, other in zip(methods, *ends, strict=True)
    ]
    return (
        f"\nLeft out: half of the {kind}, {trials} trials. Kendall's tau between the two rankings "
        f"{found_tau.statistic:.2f} (p = {found_tau.pvalue:.2f}).\n\n"
        "| method | regret on one half | on the other |\n|---|--:|--:|\n" + "\n".join(rows) + "\n"
    )


def halves(kind: str, table: FuserTable, space: Space) -> list[tuple[Space, Lookup]]:
    """Two halves of a table, or the table seen by two halves of a space."""
    if kind == "fusers":
        parts = (table.fusers[start::2] for start in (0, 1))
        tables = [FuserTable(table.about, part) for part in parts]
        return [(space, Lookup(one, space.dimensions)) for one in tables]
    found = []
    for start in (0, 1):
        kept = set(list(space.dimensions)[start::2])
        for name in list(kept):  # a condition is of no use without what it is about
            kept |= space.dimensions[name].when.keys()
        dimensions = {name: each for name, each in space.dimensions.items() if name in kept}
        half = space.model_copy(update={"dimensions": dimensions, "enqueue": ()})
        found.append((half, Lookup(table, dimensions)))
    return found


def head(table: FuserTable, lookup: Lookup, options: argparse.Namespace) -> str:
    more = " --enqueue" if options.enqueue else ""
    return (
        f"{len(lookup.fusers)} fusers, {table.rungs[-1]} steps each, rungs {table.rungs}; "
        f"{options.repeats} replays. Best margin on test {lookup.best:.3f}, median "
        f"{np.median(lookup.worth):.3f}. Command: `python benchmarks/search.py --repeats "
        f"{options.repeats} --trials {' '.join(map(str, options.trials))}{more}`.\n"
    )


def markdown(trials: int, lines: Sequence[Line]) -> str:
    rows = [
        f"| {line.method[0]} | {line.method[1]} | {line.steps:,.0f} | {_written(line.regret)} "
        f"| {_written(line.share, '.2f')} | {line.killed:.2f} | {line.covered:.2f} |"
        for line in lines
    ]
    return (
        f"\n{trials} trials:\n\n| sampler | pruner | steps | regret | share of random's steps to "
        "random's regret | best twentieth stopped | drop as told |\n"
        "|---|---|--:|--:|--:|--:|--:|\n" + "\n".join(rows) + "\n"
    )


def _written(found: Sequence[float | None], form: str = ".3f") -> str:
    value, low, high = ("never" if one is None else format(one, form) for one in found)
    return f"{value} [{low}, {high}]"


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


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, default=FILE)
    parser.add_argument("--space", type=Path, default=ROOT / "spaces" / "names.yaml")
    parser.add_argument(
        "--samplers", nargs="+", default=["auto", "tpe", "qmc", "random"], choices=sorted(SAMPLERS)
    )
    parser.add_argument("--pruners", nargs="+", default=["none", "halving", "percentile"])
    parser.add_argument("--trials", type=int, nargs="+", default=[24, 48])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--enqueue", action="store_true", help="begin with the space's settings")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes")
    parser.add_argument("--leave-out", nargs="+", choices=["fusers", "axes"], default=[])
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too")
    parser.add_argument("--plot", type=Path, help="draw regret to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
