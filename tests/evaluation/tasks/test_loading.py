"""Tasks are loaded from the hub, from copies and from a user's rows, and errors come together."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import pytest

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.loading import load_task
from c2c_search.evaluation.tasks.loading import load_tasks
from c2c_search.evaluation.tasks.task import TASKS
from tests.evaluation.hub_samples import SAMPLES
from tests.evaluation.hub_samples import write


SHARED = Path(__file__).parents[4] / "shared" / "data"
CHOICE = {"question": "Which?", "choices": ["one", "two", "three"], "answer": 1}


def asked(count: int, **more: Any) -> list[dict[str, Any]]:
    return [CHOICE | {"id": n, "question": f"Which is {n}?"} | more for n in range(count)]


def words(items: tuple[Item, ...]) -> list[str]:
    return [item.messages[-1]["content"] for item in items]


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    datasets.Dataset.from_list(rows).to_parquet(path)


# --- Folders ---------------------------------------------------------------------------------


def test_a_folder_s_test_file_is_asked_and_its_train_file_shown(tmp_path: Path) -> None:
    write(tmp_path / "arc" / "test.jsonl", *asked(3))
    write(tmp_path / "arc" / "dev.jsonl", *asked(9))
    write(tmp_path / "arc" / "train.jsonl", CHOICE | {"question": "Why?"})
    loaded = load_task(f"arc_easy={tmp_path / 'arc'}")
    assert (len(loaded.items), loaded.split) == (3, "test")
    assert words(loaded.exemplars) == ["Why?"]


@pytest.mark.parametrize("split", ["validation", "valid", "dev", "val"])
def test_a_folder_without_test_is_asked_on_validation(split: str, tmp_path: Path) -> None:
    write(tmp_path / f"{split}.jsonl", *asked(3))
    write(tmp_path / "train.jsonl", CHOICE)
    loaded = load_task(f"arc_easy={tmp_path}")
    assert (len(loaded.items), loaded.split) == (3, split)
    assert words(loaded.exemplars) == ["Which?"]


def test_a_task_s_own_splits_come_first(tmp_path: Path) -> None:
    # C-Eval is reported on val, and its exemplars are dev's.
    shown, item = SAMPLES["ceval"]
    write(tmp_path / "val.jsonl", item)
    write(tmp_path / "dev.jsonl", shown)
    write(tmp_path / "test.jsonl", item | {"answer": ""})
    loaded = load_task(f"ceval={tmp_path}")
    assert loaded.split == "val"
    assert words(loaded.items) == [item["question"]]
    assert words(loaded.exemplars) == [shown["question"]]


def test_gpqa_is_asked_on_train_the_only_split_it_has(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", *SAMPLES["gpqa"])
    loaded = load_task(f"gpqa={tmp_path}")
    assert (len(loaded.items), loaded.exemplars, loaded.split) == (2, (), "train")


def test_parts_of_a_split_are_read_one_after_the_other(tmp_path: Path) -> None:
    rows = SAMPLES["arc_easy"]
    _parquet(tmp_path / "test-00000-of-00002.parquet", rows[:2])
    _parquet(tmp_path / "test-00001-of-00002.parquet", rows[2:])
    assert [item.id for item in load_task(f"arc_easy={tmp_path}").items] == [
        row["id"] for row in rows
    ]


def test_train_alone_lends_a_fifth_of_its_clusters_whatever_its_order(tmp_path: Path) -> None:
    rows = asked(50) + [row | {"id": f"twin {row['id']}"} for row in asked(10)]
    write(tmp_path / "one" / "train.jsonl", *rows)
    write(tmp_path / "two" / "train.jsonl", *reversed(rows))
    one, two = (load_task(f"arc_easy={tmp_path / name}") for name in ("one", "two"))
    # 50 questions, ten of them asked twice, which are one cluster each: 10 clusters held out.
    assert len({item.cluster for item in one.items}) == 10
    assert sorted(words(one.items)) == sorted(words(two.items))
    assert set(words(one.items)).isdisjoint(words(one.exemplars))
    assert len(one.items) + len(one.exemplars) == 60
    assert one.split == "train, held out"


def test_a_longer_train_file_moves_few_items(tmp_path: Path) -> None:
    write(tmp_path / "one" / "train.jsonl", *asked(100))
    write(tmp_path / "two" / "train.jsonl", *asked(105))
    one, two = (load_task(f"arc_easy={tmp_path / name}") for name in ("one", "two"))
    # The 20 and 21 lowest hashes: at most the five new ones push old ones out.
    assert len(set(words(one.items)) & set(words(two.items))) >= 15


def test_exemplars_that_give_an_item_away_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path / "test.jsonl",
        CHOICE | {"question": "Why?", "cluster": "reasons"},
        CHOICE | {"question": "Who?"},
    )
    write(
        tmp_path / "train.jsonl",
        CHOICE | {"question": "Who?"},
        CHOICE | {"question": "who"},
        CHOICE | {"question": "What for?", "cluster": "reasons"},
        CHOICE | {"question": "When?"},
    )
    assert words(load_task(f"arc_easy={tmp_path}").exemplars) == ["When?"]


def test_a_folder_without_a_split_is_told(tmp_path: Path) -> None:
    write(tmp_path / "questions.jsonl", CHOICE)
    with pytest.raises(DataError, match=r"a file of a split: test.*\['questions.jsonl'\]"):
        load_task(f"arc_easy={tmp_path}")


def test_a_download_of_the_whole_repository_is_read_like_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    copy = tmp_path / "ai2_arc"
    for split, rows in {"test": SAMPLES["arc_easy"][:2], "train": SAMPLES["arc_easy"][2:]}.items():
        (copy / "ARC-Easy").mkdir(parents=True, exist_ok=True)
        _parquet(copy / "ARC-Easy" / f"{split}-00000-of-00001.parquet", rows)
    (copy / "README.md").write_text(
        "---\nconfigs:\n- config_name: ARC-Easy\n  data_files:\n"
        "  - split: test\n    path: ARC-Easy/test-*\n"
        "  - split: train\n    path: ARC-Easy/train-*\n---\n"
    )
    loaded = load_task(f"arc_easy={copy}")
    assert [item.id for item in loaded.items] == ["Mercury_1", "NYSEDREGENTS_2"]
    assert [item.id for item in loaded.exemplars] == ["MCAS_3"]
    assert (loaded.source, loaded.split) == (str(copy), "test")


# --- The hub ---------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str]]:
    """What was asked of the hub; it answers with the samples."""
    calls: list[tuple[str, str | None, str]] = []
    by_repository = {task.hub.repository: name for name, task in TASKS.items() if task.hub}

    def load_dataset(path: str, name: str | None = None, *, split: str) -> datasets.Dataset:
        calls.append((path, name, split))
        return datasets.Dataset.from_list(SAMPLES[by_repository[path]])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_a_task_without_a_path_comes_from_the_hub(hub: list[Any]) -> None:
    loaded = load_task("winogrande")
    assert hub == [
        ("allenai/winogrande", "winogrande_xl", "validation"),
        ("allenai/winogrande", "winogrande_xl", "train"),
    ]
    assert len(loaded.items) == 3
    assert loaded.exemplars == ()  # the samples of both splits are the same questions
    assert loaded.source == "https://huggingface.co/datasets/allenai/winogrande"
    assert loaded.split == "validation"


def test_several_configurations_are_several_groups(hub: list[Any]) -> None:
    loaded = load_task("mmlu_redux")
    assert len(hub) == 57
    assert Counter(item.group for item in loaded.items)["virology"] == 5
    assert len(loaded.items) == 57 * 5
    assert loaded.items[0].id == "mmlu_redux/abstract_algebra/test/1"


def test_a_hub_out_of_reach_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach the hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as error:
        load_task("gpqa")
    assert "gpqa: split train of Idavidrein/gpqa (gpqa_diamond) must be" in str(error.value)
    assert "ConnectionError: Couldn't reach the hub. Without the hub" in str(error.value)
    assert "gpqa=PATH" in str(error.value)
    assert "hf auth login" in str(error.value)


# --- A user's rows ---------------------------------------------------------------------------


def test_a_user_s_choices_are_a_task_of_the_file_s_name(tmp_path: Path) -> None:
    loaded = load_task(str(write(tmp_path / "colours.jsonl", *asked(3))))
    assert (loaded.name, loaded.split, loaded.exemplars) == ("colours", "colours", ())
    assert loaded.task.methods == ("cloze", "letter", "generate")
    assert loaded.task.metric == "accuracy"
    assert {item.group for item in loaded.items} == {"colours"}


def test_a_file_named_after_its_split_is_called_like_its_folder(tmp_path: Path) -> None:
    loaded = load_task(str(write(tmp_path / "colours" / "val.jsonl", *asked(3))))
    assert (loaded.name, loaded.split) == ("colours", "val")


def test_a_user_s_answers_in_words_are_matched_exactly(tmp_path: Path) -> None:
    row = {"prompt": "1 + 1?", "answer": "2", "answers": ["2", "two"], "solution": "It is 2."}
    loaded = load_task(str(write(tmp_path / "sums.jsonl", row | {"steps": 1, "tags": ["a"]})))
    (item,) = loaded.items
    assert (loaded.task.methods, loaded.task.metric) == (("generate",), "exact_match")
    assert item.references == ("2", "two")
    assert item.facts == {"solution": "It is 2.", "steps": 1}
    assert grade(loaded.task, item, "two").credit == 1.0


def test_what_the_sharer_reads_is_kept(tmp_path: Path) -> None:
    row = CHOICE | {"sharer_context": "It is one."}
    (item,) = load_task(str(write(tmp_path / "a.jsonl", row))).items
    assert item.sharer_messages == ({"role": "user", "content": "It is one."},)


def test_a_task_of_split_evidence_refuses_own_rows_without_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", CHOICE)
    rule = r"a.jsonl:1: An item of qasc must have evidence for the sharer \(sharer_context\)"
    with pytest.raises(DataError, match=rule):
        load_task(f"qasc={path}")
    row = CHOICE | {"sharer_context": "It is one."}
    (item,) = load_task(f"qasc={write(tmp_path / 'b.jsonl', row)}").items
    assert item.sharer_messages == ({"role": "user", "content": "It is one."},)


def test_rows_of_two_kinds_are_two_tasks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", CHOICE, {"prompt": "Why?", "answer": "So."})
    with pytest.raises(DataError, match=r"1 of 2 have none.*a.jsonl:2.*two files"):
        load_task(str(path))


def test_rows_of_another_kind_than_the_task_s_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "Why?", "answer": "So."})
    with pytest.raises(DataError, match=r"a.jsonl:1: An item of arc_easy must have choices"):
        load_task(f"arc_easy={path}")


# --- Names, limits, several tasks ------------------------------------------------------------


def test_a_task_file_of_the_harness_is_told_what_to_do() -> None:
    with pytest.raises(ConfigError, match="--lm-eval TASK --include-path mine"):
        load_task("mine/arc.yaml")


def test_an_unknown_task_is_told_with_the_nearest_and_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"arc_challenge, .*'arc_eesy'. Did you mean arc_easy"):
        load_task("arc_eesy")
    with pytest.raises(ConfigError, match="one of 2wiki, arc_challenge"):
        load_task(f"nothing={tmp_path}")


@pytest.mark.parametrize("copy", ["", "=rows.jsonl", "=there.jsonl", "=.", "=nowhere"])
def test_a_misspelt_task_is_told_with_the_nearest_whatever_its_copy(
    copy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "there.jsonl", CHOICE)
    for spec in (f"arc_eazy{copy}", f"arc_eazy{copy}".replace("=", f"={tmp_path}/")):
        with pytest.raises(ConfigError, match=r"Got 'arc_eazy'. Did you mean arc_easy"):
            load_task(spec)


@pytest.mark.parametrize("spec", ["nowhere.jsonl", "folder/lr=1/nowhere.jsonl", "./a=b.jsonl"])
def test_a_file_that_is_not_there_is_told_as_one(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="data file must exist"):
        load_task(spec)


@pytest.mark.parametrize("suffix", ["json", "csv", "parquet"])
def test_a_file_of_another_format_is_no_task(suffix: str) -> None:
    with pytest.raises(ConfigError, match=rf"or a .jsonl file. Got 'rows.{suffix}'"):
        load_task(f"rows.{suffix}")


def test_a_path_may_hold_an_equals_sign(tmp_path: Path) -> None:
    assert load_task(str(write(tmp_path / "a=b.jsonl", CHOICE))).name == "a=b"
    assert load_task(f"arc_easy={write(tmp_path / 'a=b.jsonl', CHOICE)}").name == "arc_easy"


def test_a_limit_is_spread_over_groups_and_decided_by_the_seed(tmp_path: Path) -> None:
    rows = [row | {"group": "many" if row["id"] < 90 else "few"} for row in asked(100)]
    spec = str(write(tmp_path / "a.jsonl", *rows))
    loaded = load_task(spec, limit=30)
    assert Counter(item.group for item in loaded.items) == {"many": 20, "few": 10}
    assert load_task(spec, limit=30) == loaded
    assert load_task(spec, limit=30, seed=1).sha256 != loaded.sha256
    assert len(load_task(spec, limit=1000).items) == 100
    with pytest.raises(ConfigError, match="at least one item"):
        load_task(spec, limit=0)


def test_several_tasks_come_in_the_order_given(tmp_path: Path) -> None:
    specs = [str(write(tmp_path / f"{name}.jsonl", *asked(4))) for name in "ba"]
    loaded = load_tasks(specs, limit=2)
    assert [(each.name, len(each.items)) for each in loaded] == [("b", 2), ("a", 2)]


def test_what_is_wrong_with_several_tasks_comes_together(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": ""})
    with pytest.raises(ConfigError, match="3 problems") as error:
        load_tasks(["arc_eesy", f"arc_easy={tmp_path / 'nowhere'}", str(path)])
    for part in ("Did you mean arc_easy", "nowhere", f"{path}:1"):
        assert part in str(error.value)
    with pytest.raises(DataError, match="2 problems"):
        load_tasks([f"arc_easy={tmp_path / 'nowhere'}", str(path)])


def test_a_task_given_twice_is_told(tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "a.jsonl", CHOICE)
    two = write(tmp_path / "two" / "a.jsonl", CHOICE)
    with pytest.raises(ConfigError, match=r"given once; .*two/a.jsonl is called a like another"):
        load_tasks([str(one), str(two)])


# --- The real thing --------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize("name", ["arc_challenge", "arc_easy", "openbookqa", "winogrande"])
def test_published_sets_are_loaded_from_their_folders(name: str) -> None:
    loaded = load_task(f"{name}={SHARED / name}")
    assert len(loaded.items) > 200
    assert not {item.cluster for item in loaded.items} & {e.cluster for e in loaded.exemplars}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
def test_winogrande_s_twins_are_found() -> None:
    items = load_task(f"winogrande={SHARED / 'winogrande'}").items
    # 1267 sentences; of the 284 neighbours with equal options all but one are found as twins.
    pairs = [
        one.cluster == other.cluster
        for one, other in pairwise(items)
        if sorted(map(str.casefold, one.choices)) == sorted(map(str.casefold, other.choices))
    ]
    assert (len(items), len(pairs), sum(pairs)) == (1267, 284, 283)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
def test_every_published_file_is_a_user_s_task() -> None:
    for path in sorted(SHARED.glob("*/*.jsonl")):
        # The larger ones add nothing but seconds.
        if path.stat().st_size < 1_000_000:
            loaded = load_task(str(path), limit=50)
            assert len(loaded.items) == 50
            assert loaded.task.methods[0] in ("cloze", "generate")
