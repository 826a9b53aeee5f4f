"""Samplers and pruners compared on the table of fusers: regret against trials and steps.

Every sampler and pruner that is named runs its studies on the table (see replay.py); nothing is
trained. Regret is how much the champion's margin on test lies below the best fuser's of the
table; the champion is chosen on validation, as a study chooses it. All methods share the replays'
seeds: validation sets and trainings are the same.

    python benchmarks/search.py --samplers auto random --pruners halving none --trials 24 48
    python benchmarks/search.py --seconds 150 --leave-out fusers axes \
        --plot docs/images/search.png --write docs/search.md

The last one is what docs/search.md says of the table: it writes tables, plot and what follows
from them between that page's marks. With --seconds no replay begins after so many: as many as
that leaves are told, the same seeds of every method.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from comparison import PLAIN
from comparison import Found
from comparison import Method
from comparison import compare
from comparison import mean_regret
from comparison import signal
from replay import Lookup
from replay import Replayed
from replay import ToldDrop
from replay import replay
from search_page import draw
from search_page import drops_told
from search_page import head
from search_page import left_out_told
from search_page import markdown
from search_page import verdict
from search_page import write_between

from c2c_search.host.threads import usable_cores
from c2c_search.space.samplers import SAMPLERS
from c2c_search.space.schema import Space
from c2c_search.testing.tabled_fusers import FILE
from c2c_search.testing.tabled_fusers import FuserTable
from c2c_search.testing.tabled_fusers import fuser_table


ROOT = Path(__file__).parents[1]
DEFAULT: Method = ("auto", "halving")
FEWEST = 5
"""Replays of each method, however long they take."""
ALIKE = ("random", "qmc", "tpe", "tpe_multivariate", "tpe_hierarchical")
"""Samplers whose suggestions are the same whatever the number of trials: their replays with the
most of them are those with fewer, too."""
SHARES = {"search": 0.5, "drops": 0.2, "fusers": 0.15, "axes": 0.15}
"""Of the time that replays may take."""


def main() -> None:
    """Replay, and print, write and draw what was found."""
    options = parse()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = fuser_table(options.table)
    space = on_table(Space.load(options.space), table, enqueue=options.enqueue)
    methods = list(dict.fromkeys([PLAIN, *each_method(options.samplers, options.pruners)]))
    lookup = Lookup(table, space.dimensions)
    found = replays(space, lookup, methods, options.trials, options)
    last = table.rungs[-1]
    lines = {trials: compare(each, lookup, last) for trials, each in found.items()}
    parts = [head(table, lookup, signal(lookup), command(), len(found[max(found)][PLAIN]))]
    parts += [markdown(trials, each) for trials, each in lines.items()]
    parts.append(drops_told(drops(space, lookup, methods, options)))
    parts += [left_out(kind, table, space, methods, options) for kind in options.leave_out]
    parts.append(verdict(lines, signal(lookup), DEFAULT))
    if options.plot:
        draw(options.plot, found[max(found)], lookup, last)
    text = "\n".join(parts)
    print(text)
    if options.write:
        write_between(options.write, text, options.plot)


def command() -> str:
    """What was typed, but for where it wrote to."""
    typed = " ".join(["python benchmarks/search.py", *sys.argv[1:]])
    return re.sub(r" --(write|plot) \S+", "", typed)


def each_method(samplers: Iterable[str], pruners: Sequence[str]) -> list[Method]:
    return [(sampler, pruner) for sampler in samplers for pruner in pruners]


def on_table(space: Space, table: FuserTable, *, enqueue: bool) -> Space:
    """The space, with the table's rungs; without enqueued settings unless they are wanted.

    What a study maximises is its first objective alone, by which regret is told.
    """
    last = table.rungs[-1]
    budget = {"steps": last, "rungs": tuple(rung / last for rung in table.rungs)}
    training = space.pipeline.training.model_copy(update=budget)
    pipeline = space.pipeline.model_copy(update={"training": training})
    alone = {"objective": space.search.leading, "objectives": None, "choose": None}
    search = space.search.model_copy(update=alone)
    update: dict[str, Any] = {"pipeline": pipeline, "search": search}
    return space.model_copy(update=update if enqueue else {**update, "enqueue": ()})


def replays(
    space: Space,
    lookup: Lookup,
    methods: Sequence[Method],
    trials: Sequence[int],
    options: argparse.Namespace,
    *,
    part: str = "search",
) -> dict[int, Found]:
    """Every method's replays with each number of trials, spread over processes.

    Args:
        space: On the table.
        lookup: The table.
        methods: To replay.
        trials: Numbers of them.
        options: Of the program.
        part: What it is for, of `SHARES`; ``drops`` replays by halves.
    """
    most = max(trials)
    work = [
        (method, number)
        for method in methods
        for number in sorted(trials)
        if number == most or method[0] not in ALIKE or part == "drops"
    ]
    one = partial(_replayed, space, lookup, part == "drops")
    until = time.monotonic() + SHARES[part] * options.seconds
    known: dict[tuple[Method, int], list[Replayed]] = {each: [] for each in work}
    with ExitStack() as stack:
        each_of: Any = map
        if options.jobs > 1:
            each_of = stack.enter_context(ProcessPoolExecutor(options.jobs)).map
        for seed in range(options.repeats):
            if seed >= FEWEST and time.monotonic() > until:
                break
            for each, done in zip(work, each_of(partial(one, seed), work), strict=True):
                known[each].append(done)
    return {
        number: {
            method: [
                done.first(number)
                for done in known[method, number if (method, number) in known else most]
            ]
            for method in methods
        }
        for number in sorted(trials)
    }


def _replayed(
    space: Space, lookup: Lookup, halved: bool, seed: int, work: tuple[Method, int]
) -> Replayed:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (sampler, pruner), trials = work
    update = {"sampler": sampler, "pruner": pruner, "trials": trials}
    search = space.search.model_copy(update=update)
    return replay(space.model_copy(update={"search": search}), lookup, seed, halved=halved)


def drops(
    space: Space, lookup: Lookup, methods: Sequence[Method], options: argparse.Namespace
) -> dict[tuple[Method, int], list[ToldDrop]]:
    """What chance, and the default, told of their champions' drops, by method and trials."""
    chosen = [method for method in methods if method in (PLAIN, DEFAULT)]
    found = replays(space, lookup, chosen, [min(options.trials)], options, part="drops")
    return {
        (method, trials): [one.drop for one in each if one.drop is not None]
        for trials, by_method in found.items()
        for method, each in by_method.items()
    }


