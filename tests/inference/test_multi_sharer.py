"""Several sharers: one after the other, or side by side."""

from __future__ import annotations

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.inference.multi_sharer import MultiSharerModel


CONVERSATIONS = [[{"role": "user", "content": text}] for text in ("one two three", "four")]


@pytest.fixture
def receiver(tiny_model):
    return tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1)


@pytest.fixture
def models(make_pair, tiny_model, receiver):
    sharers = [tiny_model("llama", seed=3), tiny_model("gemma3", heads=1, head_dim=6, seed=4)]
    return [make_pair(receiver=receiver, sharer=sharer) for sharer in sharers]


def fused(model):
    return model.fuse(model.batch(model.prompts(CONVERSATIONS))).packed


def test_parallel_sums_what_each_changes(models):
    own = models[0].batch(models[0].prompts(CONVERSATIONS)).receiver
    expected = own + sum(fused(model) - own for model in models)
    torch.testing.assert_close(fused(MultiSharerModel(models, fusion="parallel")), expected)


def test_sequential_lets_the_second_read_what_the_first_has_fused(models):
    first = fused(models[0])
    batch = models[1].batch(models[1].prompts(CONVERSATIONS))
    from dataclasses import replace

    expected = models[1].fuse(replace(batch, receiver=first)).packed
    together = fused(MultiSharerModel(models))
    torch.testing.assert_close(together, expected)
    assert not torch.allclose(together, fused(MultiSharerModel(models[::-1])))


@pytest.mark.parametrize("fusion", ["sequential", "parallel"])
def test_one_sharer_is_a_model_of_its_own(models, fusion):
    torch.testing.assert_close(
        fused(MultiSharerModel(models[:1], fusion=fusion)), fused(models[0])
    )


def test_answers_and_scores(models):
    several = MultiSharerModel(models, fusion="parallel")
    assert isinstance(several.generate("one two", max_new_tokens=3), str)
    batch = several.batch(several.prompts(CONVERSATIONS))
    scored = several.score(batch, [["a", "b"], ["c", "d", "e"]])
    assert [len(scores) for scores, _ in scored] == [2, 3]


def test_what_cannot_be_heard_together_is_refused(models, make_pair, tiny_model, receiver):
    stranger = make_pair(receiver=tiny_model("qwen3", layers=3, seed=9))
    with pytest.raises(ConfigError, match="one receiver"):
        MultiSharerModel([models[0], stranger])
    with pytest.raises(ConfigError, match="At least one"):
        MultiSharerModel([])
    with pytest.raises(ConfigError, match="sequential or parallel"):
        MultiSharerModel(models, fusion="both")
    for fields in ({"injection": "append"}, {"fuse_response": True}):
        with pytest.raises(ConfigError, match="in place"):
            MultiSharerModel([models[0], make_pair(receiver=receiver, **fields)])
    with pytest.raises(ConfigError, match="asked in text"):
        MultiSharerModel(models)(torch.tensor([[1]]), torch.tensor([[1]]))
