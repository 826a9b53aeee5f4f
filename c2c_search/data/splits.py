"""The three splits of a pipeline's data, checked to share no fact, and hashed."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from c2c_search.data.contamination import Contamination
from c2c_search.data.contamination import Text
from c2c_search.data.contamination import judged_text
from c2c_search.data.contamination import learnt_text
from c2c_search.data.contamination import overlap
from c2c_search.data.private_quiz import private_provenance
from c2c_search.data.private_quiz import private_rows
from c2c_search.data.quiz import quiz_provenance
from c2c_search.data.quiz import quiz_rows
from c2c_search.data.schema import SPLITS
from c2c_search.data.schema import ContaminationRule
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import Row
from c2c_search.data.schema import SplitName
from c2c_search.data.schema import features
from c2c_search.data.sources import file_provenance
from c2c_search.data.sources import read_files
from c2c_search.data.words import asked_key
from c2c_search.data.words import question_of
from c2c_search.errors import DataError


if TYPE_CHECKING:
    from datasets import Dataset


_SHOWN = 5


@dataclass(frozen=True)
class Splits:
    """The examples of a pipeline, in the canonical columns (see `schema.Row`).

    Args:
        train: To train on.
        validation: To compare trials on; every example has choices.
        test: To prove the champion on, once; every example has choices.
        hashes: sha256 of the canonical rows of each split, by name.
        provenance: What the rows were made from: library versions, or files with their sha256.
        contamination: Overlap of train with validation and test, before any limit.
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    hashes: dict[SplitName, str]
    provenance: dict[str, str]
    contamination: Contamination


def load_splits(config: DataConfig) -> Splits:
    """Make or read the data; the same config and sources give the same rows in the same order.

    Raises:
        DataError: Files or rows that do not fit, an empty split, examples without choices where
            choices are scored, an id, cluster or question that two splits share, or examples
            that overlap with validation or test where the config refuses them.
    """
    from datasets import Dataset

    if config.source == "quiz":
        rows = {split: quiz_rows(getattr(config.groups, split), split) for split in SPLITS}
        provenance = quiz_provenance()
    elif config.source == "private_quiz":
        rows = {split: private_rows(config.private_quiz, split) for split in SPLITS}
        provenance = private_provenance()
    else:
        rows = _file_rows(config)
        provenance = file_provenance(config.files)
    check_disjoint(rows)
    # Before the limits, so that what a smaller test leaves unseen does not come back into train.
    rows, contamination = decontaminate(rows, config.contamination)
    for split in SPLITS:
        rows[split] = spread(rows[split], getattr(config.limit, split), config.seed)
    _check_usable(rows)
    tables = {name: Dataset.from_list(list(rows[name]), features=features()) for name in SPLITS}
    hashes = {name: rows_hash(rows[name]) for name in SPLITS}
    return Splits(**tables, hashes=hashes, provenance=provenance, contamination=contamination)


def rows_hash(rows: Sequence[Row]) -> str:
    """sha256 (hex) of the rows, one canonical JSON line each."""
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def spread(rows: Sequence[Row], limit: int | None, seed: int) -> list[Row]:
    """At most ``limit`` rows, as evenly over the groups as these allow, in their old order."""
    if limit is None or limit >= len(rows):
        return list(rows)
    order = _shuffled_indices(len(rows), seed)
    groups: dict[str, list[int]] = defaultdict(list)
    for index in order:
        groups[rows[index]["group"]].append(index)
    # (turn, group) sorts the first of every group before the second of any.
    turns = [
        (turn, group, index)
        for group, members in groups.items()
        for turn, index in enumerate(members)
    ]
    return [rows[index] for index in sorted(index for _, _, index in sorted(turns)[:limit])]


def hold_out(
    rows: Sequence[Row], shares: Mapping[SplitName, float], seed: int
) -> dict[SplitName, list[Row]]:
    """Move whole clusters of multiple-choice rows out of train.

    Args:
        rows: The rows of the train files.
        shares: The share of the multiple-choice rows that each split should get.
        seed: Decides which clusters move.

    Returns:
        Rows by split, in their old order; a cluster is never divided, so a split may get a few
        rows less than its share.
    """
    clusters: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        clusters[row["cluster"]].append(row)
    scorable = [name for name, members in clusters.items() if all(r["choices"] for r in members)]
    total = sum(len(clusters[name]) for name in scorable)
    room = {split: int(share * total) for split, share in shares.items()}
    home: dict[str, SplitName] = {}
    for index in _shuffled_indices(len(scorable), seed):
        size = len(clusters[scorable[index]])
        for split in room:
            if size <= room[split]:
                room[split] -= size
                home[scorable[index]] = split
                break
    divided: dict[SplitName, list[Row]] = {split: [] for split in ("train", *shares)}
    for row in rows:
        divided[home.get(row["cluster"], "train")].append(row)
    return divided


