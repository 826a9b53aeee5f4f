"""Whether a share of validation kept for finalists chooses better champions than all of it.

Trials are drawn at random from the table of fusers, with its noise: how their margins differ from
block to block of validation, blocks drawn with replacement. What they are worth is made up, with
a known spread, so that the best is known. Then a champion is chosen

- by all of validation, as `finalists` does; or
- by a share of it, with which the best few become finalists, and among these by what was kept:
  alone, or together with the share.

    python benchmarks/second_fold.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from c2c_search.champion.select import Candidate
from c2c_search.champion.select import finalists
from c2c_search.evaluation.guard import SELECTION
from c2c_search.testing.tabled_fusers import FILE
from c2c_search.testing.tabled_fusers import fuser_table


FINALISTS = 3
WAYS = ("all of it", "kept alone", "kept, with the share")


def main() -> None:
    """Print what each way's champion is worth below the best trial, by the spread of worths."""
    options = parse()
    table = fuser_table(options.table)
    blocks = np.array(
        [
            training.rungs[-1].blocks
            for fuser in table.fusers
            for training in fuser.trainings
            if training.failure is None
        ]
    )
    print(f"| spread | {' | '.join(WAYS)} |\n|--:|{'--:|' * len(WAYS)}")
    for spread in options.spreads:
        lost = np.array([once(blocks, spread, options, seed) for seed in range(options.repeats)])
        error = lost.std(axis=0, ddof=1) / len(lost) ** 0.5
        told = [
            f"{mean:.4f} ± {1.96 * each:.4f}"
            for mean, each in zip(lost.mean(axis=0), error, strict=True)
        ]
        print(f"| {spread:g} | {' | '.join(told)} |")


def once(
    blocks: np.ndarray, spread: float, options: argparse.Namespace, seed: int
) -> tuple[float, ...]:
    """Worth that each way's champion lacks to the best trial's.

    Args:
        blocks: ``(trainings, blocks)`` margins.
        spread: Standard deviation of made-up worths.
        options: Trials, and the share that is kept.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    drawn = blocks[rng.integers(len(blocks), size=options.trials)]
    # Alike but for noise, which the blocks of each keep: what is true of them is made up.
    noise = drawn - drawn.mean(axis=1, keepdims=True)
    worth = rng.normal(0, spread, options.trials)
    seen = noise[:, rng.integers(blocks.shape[1], size=blocks.shape[1])] + worth[:, None]
    kept = max(1, round(options.kept * seen.shape[1]))
    share, fold = seen[:, kept:], seen[:, :kept]
    few = _chosen(share, FINALISTS)
    found = (
        _chosen(seen, 1)[0],
        max(few, key=lambda trial: fold[trial].mean()),
        max(few, key=lambda trial: seen[trial].mean()),
    )
    return tuple(float(worth.max() - worth[trial]) for trial in found)


def _chosen(scores: np.ndarray, count: int) -> list[int]:
    candidates = [
        Candidate(number, float(row.mean()), 1, SELECTION, blocks=tuple(map(float, row)))
        for number, row in enumerate(scores)
    ]
    return [one.number for one in finalists(candidates, count)]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, default=FILE)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--kept", type=float, default=0.3, help="share kept for finalists")
    parser.add_argument("--spreads", type=float, nargs="+", default=[0.01, 0.03, 0.1])
    parser.add_argument("--repeats", type=int, default=2000)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
