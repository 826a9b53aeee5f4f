"""Splits are disjoint, sized as asked, and the same each time."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.config.pipeline import load_pipeline
from c2c_search.data.quiz import quiz_rows
from c2c_search.data.schema import SPLITS
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import Row
from c2c_search.data.schema import SplitFiles
from c2c_search.data.schema import SplitName
from c2c_search.data.schema import features
from c2c_search.data.splits import decontaminate
from c2c_search.data.splits import hold_out
from c2c_search.data.splits import load_splits
from c2c_search.data.splits import rows_hash
from c2c_search.data.splits import spread
from c2c_search.errors import DataError


SHARED = Path(__file__).parents[3] / "shared" / "data"
QUICKSTART = Path(__file__).parents[2] / "pipelines" / "quickstart.yaml"
SMALL = {split: ["capital/of", "country/th"] for split in SPLITS}


def row(number: int, group: str = "g", cluster: str = "", *, open_: bool = False) -> Row:
    return Row(
        id=str(number),
        group=group,
        cluster=cluster or str(number),
        messages=[{"role": "user", "content": f"Question {number}?"}],
        sharer_messages=[],
        response="yes",
        choices=[] if open_ else ["yes", "no"],
        answer=-1 if open_ else 0,
    )


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Up to 40 rows of a few groups and clusters, some of them open."""
    kinds = st.tuples(st.sampled_from("abc"), st.integers(0, 15), st.booleans())
    drawn = draw(st.lists(kinds, max_size=40))
    return [
        row(number, group, f"c{cluster}", open_=open_)
        for number, (group, cluster, open_) in enumerate(drawn)
    ]


@given(tables(), st.integers(1, 50), st.integers(0, 3))
def test_a_limit_is_kept_and_spread_evenly(rows: list[Row], limit: int, seed: int) -> None:
    taken = spread(rows, limit, seed)
    assert taken == spread(rows, limit, seed)
    assert len(taken) == min(limit, len(rows))
    assert [r["id"] for r in taken] == sorted((r["id"] for r in taken), key=int)
    had, got = (Counter(r["group"] for r in some) for some in (rows, taken))
    fullest = max(got.values(), default=0)
    # A group with fewer than another has given all it had, but for the last turn.
    assert all(got[group] >= min(had[group], fullest - 1) for group in had)


def test_the_seed_decides_what_a_limit_takes() -> None:
    rows = [row(number) for number in range(50)]
    assert spread(rows, 10, 0) != spread(rows, 10, 1)


@given(tables(), st.floats(0.01, 0.4), st.floats(0.01, 0.4), st.integers(0, 3))
def test_holding_out_divides_no_cluster(
    rows: list[Row], validation: float, test: float, seed: int
) -> None:
    shares = {"validation": validation, "test": test}
    divided = hold_out(rows, shares, seed)
    assert divided == hold_out(rows, shares, seed)
    clusters = [{r["cluster"] for r in part} for part in divided.values()]
    assert len(set().union(*clusters)) == sum(map(len, clusters))
    together = [r for split in divided.values() for r in split]
    assert sorted(together, key=lambda r: int(r["id"])) == rows
    for split, share in shares.items():
        assert all(r["choices"] for r in divided[split])
        assert len(divided[split]) <= share * len(rows)


def test_shares_are_met_when_clusters_are_single() -> None:
    divided = hold_out([row(n) for n in range(100)], {"validation": 0.1, "test": 0.2}, 0)
    assert {split: len(rows) for split, rows in divided.items()} == {
        "train": 70,
        "validation": 10,
        "test": 20,
    }


def test_quiz_splits_have_the_canonical_columns() -> None:
    splits = load_splits(DataConfig(groups=SMALL))
    for name in SPLITS:
        table = getattr(splits, name)
        assert table.features == features()
        assert rows_hash(list(table)) == splits.hashes[name]
    assert "babel" in splits.provenance


def test_the_same_config_gives_the_same_hashes() -> None:
    config = DataConfig(groups=SMALL, limit={"train": 20, "test": 9})
    one, two = load_splits(config), load_splits(config)
    assert one.hashes == two.hashes
    assert len(one.train) == 20
    assert Counter(one.test["group"]) == {"capital/of": 5, "country/th": 4}
    other = load_splits(config.model_copy(update={"seed": 1}))
    assert other.hashes["train"] != one.hashes["train"]
    assert other.hashes["validation"] == one.hashes["validation"]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def choice(number: int) -> dict[str, Any]:
    return {"question": f"Question {number}?", "choices": ["yes", "no"], "answer": 0}


def from_files(**files: str) -> DataConfig:
    return DataConfig.model_validate({"source": "jsonl", "files": files})


