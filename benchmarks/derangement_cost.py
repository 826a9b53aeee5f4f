"""The part of a study's time that answering validation with the wrong messages takes.

A study's own records tell it: each training knows the seconds of its parts, and ``derange`` is
what A_D took at all of its rungs. The whole is the time of all trainings, twins and references
included, without preparation and test, so that the share is an upper bound of the study's:

    python benchmarks/derangement_cost.py mlruns/trials/quickstart
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from c2c_search.training.protocol import Trained


def main() -> None:
    options = parse()
    found = cost(options.study)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for part, took in found["seconds"].items():
        print(f"{part:>12}: {took:8.1f} s")
    print(f"{100 * found['share']:8.1f} % of {found['trainings']} trainings' time is A_D's")


def cost(study: Path) -> dict[str, Any]:
    """What the trainings of a study took.

    Args:
        study: Its folder, e.g. ``mlruns/trials/quickstart``.

    Raises:
        SystemExit: No training of it has ended.
    """
    files = sorted((study / "results" / "trained").glob("*.json"))
    if not files:
        raise SystemExit(f"no training has ended in {study}")
    seconds: Counter[str] = Counter()
    for file in files:
        seconds.update(Trained.model_validate_json(file.read_text(encoding="utf-8")).seconds)
    return {
        "trainings": len(files),
        "seconds": dict(seconds),
        "share": seconds["derange"] / seconds.total(),
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("study", type=Path, help="folder of the study, below ROOT/trials")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
