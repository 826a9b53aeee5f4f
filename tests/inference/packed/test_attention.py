"""A model is lent an attention function, and gets its own back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from c2c_search.inference.packed.attention import attending
from c2c_search.inference.packed.attention import lends
from c2c_search.inference.scoring import response_logits
from tests.architectures import ARCHITECTURES
from tests.architectures import packed_prompts


PROMPTS = [[5, 9, 12, 7, 30, 8, 11, 40, 41, 12, 13, 14, 17, 18, 19], [13, 4], [6, 12, 8, 11, 90]]
RESPONSES = [[[7, 7, 12]], [[11], [5, 6]], [[8, 9, 10, 11, 31, 32, 33, 34], [8, 13], [12]]]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_but_models_with_functions_of_their_own_can_be_lent_one(name):
    assert lends(ARCHITECTURES[name]()) == (name != "falcon")


def test_other_attention_is_left_alone():
    model = ARCHITECTURES["llama"]()
    model.config._attn_implementation = "flash_attention_2"
    assert not lends(model)


@pytest.mark.parametrize("own", ["sdpa", "eager"])
def test_a_model_gets_its_own_back(own):
    model = ARCHITECTURES["llama"]()
    model.set_attn_implementation(own)
    with attending(model, None), attending(model, None):
        assert model.config._attn_implementation not in ("sdpa", "eager")
    assert model.config._attn_implementation == own
    with pytest.raises(KeyError), attending(model, None):
        raise KeyError
    assert model.config._attn_implementation == own


@pytest.mark.parametrize("own", ["sdpa", "eager"])
def test_what_runs_beside_a_pass_attends_as_ever(own):
    model = ARCHITECTURES["mistral"]()
    model.set_attn_implementation(own)
    ids = torch.tensor(PROMPTS[:1])
    expected = model(ids).logits
    with attending(model, None), ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: model(ids).logits).result()
    assert torch.equal(found, expected)


def test_threads_may_share_a_model(arrange):
    model = ARCHITECTURES["gemma3"]()
    counts = (2, 3, 2, 3)
    start = Barrier(len(counts))
    packs = [packed_prompts(model, PROMPTS[:count]) for count in counts]

    def run(number):
        return response_logits(model, *packs[number], RESPONSES[: counts[number]])

    def run_at_once(number):
        start.wait()
        return [run(number) for _ in range(5)]

    with arrange("blocks of equals"), ThreadPoolExecutor(len(counts)) as pool:
        expected = [run(number) for number in range(len(counts))]
        found = list(pool.map(run_at_once, range(len(counts))))
    for several, same in zip(found, expected, strict=True):
        for logits in several:
            torch.testing.assert_close(logits, same)
    assert model.config._attn_implementation == "sdpa"