def left_out(
    kind: str,
    table: FuserTable,
    space: Space,
    methods: Sequence[Method],
    options: argparse.Namespace,
) -> str:
    """Whether methods rank alike on both halves of the fusers, or of the axes."""
    trials = min(options.trials)
    ends = []
    for half in halves(kind, table, space):
        found = replays(*half, methods, [trials], options, part=kind)[trials]
        ends.append([mean_regret(found[one], half[1].best) for one in methods])
    return left_out_told(kind, trials, methods, ends)


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


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, default=FILE)
    parser.add_argument("--space", type=Path, default=ROOT / "spaces" / "names.yaml")
    parser.add_argument(
        "--samplers", nargs="+", default=["auto", "random"], choices=sorted(SAMPLERS)
    )
    parser.add_argument("--pruners", nargs="+", default=["none", "halving", "percentile"])
    parser.add_argument("--trials", type=int, nargs="+", default=[24, 48])
    parser.add_argument("--repeats", type=int, default=100, help="replays of each, at most")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for replays, about")
    parser.add_argument("--enqueue", action="store_true", help="begin with the space's settings")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes")
    parser.add_argument("--leave-out", nargs="+", choices=["fusers", "axes"], default=[])
    parser.add_argument("--write", type=Path, help="a page that has marks for what is found")
    parser.add_argument("--plot", type=Path, help="draw regret to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