def decontaminate(
    rows: Mapping[SplitName, Sequence[Row]], rule: ContaminationRule
) -> tuple[dict[SplitName, list[Row]], Contamination]:
    """Compare train with validation and test, and do with what overlaps as the rule says.

    Returns:
        The rows, those of train that overlap left out if the rule is ``exclude``, and what was
        found.

    Raises:
        DataError: Something overlaps and the rule is ``refuse``, or no training row is left.
    """
    kept = {split: list(rows[split]) for split in SPLITS}
    tests: dict[str, list[Text]] = {}
    for split in SPLITS[1:]:
        tests[split] = [judged_text(row) for row in rows[split]]
    contamination = overlap(map(learnt_text, rows["train"]), tests)
    if not contamination.found or rule == "report":
        return kept, contamination
    if rule == "refuse":
        raise DataError(
            "Training examples must not overlap with what is judged. "
            f"{contamination.finding()}\n{contamination.listing(_SHOWN)}",
            hint="\nRemove these examples, or set data.contamination to exclude.",
        )
    overlapping = set(contamination.overlapping)
    kept["train"] = [row for row in kept["train"] if row["id"] not in overlapping]
    contamination = contamination.model_copy(update={"left_out": "examples"})
    if not kept["train"]:
        raise DataError(
            "A training example must be left that does not overlap with what is judged. "
            f"{contamination.finding()}\n{contamination.listing(_SHOWN)}",
            hint="\nIf they share no more than a long instruction, set data.contamination to "
            "report.",
        )
    return kept, contamination


def check_disjoint(rows: Mapping[SplitName, Sequence[Row]]) -> None:
    """Check that no id, cluster or question is in two splits.

    Between validation and test, on which is chosen and which is reported, a question is the same
    also in other case, punctuation or spaces; train's are for `decontaminate`.

    Raises:
        DataError: With every kind of crossing and a few examples of each.
    """
    kinds: dict[str, Callable[[Row], str]] = {
        "id": lambda row: row["id"],
        "cluster": lambda row: row["cluster"],
        "question": question_of,
    }
    crossings = []
    for one, other in combinations(rows, 2):
        strict = "train" not in (one, other)
        for kind, of in (kinds | {"question": asked_key} if strict else kinds).items():
            here = {of(row): row["id"] for row in rows[one]}
            there = {of(row): row["id"] for row in rows[other]}
            shared = [value for value in here if value in there]
            if shared:
                pairs = ", ".join(f"{here[v]} = {there[v]}" for v in shared[:_SHOWN])
                crossings.append(
                    f"{one} and {other} share {len(shared)} {kind}(s), such as those of {pairs}"
                )
    if crossings:
        raise DataError(
            "Splits must not share ids, clusters or questions:\n  " + "\n  ".join(crossings),
            hint="\nRemove these rows from one of the two files.",
        )


def _shuffled_indices(count: int, seed: int) -> list[int]:
    generator = random.Random(f"c2c-search splits {seed}")
    return sorted(range(count), key=lambda _: generator.random())


def _file_rows(config: DataConfig) -> dict[SplitName, list[Row]]:
    given = {split: getattr(config.files, split) for split in SPLITS}
    rows = read_files({split: paths for split, paths in given.items() if paths})
    missing = {split: getattr(config.holdout, split) for split in SPLITS if split not in rows}
    # Before holding out, so that a crossing is told in the names of the user's own files.
    check_disjoint(rows)
    if missing:
        rows |= hold_out(rows["train"], missing, config.seed)
    return {split: rows[split] for split in SPLITS}


def _check_usable(rows: Mapping[SplitName, Sequence[Row]]) -> None:
    for split in SPLITS:
        if not rows[split]:
            raise DataError(
                f"The {split} split must have at least one example.",
                hint="Give it more files or groups, or a larger share of train's "
                "multiple-choice examples.",
            )
    for split in SPLITS[1:]:
        open_rows = [row["id"] for row in rows[split] if not row["choices"]]
        if open_rows:
            raise DataError(
                f"Every {split} example needs choices, since they are what is scored; "
                f"{len(open_rows)} have none.",
                value=open_rows[:_SHOWN],
                hint="Train on them, and give multiple-choice examples here.",
            )
