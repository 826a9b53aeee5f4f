"""Translation: rows in the hub's columns and in the workbench's own, and their answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.tasks.loading import load_task
from c2c_search.evaluation.tasks.task import TASKS
from c2c_search.evaluation.tasks.translation import convert
from tests.evaluation.hub_samples import write
from tests.evaluation.written_samples import TRANSLATION


SHARED = Path(__file__).parents[4] / "shared" / "data" / "translation_tatoeba" / "odd.jsonl"
BAD, MORNING, MORNING_ES, RAIN = TRANSLATION


def test_a_row_is_an_item_of_its_language_pair():
    item = convert(MORNING, "id")
    assert (item.id, item.group) == ("id", "en-de_DE")
    assert item.messages[0]["content"] == (
        "Translate the following text from English into German (Germany).\n\nGood morning."
    )
    assert item.references == ("Guten Morgen.",)
    assert item.facts == {"src_lang": "en", "tgt_lang": "de_DE", "domain": "news"}


def test_bad_sources_are_left_out():
    assert convert(BAD, "id") is None


def test_segments_of_a_document_are_one_cluster_in_all_languages():
    assert len({convert(row, "id").cluster for row in (MORNING, MORNING_ES, RAIN)}) == 1


def test_a_language_without_a_name_is_called_by_its_code():
    item = convert({**MORNING, "lp": "en-xx_XX"}, "id")
    assert "from English into xx_XX." in item.messages[0]["content"]


def test_a_pair_must_be_two_languages():
    with pytest.raises(ValueError, match="lp must be two languages"):
        convert({**MORNING, "lp": "de"}, "id")


def test_answers_are_judged_by_chrf():
    pytest.importorskip("sacrebleu")
    item = convert(MORNING, "id")
    assert grade(TASKS["translation"], item, "Guten Morgen.").credit == pytest.approx(1)
    assert 0.1 < grade(TASKS["translation"], item, "Guten Tag.").credit < 0.5


def own(id: str, source: str, target: str, src: str, answer: str) -> dict[str, str]:
    return {
        "id": id,
        "prompt": f"Translate into {target}: {src}",
        "answer": answer,
        "src_lang": source,
        "tgt_lang": target,
        "src": src,
        "tgt": answer,
    }


def test_own_rows_are_grouped_by_language_pair(tmp_path):
    rows = [
        own("1", "fra", "eng", "Bonjour.", "Hello."),
        own("2", "deu", "eng", "Hallo.", "Hello."),
        own("3", "eng", "fra", "Hello.", "Bonjour."),
        own("4", "fra", "deu", "Bonjour.", "Hallo."),
    ]
    items = load_task(f"translation={write(tmp_path / 'rows.jsonl', *rows)}").items
    assert [item.group for item in items] == ["fra-eng", "deu-eng", "eng-fra", "fra-deu"]
    # All but the last are about one English sentence.
    first, second, third, other = (item.cluster for item in items)
    assert first == second == third != other
    assert items[0].facts["src_lang"] == "fra"


def test_own_rows_without_languages_stay_as_they_are(tmp_path):
    row = {"prompt": "Translate: Bonjour.", "answer": "Hello.", "group": "greetings"}
    (item,) = load_task(f"translation={write(tmp_path / 'rows.jsonl', row)}").items
    assert item.group == "greetings"


@pytest.mark.skipif(not SHARED.exists(), reason="shared data is not here")
def test_the_real_file_has_25_language_pairs():
    loaded = load_task(f"translation={SHARED}", limit=250)
    groups = {item.group for item in loaded.items}
    assert len(groups) == 25
    assert all(group.endswith("-eng") for group in groups)
