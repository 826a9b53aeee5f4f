"""The model card: everything a stranger must know, in valid Markdown and front matter."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from c2c_search.champion.card import model_card
from c2c_search.champion.verdict import Verdict
from c2c_search.evaluation.harm import measure_harm
from c2c_search.evaluation.pairing import LEGEND
from c2c_search.inference.doubt import Listening
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import RecordedQuestion
from c2c_search.inference.size import Size
from tests.evaluation.answers import chosen


SIZE = Size(parameters=6, bytes=250)


@pytest.fixture
def card(manifest: Manifest) -> str:
    return model_card(manifest, SIZE)


def test_front_matter_is_yaml_that_the_hub_takes(card: str, manifest: Manifest) -> None:
    _, front, _ = card.split("---\n", 2)
    content = yaml.safe_load(front)
    assert "base_model" not in content  # which names repositories of the hub alone
    assert content["license"] == "other"
    receiver = manifest.pair.receiver.model_copy(update={"source": "hf:owner/small@main"})
    pair = manifest.pair.model_copy(update={"receiver": receiver})
    there = model_card(manifest.model_copy(update={"pair": pair}), SIZE)
    assert yaml.safe_load(there.split("---\n", 2)[1])["base_model"] == ["owner/small"]
    read = ModelCard(there).data
    assert read.base_model == ["owner/small"]
    (result,) = read.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", round(109 / 120, 4))
    assert read.to_dict()["model-index"] == content["model-index"]


def test_foreign_names_are_shown_and_not_obeyed(manifest: Manifest) -> None:
    name = "<script>x</script>`[a](b)\n# head | cell"
    receiver = manifest.pair.receiver.model_copy(update={"licence": name, "source": "path:a`<b>`"})
    pair = manifest.pair.model_copy(update={"receiver": receiver})
    changed = {"name": name, "pair": pair, "licences": {name: name}}
    card = model_card(manifest.model_copy(update=changed), SIZE)
    assert "<script>" not in card.replace("\\<script", "")
    assert "\n# head" not in card
    assert "`path:a'<b>'`" in card


def test_the_five_systems_are_in_the_table_with_intervals_and_p(
    card: str, verdict: Verdict
) -> None:
    assert verdict.deranged is not None
    for one in (*verdict.comparisons, verdict.deranged):
        table = next(line for line in card.splitlines() if line.startswith(f"| {one.control} |"))
        assert f"| {one.accuracy} | {one.difference} | {one.p:.2g} |" in table
    assert f"| trial 7 | {verdict.accuracy} |" in card
    assert "champion minus it [99.67 %]" in card
    assert verdict.explain() in card


def test_groups_are_listed(card: str) -> None:
    assert "| group | trial 7 | receiver | sharer | no-sharer twin | trial 7 deranged |" in card
    assert "| country/zh | " in card


def test_a_small_fuser_is_not_called_nothing(card: str) -> None:
    assert "The fuser holds 6 numbers (250 bytes): " in card


def test_one_finalist_shares_no_level(manifest: Manifest, verdict: Verdict) -> None:
    alone = verdict.model_copy(update={"finalists": 1})
    card = model_card(manifest.model_copy(update={"verdict": alone.model_dump()}), SIZE)
    assert f"Judged at {alone.share}." in card
    assert "shared by" not in alone.share
    assert "1 finalists" not in card


def test_size_is_given_relative_to_the_receiver(manifest: Manifest, card: str) -> None:
    assert "10.0 % of the receiver's parameters and 25.0 % of its bytes" in card
    without = manifest.model_copy(update={"receiver_size": None})
    assert "of the receiver's parameters" not in model_card(without, SIZE)


def test_what_the_models_computed_in_is_told_where_it_is_known(manifest: Manifest) -> None:
    measured = manifest.model_copy(update={"dtype": "bfloat16"})
    assert "measured with both models in bfloat16; another precision" in model_card(measured, SIZE)
    assert "with both models in" not in model_card(manifest, SIZE)


def test_the_length_of_a_pooled_message_is_told(manifest: Manifest, card: str) -> None:
    assert "A message is" not in card
    assert manifest.trial is not None
    trial = manifest.trial | {"fuser": {"injection": "append", "slots": 8}}
    pooled = model_card(manifest.model_copy(update={"trial": trial}), SIZE)
    assert "A message is 8 entries in each layer, however much the sharer has read." in pooled


def test_a_champion_that_hands_text_over_says_so(manifest: Manifest, card: str) -> None:
    assert "crosses text" not in card
    assert manifest.trial is not None
    fuser = {"injection": "side", "anchors": "last", "anchor_tokens": 9}
    card = model_card(
        manifest.model_copy(update={"trial": manifest.trial | {"fuser": fuser}}), SIZE
    )
    assert "Beside it crosses text: the last words of what the sharer alone has read" in card
    assert "at most 9 tokens" in card


@pytest.mark.parametrize(
    ("fuser", "words"),
    [
        ({}, ["keys and values of its prompt", "in place (injection residual)", "in all layers"]),
        (
            {"injection": "append", "message": "draft", "draft_tokens": 8, "source": "hidden"},
            ["greedily, at most 8 tokens", "(hidden states) of that draft", "stands in front"],
        ),
        (
            {"injection": "side", "message": "both", "layers": "18:14, 20:16"},
            [
                "of prompt and draft",
                "the last token of its prompt, and those of the answer, read the message",
                "in the receiver's layers 18 (the sharer's 14), 20 (the sharer's 16)",
            ],
        ),
        (
            {"injection": "side", "reads_from": "all", "layer_count": 4, "layers": "spread"},
            ["all tokens of its prompt", "in 4 layers spread over the depth of the receiver"],
        ),
        ({"layer_share": 0.5}, ["in the last 50 % of the layers of the receiver"]),
    ],
    ids=["plain", "draft", "both", "read by all", "share"],
)
def test_what_the_message_is_made_of_is_told(
    manifest: Manifest, card: str, fuser: dict[str, Any], words: list[str]
) -> None:
    assert "The message" not in card  # of a trial that is not known
    assert manifest.trial is not None
    trial = manifest.trial | {"fuser": fuser}
    told = model_card(manifest.model_copy(update={"trial": trial}), SIZE)
    for each in words:
        assert each in told


def test_a_lora_is_told(manifest: Manifest, card: str) -> None:
    assert "LoRA" not in card
    assert manifest.trial is not None
    trial = manifest.trial | {"fuser": {"lora_rank": 4}}
    adapted = model_card(manifest.model_copy(update={"trial": trial}), SIZE)
    assert "(LoRA) of rank 4 of the receiver's attention is part of the fuser" in adapted


def test_licences_of_models_and_data_are_listed(card: str) -> None:
    assert "| receiver | `pypi:small` | Apache-2.0 (https://example.org/small) |" in card
    assert "| sharer | `pypi:other` | LicenseRef-Gemma (https://example.org/other) |" in card
    assert "| data | GeoNames | CC-BY-4.0 |" in card


def test_origin_and_limits_are_stated(card: str) -> None:
    for part in ("commit c0ffee", "`12762bd9507b9337`", "| test | `bbb` |", "torch 2.13.0"):
        assert part in card
    assert "Tested on data of source `quiz`, groups `country/ja`, `country/zh`" in card
    assert "Not tested:" in card


def test_an_import_is_honest_about_what_was_not_measured(imported: Manifest) -> None:
    card = model_card(imported, SIZE)
    for part in (
        "Nothing, by c2c-search: this fuser was imported",
        "Not tested by c2c-search, on anything.",
        "the checkpoint names none, and only the sizes were checked",
        "by template `plain`, which may not be the one",
        "It answers from prompt caches in float32",
        "| fuser | `final` | not stated: ask its makers |",
        "on 2026-09-02 from the folder `final`, in the layout `rosetta`",
        "| `projector_0.pt` | `aaaa` |",
        "`pypi:small`",
        "model.generate('Which country is it?')",
    ):
        assert part in card
    for part in ("accuracy", "McNemar", "TrialConfig", "None", "Trained on"):
        assert part not in card


def test_models_without_tokenizer_are_given_token_ids(imported: Manifest) -> None:
    receiver = imported.pair.receiver.model_copy(update={"tokenizer_sha256": "none"})
    pair = imported.pair.model_copy(update={"receiver": receiver})
    card = model_card(imported.model_copy(update={"pair": pair}), SIZE)
    assert "generate(receiver_input_ids=..., sharer_input_ids=...)" in card
    assert "has no tokenizer: give token ids" in card
    assert "c2c-search ask" not in card


def test_the_example_is_python_whatever_the_question(manifest: Manifest) -> None:
    awkward = manifest.questions[0].model_copy(update={"question": 'It\'s "x"\n```?'})
    card = model_card(manifest.model_copy(update={"questions": (awkward,)}), SIZE)
    code = card.split("```python\n")[1].split("\n```\n")[0]
    compile(code, "card", "exec")


def test_a_private_champion_s_example_shows_what_the_sharer_read(
    manifest: Manifest, card: str
) -> None:
    assert "--context" not in card
    context = 'It says "so".\n```\nQuestion: Who?'
    private = RecordedQuestion(question="Who?", answer=" So.", sharer_context=context)
    card = model_card(manifest.model_copy(update={"questions": (private,)}), SIZE)
    code = card.split("```python\n")[1].split("\n```\n")[0]
    assert f"context = {context!r}\n" in code
    assert "print(model.generate_batch(['Who?'], [context])[0])" in code
    compile(code, "card", "exec")
    assert "`c2c-search ask . QUESTION --context FILE` shows" in card


def test_a_cell_cannot_break_the_table(manifest: Manifest, verdict: Verdict) -> None:
    odd = verdict.model_copy(update={"name": "a|b"}).model_dump(mode="json")
    assert "| a\\|b | " in model_card(manifest.model_copy(update={"verdict": odd}), SIZE)


def test_whether_the_message_matters_is_in_a_table_of_its_own(card: str, verdict: Verdict) -> None:
    assert verdict.pairing is not None
    assert LEGEND in card
    assert "|  | value [95 %] |" in card
    for name, value in verdict.pairing.rows():
        assert f"| {name} | {value} |" in card
    # Deranged it is as good as its receiver, item by item.
    assert "| P/G | 1.00 [1.00, 1.00] |" in card


def test_a_lowered_share_is_told(manifest: Manifest, verdict: Verdict, card: str) -> None:
    assert "lowered champion.min_pairing_share" not in card
    lowered = verdict.model_copy(update={"min_pairing_share": 0.2})
    content = lowered.model_dump(mode="json")
    card = model_card(manifest.model_copy(update={"verdict": content}), SIZE)
    assert "lowered champion.min_pairing_share from 0.5 to 0.2." in card


def test_harm_elsewhere_is_told_where_it_was_measured(
    manifest: Manifest, verdict: Verdict, card: str
) -> None:
    assert "| other task |" not in card
    fused, alone = (chosen([n >= wrong for n in range(400)]) for wrong in (40, 100))
    harm = measure_harm("arc_easy", fused, alone, level=0.01, margin=0.02)
    asked = verdict.model_copy(update={"harm": (harm,)})
    told = model_card(manifest.model_copy(update={"verdict": asked.model_dump()}), SIZE)
    row = f"| arc_easy | 400 | {harm.fused} | {harm.receiver} | {harm.difference} | {harm.p:.2g} |"
    assert row in told
    assert harm.sentence in told
    assert "Not tested: other tasks than these, " in told


def test_what_listening_when_unsure_saves_is_told(manifest: Manifest, card: str) -> None:
    assert "When it listens" not in card
    listening = Listening(choices=0.25, words=0.5, length_normalised=True, skipped=0.375)
    told = model_card(manifest.model_copy(update={"listening": listening}), SIZE)
    assert "## When it listens" in told
    assert "37.5 % of the questions were answered without it and without its prefill" in told
    assert "below 0.250" in told
