"""Models in bfloat16 under a fuser in float32: every way to fuse, near to what float32 gives."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from c2c_search.inference.layer_scores import attention_cosine
from c2c_search.inference.model import C2CModel
from c2c_search.inference.multi_sharer import MultiSharerModel
from c2c_search.inference.scoring import response_logits
from c2c_search.tokenization.continuations import response_ids


CONVERSATIONS = [[{"role": "user", "content": text}] for text in ("one two", "three")]
OPTIONS = [["a", "bc"], ["d", "e", "fgh"]]
WAYS = [
    {},
    {"keys": "unrotated"},
    {"injection": "replace"},
    {"injection": "append"},
    {"fuse_response": True},
    {"fuse_response": True, "keys": "unrotated"},
    {"lora_rank": 2},
    {"projector": "linear"},
    {"projector": "joint"},
]


@pytest.fixture
def both(make_pair):
    """A pair in float32, and the same one with its models in bfloat16."""

    def both(**fields) -> tuple[C2CModel, C2CModel]:
        model = make_pair(**fields)
        receiver, sharer = (
            replace(each, model=copy.deepcopy(each.model).to(torch.bfloat16))
            for each in (model.receiver, model.sharer)
        )
        fuser = copy.deepcopy(model.fuser)
        return model, C2CModel(receiver, sharer, fuser, cache_dtype=torch.float32)

    return both


def scores(model: C2CModel) -> torch.Tensor:
    batch = model.batch(model.prompts(CONVERSATIONS))
    return torch.cat([score for score, _ in model.score(batch, OPTIONS)])


@pytest.mark.parametrize("fields", WAYS, ids=str)
def test_likelihoods_are_near(both, fields):
    exact, rounded = (scores(model) for model in both(**fields))
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.15, rtol=0)


@pytest.mark.parametrize("fields", WAYS, ids=str)
def test_the_fuser_learns_in_float32(both, fields):
    gradients = []
    for model in both(**fields):
        batch = model.batch(model.prompts(CONVERSATIONS))
        texts = [["abc"] for _ in CONVERSATIONS]
        tokenizer = model.receiver.text_tokenizer
        responses = response_ids([None] * len(texts), texts, "plain", tokenizer)
        fused = model.fuse(batch)
        logits = response_logits(model.receiver.model, fused, batch.last_ids, responses)
        assert logits.dtype == torch.float32
        logits.log_softmax(-1)[:, 0].sum().backward()
        learned = [p.grad for p in model.fuser.parameters() if p.grad is not None]
        assert {gradient.dtype for gradient in learned} == {torch.float32}
        gradients.append(torch.cat([gradient.flatten() for gradient in learned]))
        model.fuser.zero_grad()
    exact, rounded = gradients
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.99


@pytest.mark.parametrize("fields", WAYS, ids=str)
def test_it_writes(both, fields):
    _, model = both(**fields)
    alone = model.generate("one two", max_new_tokens=3)
    assert isinstance(alone, str)
    batch = model.batch(model.prompts(CONVERSATIONS))
    for text, likelihood in model.write(batch, max_new_tokens=3):
        assert isinstance(text, str)
        assert likelihood <= 0


@pytest.mark.parametrize("fields", [{}, {"injection": "append"}], ids=str)
def test_it_reads_token_ids(both, fields):
    ids = torch.tensor([[5, 6, 7, 8]])
    exact, rounded = (model(ids, ids) for model in both(**fields))
    torch.testing.assert_close(rounded.logits.float(), exact.logits, atol=0.1, rtol=0)


@pytest.mark.parametrize("fusion", ["sequential", "parallel"])
def test_several_sharers_speak(both, fusion):
    exact, rounded = (MultiSharerModel([model, model], fusion=fusion) for model in both())
    torch.testing.assert_close(scores(rounded), scores(exact), atol=0.15, rtol=0)


def test_layers_are_ranked_alike(both):
    found = []
    for model in both():
        prompts = model.prompts(CONVERSATIONS * 4)
        half = len(prompts) // 2
        batches = [prompts.batch(range(half)), prompts.batch(range(half, len(prompts)))]
        found.append(attention_cosine(model, *([batch] for batch in batches)))
    exact, rounded = found
    torch.testing.assert_close(rounded, exact, atol=0.02, rtol=0)
