"""HotpotQA and 2WikiMultihopQA: supporting paragraphs, whole and with titles, for the sharer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2c_search.evaluation.tasks.loading import load_task
from tests.evaluation.hub_samples import SAMPLES
from tests.evaluation.hub_samples import convert
from tests.evaluation.hub_samples import items


@pytest.mark.parametrize("name", ["hotpotqa", "2wiki"])
def test_the_supporting_paragraphs_are_the_sharer_s_alone(name: str) -> None:
    first, second = items(name)
    assert first.messages[0]["content"] == "Who wrote the song that opens Low Tide?"
    assert first.sharer_messages[0]["content"] == (
        "Low Tide: Low Tide is an album. It opens with Grey Sand.\n"
        "Grey Sand: Grey Sand is a song by Mara Lind.\n"
        "Question: Who wrote the song that opens Low Tide?"
    )
    assert first.references == ("Mara Lind",)
    assert first.group == {"hotpotqa": "bridge", "2wiki": "compositional"}[name]
    assert first.cluster == second.cluster


def test_rows_without_an_answer_or_a_supporting_paragraph_are_left_out() -> None:
    assert convert("hotpotqa", answer=None) is None
    assert convert("hotpotqa", supporting_facts={"title": ["Elsewhere"], "sent_id": [0]}) is None


def test_the_authors_own_file_is_read_as_the_hub_s(tmp_path: Path) -> None:
    rows = []
    for row in SAMPLES["hotpotqa"]:
        named = {key: value for key, value in row.items() if key != "id"}
        facts, context = row["supporting_facts"], row["context"]
        named |= {"_id": row["id"]}
        named |= {"supporting_facts": [*map(list, zip(*facts.values(), strict=True))]}
        named |= {"context": [*map(list, zip(*context.values(), strict=True))]}
        rows.append(named)
    (tmp_path / "dev.json").write_text(json.dumps(rows))
    assert list(load_task(f"hotpotqa={tmp_path / 'dev.json'}").items) == items("hotpotqa")


def test_a_paragraph_that_is_one_text_is_not_read_letter_by_letter() -> None:
    facts = {"title": ["A"], "sent_id": [0]}
    with pytest.raises(ValueError, match=r"sentences must be a list of texts, not 'It is x\.'"):
        convert("2wiki", supporting_facts=facts, context=[["A", "It is x."]])