def test_the_quickstart_has_no_overlap_and_stays_as_it_is() -> None:
    """Its questions are one template; that alone must not leave an example out."""
    data = load_pipeline(QUICKSTART).data
    assert data.contamination == "exclude"
    splits = load_splits(data)
    assert splits.contamination.overlapping == ()
    assert splits.contamination.examples == len(splits.train) == 1650
    for split in SPLITS:
        assert splits.hashes[split] == rows_hash(quiz_rows(getattr(data.groups, split), split))


# Thirteen words.
PASSAGE = "the moon goes around the earth once in about twenty seven point three"


def overlapping(tmp_path: Path, rule: str = "exclude", **more: Any) -> DataConfig:
    """Of forty training questions, 7 is a test question and 8 shares a passage with validation."""
    train = [choice(n) for n in range(40)]
    train[7]["question"] = "QUESTION 50"
    train[8]["question"] = f"They say: {PASSAGE} days."
    validation = [choice(n) for n in range(60, 65)]
    validation[0]["question"] = f"True or not? {PASSAGE} days."
    paths = {
        "train": write(tmp_path / "a.jsonl", train),
        "validation": write(tmp_path / "b.jsonl", validation),
        "test": write(tmp_path / "c.jsonl", [choice(n) for n in range(50, 55)]),
    }
    given = {"source": "jsonl", "files": paths, "contamination": rule, **more}
    return DataConfig.model_validate(given)


def test_training_examples_that_overlap_are_left_out(tmp_path: Path) -> None:
    splits = load_splits(overlapping(tmp_path))
    assert [len(getattr(splits, split)) for split in SPLITS] == [38, 5, 5]
    assert not {"a/a:8", "a/a:9"} & set(splits.train["id"])
    found = splits.contamination
    assert found.overlapping == ("a/a:8", "a/a:9")
    assert [match.item for match in found.sets["test"].exact] == ["c/c:1"]
    assert [match.ngram for match in found.sets["validation"].ngram] == [PASSAGE]
    assert found.left_out == "examples"


def test_a_limit_is_filled_with_examples_that_do_not_overlap(tmp_path: Path) -> None:
    splits = load_splits(overlapping(tmp_path, limit={"train": 38, "test": 1}))
    # Question 50 is not among the tested any more, and still left out.
    assert len(splits.train) == 38
    assert not {"a/a:8", "a/a:9"} & set(splits.train["id"])


def test_training_examples_that_overlap_can_be_kept(tmp_path: Path) -> None:
    splits = load_splits(overlapping(tmp_path, "report"))
    assert len(splits.train) == 40
    assert splits.contamination.overlapping == ("a/a:8", "a/a:9")
    assert splits.contamination.sentence().endswith(" All are kept.")


def test_training_examples_that_overlap_can_be_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load_splits(overlapping(tmp_path, "refuse"))
    assert f"a/a:9 and validation item b/b:1 share '{PASSAGE}'" in str(error.value)
    assert "a/a:8 and test item c/c:1 ask the same" in str(error.value)
    assert "set data.contamination to exclude" in str(error.value)


def test_nothing_is_refused_where_nothing_overlaps() -> None:
    config = DataConfig(groups=SMALL, contamination="refuse")
    assert not load_splits(config).contamination.found


def test_leaving_out_every_training_example_is_refused(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [choice(1)])
    judged = [
        write(tmp_path / f"{n}.jsonl", [choice(n) | {"question": text}])
        for n, text in enumerate(["QUESTION 1", "Question 9"])
    ]
    config = from_files(train=train, validation=judged[0], test=judged[1])
    with pytest.raises(DataError, match="A training example must be left"):
        load_splits(config)


def crossing() -> dict[SplitName, list[Row]]:
    """Train 1 is of test 11's cluster, 2 asks validation 22; validation 23 asks test 12."""
    return {
        "train": [row(1, cluster="fact"), row(2), row(3)],
        "validation": [row(2) | {"id": "22", "cluster": "22"}, asks(23, "QUESTION 12"), row(24)],
        "test": [row(11, cluster="fact"), row(12)],
    }


def asks(number: int, question: str) -> Row:
    return row(number) | {"messages": [{"role": "user", "content": question}]}


def ids(rows: dict[SplitName, list[Row]]) -> dict[str, list[str]]:
    return {split: [r["id"] for r in rows[split]] for split in SPLITS}


def test_crossings_leave_train_and_then_validation() -> None:
    kept, found = decontaminate(crossing(), "exclude")
    assert ids(kept) == {"train": ["3"], "validation": ["22", "24"], "test": ["11", "12"]}
    assert found["train"].sentence() == (
        "2 of 3 training examples overlap with 1 of 3 validation items (1 by the same question, "
        "0 by 13 words in a row) and 1 of 2 test items (0 by the same question, 0 by 13 words in "
        "a row, 1 by cluster). These examples are left out."
    )
    assert found["validation"].sentence() == (
        "1 of 3 validation examples overlap with 1 of 2 test items (1 by the same question, 0 by "
        "13 words in a row). These examples are left out."
    )


