"""How far a guess by length alone gets on the quickstart's questions, without any model.

Names of a country are long or short in every language, so the option whose length is closest to
the foreign name's is right more often than one in four:

    python benchmarks/quiz_giveaway.py
"""

from __future__ import annotations

import re

from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import Row
from c2c_search.data.splits import load_splits


def guess(row: Row) -> int:
    """The option whose length is closest to that of the quoted name; the first of several."""
    question = row["messages"][-1]["content"]
    found = re.search(r"'(.+)'", question)
    assert found is not None, question
    distances = [abs(len(choice) - len(found[1])) for choice in row["choices"]]
    return distances.index(min(distances))


def main() -> None:
    """Print the share of right guesses on each split."""
    splits = load_splits(DataConfig())
    for name in ("train", "validation", "test"):
        rows = list(getattr(splits, name))
        right = sum(guess(row) == row["answer"] for row in rows)
        print(f"{name:>10}: {right / len(rows):.3f} of {len(rows)} questions")


if __name__ == "__main__":
    main()
