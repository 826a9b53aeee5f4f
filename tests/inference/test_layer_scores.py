"""Which layers' attention a mapped cache keeps."""

from __future__ import annotations

from dataclasses import replace

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
    return model.prompts([[{"role": "user", "content": text}] for text in texts])


def scores_of(model, prompts, parts: int = 1, change=lambda batch: batch):
    """Fitted on the first half of some prompts, judged on the second."""
    halves = torch.arange(len(prompts)).chunk(2)
    batches = [
        [change(prompts.batch(part.tolist())) for part in half.chunk(parts)] for half in halves
    ]
    return attention_cosine(model, *batches)


@pytest.mark.parametrize("keys", ["rotated", "unrotated"])
def test_a_sharer_that_is_the_receiver_tells_every_layer(make_pair, tiny_model, keys):
    twin = tiny_model("llama", layers=3, heads=2, head_dim=8, seed=1)
    model = make_pair(receiver=twin, sharer=twin, keys=keys)
    scores = scores_of(model, calibration(model))
    assert scores.shape == (3,)
    assert (scores > 0.98).all()
    assert twin.model.config._attn_implementation == "sdpa"  # as it was


def test_a_layer_that_cannot_be_told_scores_lower(make_pair):
    model = make_pair()
    prompts = calibration(model)

    def deafened(batch):
        said = batch.sharer[:, :1]
        return replace(batch, sharer=torch.cat([said, torch.zeros_like(said)], dim=1))

    # Layers 1 and 2 of three hear the second of two sharer layers, which says nothing now.
    scores = scores_of(model, prompts, change=deafened)
    heard = scores_of(model, prompts)
    assert scores[0] == pytest.approx(float(heard[0]), abs=1e-5)
    assert scores[2] <= heard[2]


def test_a_pack_that_could_attend_in_blocks_is_looked_into(make_pair, arrange):
    model = make_pair()
    prompts = calibration(model)
    with arrange("one sequence"):
        expected = scores_of(model, prompts)
    with arrange("blocks of equals"):
        torch.testing.assert_close(scores_of(model, prompts), expected)


@pytest.mark.parametrize("keys", ["rotated", "unrotated"])
def test_scores_do_not_depend_on_how_many_prompts_come_at_a_time(make_pair, keys):
    model = make_pair(keys=keys)
    prompts = calibration(model)
    torch.testing.assert_close(scores_of(model, prompts, 3), scores_of(model, prompts))


@pytest.mark.parametrize("receiver", ["gemma2", "gpt2", "opt", "gpt_neox", "phi3", "mistral"])
def test_any_architecture_can_be_looked_into(make_pair, receiver):
    from c2c_search.tokenization.token_alignment import EncodedPrompt

    model = make_pair(receiver=bare(receiver), sharer=bare("llama"))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 90, (20, 6), generator=generator).tolist()
    prompts = model.cached([EncodedPrompt(tuple(row), tuple(row), tuple(range(6))) for row in ids])
    scores = scores_of(model, prompts)
    assert ((scores > -1) & (scores <= 1)).all()
    assert len(scores) == model.fuser.receiver_shape.layers
