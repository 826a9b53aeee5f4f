"""Prompts that only one system reads: in passes, a few of them in memory at a time."""

from __future__ import annotations

import pytest
import torch

from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Decoding
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems import passes
from c2c_search.evaluation.systems.passes import item_seed
from c2c_search.evaluation.systems.passes import read_alone
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.inference.model import C2CModel
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.tokenization.token_alignment import EncodedPrompt


def test_caches_are_computed_for_as_many_passes_as_fit(pair, questions, monkeypatch):
    asked = []

    def compute(model, ids, dtype, **options):
        asked.append([len(one) for one in ids])
        return real(model, ids, dtype, **options)

    real = PromptCaches.compute
    monkeypatch.setattr(PromptCaches, "compute", compute)
    monkeypatch.setattr(passes, "CACHED_TOKENS", 10)
    ids = [(1, 2, 3, 4, 5, 6), (1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4, 5, 6, 7)]
    encoded = [EncodedPrompt(one, one, tuple(range(len(one)))) for one in ids]
    found = list(read_alone(QuestionPrompts(pair, questions, batch_size=1), pair, encoded))
    # 3 + 4 fit into 10, another 6 does not.
    assert asked == [[3, 4], [6], [7]]
    assert [each.rows for each in found] == [[1], [2], [0], [3]]
    for each in found:
        (row,) = each.rows
        assert each.batch.last_ids == (ids[row][-1],)
        own = real(pair.receiver.model, [ids[row]], torch.float32).shards[0][:-1]
        # A prompt that begins as another does is read on from there: equal but for rounding.
        torch.testing.assert_close(
            each.batch.receiver, own.permute(1, 2, 0, 3), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    ("template", "chats", "stop"),
    [
        ("chat", None, ("\nQuestion:",)),
        ("chat", "{{ messages }}", ()),
        ("plain", None, ("\nQuestion:",)),
    ],
)
def test_a_base_model_in_a_chat_stops_before_a_question_of_its_own(
    template, chats, stop, pair, questions, monkeypatch
):
    asked = []

    def write(self, batch, **options):
        asked.append(options["stop"])
        return [("", 0.0)] * len(batch.last_ids)

    monkeypatch.setattr(C2CModel, "write", write)
    monkeypatch.setattr(pair, "template", template)
    prompts = QuestionPrompts(pair, questions[:1])
    system = SYSTEMS["receiver"].build(Materials(pair))
    monkeypatch.setattr(pair.receiver.text_tokenizer, "chat_template", chats)
    system.write(prompts, Decoding(max_new_tokens=1))
    assert asked == [stop]


def test_an_item_has_the_same_seed_everywhere():
    # The first seven bytes of sha256("3/item").
    import hashlib

    expected = int(hashlib.sha256(b"3/item").hexdigest()[:14], 16)
    assert item_seed(3, "item") == expected
    assert item_seed(3, "item") != item_seed(4, "item") != item_seed(4, "other")
