"""A decoding step does less than a batch does, and finds the same."""

from __future__ import annotations

import pytest
import torch
from transformers.cache_utils import DynamicLayer

from c2c_search.inference.decoding import go_on
from c2c_search.inference.packed import masks
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.kv_cache import RoomyLayer
from c2c_search.tokenization.templates import asked
from tests.architectures import ARCHITECTURES
from tests.architectures import WINDOW
from tests.architectures import packed_prompts


PROMPTS = [[5, 9, 12, 7, 30, 8, 11, 40, 41, 12, 13, 14, 17, 18, 19], [13, 4]]
STEPS = 6  # from within the windows to beyond them


@pytest.fixture
def plainly(monkeypatch):
    """Call with the whole cache copied and every mask made, in every step."""

    def run(call):
        with monkeypatch.context() as patch:
            patch.setattr(RoomyLayer, "update", DynamicLayer.update)
            patch.setattr(masks, "_needed", masks._additive)
            return call()

    return run


def step_logits(model, fused, last):
    """Logits of every step, ``(steps, vocabulary)``, and the answer."""
    steps = []

    def choose(prompts, logits):
        steps.append(logits)
        return logits.argmax(dim=-1).tolist()

    answers = go_on(
        model, fused, last, choose=choose, ended=lambda _, ids: False, max_new_tokens=STEPS
    )
    return torch.cat(steps), answers


def masks_of(model, fused, last):
    """What the model was given as a mask in each step."""
    given = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: given.append(kwargs["attention_mask"]), with_kwargs=True
    )
    step_logits(model, fused, last)
    return given


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    return ARCHITECTURES[request.param]()


@pytest.mark.parametrize("attention", ["as loaded", "eager"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_logits_of_every_step_are_the_models_own(model, attention, prompt):
    if attention == "eager":
        model.set_attn_implementation("eager")
    found, (answer,) = step_logits(model, *packed_prompts(model, [prompt]))
    own = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    torch.testing.assert_close(found, own, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("start", [-4, 0, 3])
@pytest.mark.parametrize("entries", [2, WINDOW - 2, 12])
def test_entries_anywhere_are_seen_as_with_masks(model, plainly, start, entries):
    # With a gap behind them: the answer begins at position 14.
    fused, last = packed_prompts(model, PROMPTS[:1])
    packed = fused.packed[:, :, :entries]
    placed = FusedCache(packed, (entries,), (torch.arange(entries) + start,), (14,))
    found, answer = step_logits(model, placed, last)
    expected, same = plainly(lambda: step_logits(model, placed, last))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert answer == same


def test_many_entries_within_few_positions_are_seen_as_with_masks(model, plainly):
    # More entries than the window is long, none of them further away than the window.
    fused, last = packed_prompts(model, PROMPTS[:1])
    crowded = FusedCache(fused.packed[:, :, :8], (8,), (torch.arange(8) // 4,), (2,))
    found, _ = step_logits(model, crowded, last)
    expected, _ = plainly(lambda: step_logits(model, crowded, last))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_single_prompt_is_read_without_a_mask():
    model = ARCHITECTURES["llama"]()
    assert masks_of(model, *packed_prompts(model, PROMPTS[:1])) == [None] * STEPS


def test_several_prompts_are_kept_apart_by_masks():
    model = ARCHITECTURES["llama"]()
    given = masks_of(model, *packed_prompts(model, PROMPTS))
    assert [mask.shape[-2] for mask in given] == [2] * STEPS


def test_a_mask_is_made_for_the_layers_that_forget():
    model = ARCHITECTURES["gemma3"]()
    given = masks_of(model, *packed_prompts(model, PROMPTS[1:]))
    assert all(mask["full_attention"] is None for mask in given)
    # One entry is kept and one token is read first: the first step that sees too far is the
    # one with WINDOW + 1 of them.
    forgets = [mask["sliding_attention"] is not None for mask in given]
    assert forgets == [read > WINDOW for read in range(2, 2 + STEPS)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"keys": "unrotated"},
        {"injection": "append"},
        {"fuse_response": True},
        {"lora_rank": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("questions", [["one two"], ["one two", "three", "four five six"]])
def test_a_fused_model_answers_as_it_does_plainly(make_pair, plainly, fields, questions):
    model = make_pair(**fields)

    def answers():
        batch = model.batch(model.prompts([asked(question) for question in questions]))
        scores = model.score(batch, [["a", "bc"]] * len(questions))
        written = model.write(batch, max_new_tokens=8, stop=["\n"])
        texts, likelihoods = zip(*written, strict=True)
        found = torch.cat([torch.tensor(likelihoods), *(score for score, _ in scores)])
        return [*texts, *model.generate_batch(questions, max_new_tokens=8)], found

    texts, numbers = answers()
    same_texts, same_numbers = plainly(answers)
    assert texts == same_texts
    torch.testing.assert_close(numbers, same_numbers, atol=1e-5, rtol=1e-5)