def test_crossings_can_be_kept_and_told() -> None:
    kept, found = decontaminate(crossing(), "report")
    assert kept == crossing()
    assert [each.overlapping for each in found.values()] == [("1", "2"), ("23",)]
    assert all(each.sentence().endswith(" All are kept.") for each in found.values())


def test_every_crossing_is_named_where_they_are_refused() -> None:
    with pytest.raises(DataError) as error:
        decontaminate(crossing(), "refuse")
    assert "\n  1 and test item 11 are of cluster 'fact'" in str(error.value)
    assert "\n  2 and validation item 22 ask the same" in str(error.value)
    assert "\n  23 and test item 12 ask the same" in str(error.value)


def test_what_ties_a_training_row_to_test_may_be_a_row_that_goes() -> None:
    rows = crossing()
    rows["train"] = [row(3), row(4, cluster="23")]
    kept, _ = decontaminate(rows, "exclude")
    assert [r["id"] for r in kept["train"]] == ["3"]


def test_a_validation_example_must_be_left() -> None:
    rows = crossing() | {"validation": [asks(23, "QUESTION 12")]}
    with pytest.raises(DataError, match="A validation example must be left"):
        decontaminate(rows, "exclude")


def test_questions_of_punctuation_alone_are_the_same_only_if_equal() -> None:
    rows = crossing() | {"train": [asks(1, "?!"), asks(2, "?")], "test": [asks(4, "?!")]}
    assert ids(decontaminate(rows, "exclude")[0])["train"] == ["2"]


def test_questions_that_differ_in_case_stay_in_one_split(tmp_path: Path) -> None:
    pairs = [
        choice(n) | {"question": f"{word} {n}?"} for n in range(40) for word in ("WHY", "Why")
    ]
    splits = load_splits(from_files(train=write(tmp_path / "a.jsonl", pairs)))
    assert not splits.contamination.found
    assert [len(getattr(splits, split)) for split in SPLITS] == [56, 8, 16]


def test_splits_without_files_are_held_out_of_train(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [choice(n) for n in range(40)])
    test = write(tmp_path / "b.jsonl", [choice(n) for n in range(40, 45)])
    both = load_splits(from_files(train=train))
    assert [len(getattr(both, split)) for split in SPLITS] == [28, 4, 8]
    one = load_splits(from_files(train=train, test=test))
    assert [len(getattr(one, split)) for split in SPLITS] == [36, 4, 5]
    assert set(one.provenance) == {train, test}


def test_a_question_in_two_files_leaves_train(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [choice(n) for n in range(40)])
    test = write(tmp_path / "b.jsonl", [choice(7)])
    splits = load_splits(from_files(train=train, test=test))
    assert "a/a:8" not in {*splits.train["id"], *splits.validation["id"]}
    assert [len(getattr(splits, split)) for split in SPLITS] == [36, 3, 1]


def shared(*names: str) -> list[str]:
    paths = [SHARED / f"{name}.jsonl" for name in names]
    if not all(path.is_file() for path in paths):
        pytest.skip("the shared data sets are not here")
    return [str(path) for path in paths]


def test_official_splits_of_arc_are_used_as_they_are() -> None:
    train, validation, test = shared("arc_easy/train", "arc_easy/dev", "arc_easy/test")
    splits = load_splits(from_files(train=train, validation=validation, test=test))
    # 8 questions of train are asked again in the official dev and test files.
    assert {name: len(each.exact) for name, each in splits.contamination.sets.items()} == {
        "validation": 1,
        "test": 7,
    }
    left_out = len(splits.contamination.overlapping)
    assert [len(splits.train), len(splits.test)] == [2251 - left_out, 2376]
    assert len(splits.validation) == 570 - len(splits.selection.overlapping)


def test_several_benchmarks_are_trained_on_together() -> None:
    train = shared("arc_easy/train", "arc_challenge/train", "openbookqa/train")
    validation, test = shared("arc_challenge/dev", "arc_easy/test")
    files = {"train": train, "validation": [validation], "test": [test]}
    splits = load_splits(DataConfig.model_validate({"source": "jsonl", "files": files}))
    assert splits.contamination.left_out == "examples"
    clean = load_splits(
        DataConfig.model_validate({"source": "jsonl", "files": files, "contamination": "report"})
    )
    assert len(clean.train) - len(splits.train) == len(splits.contamination.overlapping) > 8


