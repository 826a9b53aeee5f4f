"""Which layers' attention a mapped cache keeps."""

from __future__ import annotations

import pytest
import torch

from c2c_search.inference.layer_scores import attention_cosine
from tests.inference.test_model import bare


def calibration(model, prompts: int = 40):
    generator = torch.Generator().manual_seed(0)
    texts = [
        " ".join(map(str, torch.randint(0, 99, (4,), generator=generator).tolist()))
        for _ in range(prompts)
    ]
    found = model.prompts([[{"role": "user", "content": text}] for text in texts])
    return found.batch(range(len(found)))


@pytest.mark.parametrize("keys", ["rotated", "unrotated"])
def test_a_sharer_that_is_the_receiver_tells_every_layer(make_pair, tiny_model, keys):
    twin = tiny_model("llama", layers=3, heads=2, head_dim=8, seed=1)
    model = make_pair(receiver=twin, sharer=twin, keys=keys)
    batch = calibration(model)
    rotations = model.rotaries and model.rotaries.of(batch, appended=False)
    scores = attention_cosine(model, batch, rotations)
    assert scores.shape == (3,)
    assert (scores > 0.98).all()
    assert twin.model.config._attn_implementation == "sdpa"  # as it was


def test_a_layer_that_cannot_be_told_scores_lower(make_pair):
    model = make_pair()
    batch = calibration(model)
    deaf = torch.cat([batch.sharer[:, :1], torch.zeros_like(batch.sharer[:, 1:])], dim=1)
    from dataclasses import replace

    # Layers 1 and 2 of three hear the second of two sharer layers, which says nothing now.
    scores = attention_cosine(model, replace(batch, sharer=deaf), None)
    heard = attention_cosine(model, batch, None)
    assert scores[0] == pytest.approx(float(heard[0]), abs=1e-5)
    assert scores[2] <= heard[2]


def test_a_pack_that_could_attend_in_blocks_is_looked_into(make_pair, arrange):
    model = make_pair()
    batch = calibration(model)
    with arrange("one sequence"):
        expected = attention_cosine(model, batch, None)
    with arrange("blocks of equals"):
        torch.testing.assert_close(attention_cosine(model, batch, None), expected)


@pytest.mark.parametrize("receiver", ["gemma2", "gpt2", "opt", "gpt_neox", "phi3", "mistral"])
def test_any_architecture_can_be_looked_into(make_pair, receiver):
    from c2c_search.pair.token_alignment import EncodedPrompt

    model = make_pair(receiver=bare(receiver), sharer=bare("llama"))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 90, (20, 6), generator=generator).tolist()
    prompts = model.cached([EncodedPrompt(tuple(row), tuple(row), tuple(range(6))) for row in ids])
    scores = attention_cosine(model, prompts.batch(range(20)), None)
    assert ((scores > -1) & (scores <= 1)).all()
    assert len(scores) == model.fuser.receiver_shape.layers
