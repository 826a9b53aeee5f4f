"""Writes unseen questions about invented passages of any length, for `c2c-search eval`.

So a champion that learned from short passages can be asked about long ones, in which most
sentences are about others of the same kind. The questions are those of the private quiz's test
split at that length.

    python benchmarks/passages.py --sentences 24 --to passages.jsonl
    c2c-search eval mlruns/champions/private --tasks passages.jsonl --systems receiver,c2c,deranged
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from c2c_search.config.pipeline import load_pipeline
from c2c_search.data.private_quiz import private_rows
from c2c_search.data.schema import PrivateQuiz
from c2c_search.data.schema import Row


PIPELINE = Path(__file__).parents[1] / "pipelines" / "private.yaml"


def main() -> None:
    """Write the rows."""
    options = parse()
    known = load_pipeline(PIPELINE).data.private_quiz.model_dump()
    passages = {**known["passages"], "test": options.questions}
    quiz = PrivateQuiz.model_validate(
        {**known, "passages": passages, "sentences": options.sentences}
    )
    lines = [json.dumps(line(row)) for row in private_rows(quiz, "test")]
    options.to.write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
    print(f"{len(lines)} questions to {options.to}")


def line(row: Row) -> dict[str, object]:
    """A question as a line of a JSONL file has it."""
    return {
        "id": row["id"],
        "group": row["group"],
        "cluster": row["cluster"],
        "question": row["messages"][0]["content"],
        "choices": row["choices"],
        "answer": row["answer"],
        "sharer_context": row["sharer_messages"][0]["content"],
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sentences", type=int, default=24, help="of a passage")
    parser.add_argument("--questions", type=int, default=300, help="one about each passage")
    parser.add_argument("--to", type=Path, default=Path("passages.jsonl"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