def test_open_examples_can_be_trained_on_but_not_scored(tmp_path: Path) -> None:
    open_ = [{"prompt": f"Say {n}.", "answer": str(n)} for n in range(9)]
    mixed = write(tmp_path / "mixed.jsonl", open_ + [choice(n) for n in range(20)])
    splits = load_splits(from_files(train=mixed))
    assert [len(getattr(splits, split)) for split in SPLITS] == [23, 2, 4]
    test = write(tmp_path / "test.jsonl", [{"prompt": "Say hello.", "answer": "hello"}])
    with pytest.raises(DataError, match="Every test example needs choices"):
        load_splits(from_files(train=mixed, test=test))


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", [choice(n) for n in range(3)])
    with pytest.raises(DataError, match="The validation split must have at least one"):
        load_splits(from_files(train=few))


def _guarded(folder: Path, rows: list[dict[str, Any]], **more: Any) -> DataConfig:
    path = folder / "everyday.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return DataConfig(groups=SMALL, files={"guard": str(path)}, **more)


EVERYDAY = [
    {"prompt": "Write a sentence about the sea.", "answer": "The sea is wide."},
    {"question": "Two and two?", "choices": ["3", "4"], "answer": 1},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
]


def test_rows_to_guard_are_a_split_of_their_own(tmp_path: Path) -> None:
    plain, guarded = (
        load_splits(DataConfig(groups=SMALL)),
        load_splits(_guarded(tmp_path, EVERYDAY)),
    )
    assert plain.guard is None
    assert list(plain.hashes) == list(SPLITS)
    assert guarded.guard is not None
    assert [each["response"] for each in guarded.guard] == ["The sea is wide.", "4", "Hello"]
    assert guarded.hashes == {**plain.hashes, "guard": rows_hash(list(guarded.guard))}
    assert guarded.provenance == plain.provenance
    assert guarded.guarded is not None
    assert not guarded.guarded.found


def test_a_config_without_rows_to_guard_is_written_as_before_there_were_any() -> None:
    written = DataConfig().model_dump()
    assert "guard" not in written["files"]
    assert "guard" not in written["limit"]


def test_rows_to_guard_have_a_limit(tmp_path: Path) -> None:
    found = load_splits(_guarded(tmp_path, EVERYDAY, limit={"guard": 2}))
    assert found.guard is not None
    assert len(found.guard) == 2


def test_a_limit_of_rows_to_guard_needs_some() -> None:
    with pytest.raises(ValueError, match=r"limit\.guard limits the rows of files\.guard"):
        DataConfig(limit={"guard": 2})


def test_a_row_to_guard_that_is_judged_is_left_out(tmp_path: Path) -> None:
    judged = quiz_rows(["capital/of"], "test")[0]
    copied = {"messages": [*judged["messages"], {"role": "assistant", "content": "Rome"}]}
    found = load_splits(_guarded(tmp_path, [*EVERYDAY, copied]))
    assert found.guard is not None
    assert len(found.guard) == 3
    assert found.guarded is not None
    assert len(found.guarded.overlapping) == 1
    refusing = _guarded(tmp_path, [*EVERYDAY, copied], contamination="refuse")
    with pytest.raises(DataError, match="1 of 4 guard examples overlap"):
        load_splits(refusing)


def test_files_to_guard_stand_beside_files_to_train_on(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    rows = [
        {"question": f"Which is {number}?", "choices": ["a", "b"], "answer": 0}
        for number in range(40)
    ]
    train.write_text("".join(json.dumps(each) + "\n" for each in rows))
    guard = _guarded(tmp_path, EVERYDAY).files.guard
    config = DataConfig(source="jsonl", files={"train": str(train), "guard": guard})
    found = load_splits(config)
    assert found.guard is not None
    assert len(found.guard) == 3
    assert set(found.provenance) == {str(train), *guard}
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(DataError, match="The guard split must have at least one example"):
        load_splits(DataConfig(groups=SMALL, files={"guard": str(empty)}))


def test_a_draft_is_part_of_the_hash_where_there_is_one() -> None:
    (row, *_) = quiz_rows(("capital/of",), "train")
    assert rows_hash([{**row, "draft": ""}]) == rows_hash([row])
    assert rows_hash([{**row, "draft": "Paris"}]) != rows_hash([row])


def test_drafts_of_some_rows_reach_the_tables(tmp_path: Path) -> None:
    lines = [
        {"id": f"{number}", "question": f"{number}?", "choices": ["a", "b"], "answer": 0}
        for number in range(30)
    ]
    lines[3]["draft"] = "a, I think"
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    splits = load_splits(DataConfig(source="jsonl", files=SplitFiles(train=(str(path),))))
    rows = [row for name in SPLITS for row in getattr(splits, name)]
    assert {row["id"]: row["draft"] for row in rows if row["draft"]} == {"3": "a, I think"}
    for name in SPLITS:
        assert rows_hash(list(getattr(splits, name))) == splits.hashes[name]
