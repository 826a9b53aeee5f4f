"""The three splits of a pipeline's data, checked to share no fact, and hashed."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2c_search.data.contamination import Contamination
from c2c_search.data.contamination import overlap
from c2c_search.data.private_quiz import private_provenance
from c2c_search.data.private_quiz import private_rows
from c2c_search.data.quiz import quiz_provenance
from c2c_search.data.quiz import quiz_rows
from c2c_search.data.reconstruction import judged_texts
from c2c_search.data.reconstruction import learnt_texts
from c2c_search.data.reconstruction import read_texts
from c2c_search.data.schema import EVERY_SPLIT
from c2c_search.data.schema import SPLITS
from c2c_search.data.schema import WITH_GUARD
from c2c_search.data.schema import ContaminationRule
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import Row
from c2c_search.data.schema import SplitName
from c2c_search.data.schema import features
from c2c_search.data.sources import Notify
from c2c_search.data.sources import file_provenance
from c2c_search.data.sources import read_files
from c2c_search.data.texts import Text
from c2c_search.data.texts import judged_text
from c2c_search.data.texts import learnt_text
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
        selection: Overlap of validation with test, before any limit.
        guard: Rows of other tasks that a fuser must not spoil; None where no file holds any.
        guarded: Their overlap with validation and test, before any limit.
        reconstruction: Texts to reconstruct; None where no file holds any.
        reconstructed: Their overlap with validation and test, the sharer's documents included,
            before any limit.
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    hashes: dict[SplitName, str]
    provenance: dict[str, str]
    contamination: Contamination
    selection: Contamination
    guard: Dataset | None = None
    guarded: Contamination | None = None
    reconstruction: Dataset | None = None
    reconstructed: Contamination | None = None

    @property
    def learnt(self) -> list[Row]:
        """All rows that a fuser may be trained on."""
        return [*self.train, *(self.guard or ()), *(self.reconstruction or ())]


def load_splits(config: DataConfig, *, notify: Notify | None = None) -> Splits:
    """Make or read the data; the same config and sources give the same rows in the same order.

    Args:
        config: Which data.
        notify: Told what is most likely a mistake in the files; see `Doubts`.

    Raises:
        DataError: Files or rows that do not fit, an id that two rows have, an empty split,
            examples without choices where choices are scored, or examples that overlap with
            what is judged where the config refuses them.
    """
    from datasets import Dataset

    rows, found = split_rows(config, notify=notify)
    provenance = _provenance(config)
    tables = {
        name: Dataset.from_list([{"draft": "", **row} for row in rows[name]], features=features())
        for name in rows
    }
    hashes = {name: rows_hash(rows[name]) for name in rows}
    return Splits(
        **tables,
        hashes=hashes,
        provenance=provenance,
        contamination=found["train"],
        selection=found["validation"],
        guarded=found.get("guard"),
        reconstructed=found.get("reconstruction"),
    )


def _provenance(config: DataConfig) -> dict[str, str]:
    match config.source:
        case "quiz":
            return quiz_provenance()
        case "private_quiz":
            return private_provenance()
        case "jsonl":
            return file_provenance(config.files)


def split_rows(
    config: DataConfig, *, notify: Notify | None = None
) -> tuple[dict[SplitName, list[Row]], dict[SplitName, Contamination]]:
    """The rows of `load_splits` as plain Python, for whom tables are not worth `datasets`.

    Raises:
        DataError: As `load_splits` does.
    """
    rows = _file_rows(config, notify)
    if config.source == "quiz":
        rows |= {split: quiz_rows(getattr(config.groups, split), split) for split in SPLITS}
    elif config.source == "private_quiz":
        rows |= {split: private_rows(config.private_quiz, split) for split in SPLITS}
    # Before the limits, so that what a smaller test leaves unseen does not come back into train.
    rows, found = decontaminate(rows, config.contamination)
    for split in rows:
        rows[split] = spread(rows[split], getattr(config.limit, split), config.seed)
    _check_usable(rows)
    return {split: rows[split] for split in EVERY_SPLIT if split in rows}, found


def rows_hash(rows: Sequence[Row]) -> str:
    """sha256 (hex) of the rows, one canonical JSON line each, without drafts that are empty."""
    digest = hashlib.sha256()
    for row in rows:
        columns = {name: value for name, value in row.items() if name != "draft" or value}
        line = json.dumps(columns, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
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
) -> tuple[dict[SplitName, list[Row]], dict[SplitName, Contamination]]:
    """Do as the rule says with what overlaps: train with what is judged, validation with test.

    Rows to guard and texts to reconstruct are treated as train's are: they are learned from, too.

    Both are compared as they came, so that a training row also goes if all that ties it to a
    test item is a validation row that goes.

    Returns:
        The rows, those of train and of validation that overlap left out if the rule is
        ``exclude``, and what was found of each of the two.

    Raises:
        DataError: Something overlaps and the rule is ``refuse``, or no row of a split is left.
    """
    kept = {split: list(of_split) for split, of_split in rows.items()}
    found = _overlaps(rows)
    overlaps = [each for each in found.values() if each.found]
    if rule == "refuse" and overlaps:
        shown = "\n".join(f"{each.finding()}\n{each.listing(_SHOWN)}" for each in overlaps)
        raise DataError(
            "Training examples must not overlap with what is judged, nor validation examples "
            f"with test items. {shown}",
            hint="\nRemove these examples, or set data.contamination to exclude.",
        )
    if rule == "exclude":
        for split, each in found.items():
            overlapping = set(each.overlapping)
            kept[split] = [row for row in kept[split] if row["id"] not in overlapping]
            found[split] = each.model_copy(update={"left_out": "examples"})
            if overlapping and not kept[split]:
                article = "A training" if split == "train" else f"A {split}"
                raise DataError(
                    f"{article} example must be left that does not overlap with what is judged. "
                    f"{each.finding()}\n{each.listing(_SHOWN)}",
                    hint="\nIf they share no more than a long instruction, set "
                    "data.contamination to report.",
                )
    return kept, found


def _overlaps(rows: Mapping[SplitName, Sequence[Row]]) -> dict[SplitName, Contamination]:
    judged: dict[str, list[Text]]
    judged = {split: [judged_text(row) for row in rows[split]] for split in SPLITS[1:]}
    found: dict[SplitName, Contamination] = {}
    if "reconstruction" in rows:
        texts = learnt_texts(rows["reconstruction"])
        found["reconstruction"] = overlap(texts, judged_texts(rows), what="texts to reconstruct")
    if "guard" in rows:
        found["guard"] = overlap(map(learnt_text, rows["guard"]), judged, what="guard examples")
    return found | {
        "train": overlap(map(learnt_text, rows["train"]), judged, what="training examples"),
        "validation": overlap(
            map(learnt_text, rows["validation"]),
            {"test": judged["test"]},
            what="validation examples",
        ),
    }


def _shuffled_indices(count: int, seed: int) -> list[int]:
    generator = random.Random(f"c2c-search splits {seed}")
    return sorted(range(count), key=lambda _: generator.random())


def _file_rows(config: DataConfig, notify: Notify | None) -> dict[SplitName, list[Row]]:
    given = {split: getattr(config.files, split) for split in WITH_GUARD}
    rows = read_files({split: paths for split, paths in given.items() if paths}, notify=notify)
    if config.files.reconstruction:
        rows["reconstruction"] = read_texts(config.files.reconstruction)
    if config.source != "jsonl":
        return rows
    missing = {split: getattr(config.holdout, split) for split in SPLITS if split not in rows}
    if missing:
        rows |= hold_out(rows["train"], missing, config.seed)
    return {split: rows[split] for split in EVERY_SPLIT if split in rows}


def _check_usable(rows: Mapping[SplitName, Sequence[Row]]) -> None:
    for split in rows:
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
