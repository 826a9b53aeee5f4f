"""A message that grows with the answer: as plain products say, and written as it is read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import DynamicCache

from c2c_search.errors import ConfigError
from c2c_search.inference.fusion import rotations_of
from c2c_search.inference.multi_sharer import MultiSharerModel
from c2c_search.inference.scoring import response_logits
from c2c_search.testing.tiny_models import byte_tokenizer
from tests.inference.greedy import greedy
from tests.inference.test_side_memory import HEARD
from tests.inference.test_side_memory import PROMPTS
from tests.inference.test_side_memory import Pair
from tests.inference.test_side_memory import naive_logits
from tests.inference.test_side_memory import naive_memory


ANSWERS = [[3, 14, 15, 9, 26, 5, 35], [2, 71, 8], [8, 28, 18, 2, 84]]
SIDE = {"injection": "side"}
APPEND = {"injection": "append", "layer_share": 1.0, "gate": {}}
BESIDE = pytest.mark.parametrize("fields", [SIDE, APPEND], ids=["side", "append"])
KEYS = pytest.mark.parametrize("keys", ["rotated", "unrotated"])


def growing(every=2, **fields):
    """A pair that reads one vocabulary, and so does its sharer whatever the receiver writes."""
    pair = Pair("qwen3", refresh=every, **fields)
    for loaded in ("receiver", "sharer"):
        told = replace(getattr(pair, loaded), tokenizer=byte_tokenizer())
        setattr(pair, loaded, told)
        setattr(pair.model, loaded, told)
    return pair


def logits(pair, branches):
    batch = pair.batch()
    with torch.no_grad():
        found = response_logits(pair.lm, pair.model.fuse(batch), batch.last_ids, branches)
    return found.split([len(each) for of_prompt in branches for each in of_prompt])


def heard_before(row, answer, ahead, every):
    """What the sharer has read when the receiver stands so far behind the prompt's last."""
    return HEARD[row] + answer[: ahead // every * every]


@KEYS
@pytest.mark.parametrize("reads_from", ["last", "all"])
def test_a_memory_grows_as_plain_matrix_products_say(keys, reads_from):
    pair = growing(keys=keys, reads_from=reads_from)
    for row, found in enumerate(logits(pair, [[each] for each in ANSWERS])):
        last = len(PROMPTS[row]) - 1

        def memories(place, row=row, last=last):
            read = heard_before(row, ANSWERS[row], max(place - last, 0), 2)
            return [naive_memory(pair.fuser, pair.sharer.model, read)]

        readers = 0 if reads_from == "all" else last
        whole = naive_logits(pair.lm, PROMPTS[row] + ANSWERS[row][:-1], readers, memories)
        torch.testing.assert_close(found, whole[last:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def appended_token_by_token(pair, row):
    """Logits of an answer where entries are put into transformers' own cache when they are due."""
    prompt, answer = PROMPTS[row], ANSWERS[row]
    batch = pair.batch([prompt], [HEARD[row]])
    (plain,) = pair.model.fuse(batch).packed[None]
    cache, found, known = DynamicCache(), [], len(HEARD[row])

    def keep(packed):
        shape = (packed.shape[2], -1, pair.lm.config.head_dim)
        for layer in range(packed.shape[1]):
            keys, values = (each.view(1, *shape).transpose(1, 2) for each in packed[:, layer])
            cache.update(keys, values, layer)

    keep(plain)
    for ahead, token in enumerate([prompt[-1], *answer[:-1]]):
        read = heard_before(row, answer, ahead, 2)
        if len(read) > known:
            theirs = pair.sharer.model(torch.tensor([read]), use_cache=True).past_key_values
            new = torch.stack(
                [
                    torch.stack([each.keys[0], each.values[0]]).transpose(1, 2).flatten(2)
                    for each in theirs.layers
                ],
                dim=1,
            )[:, :, known:]
            count = len(read) - known
            rotations = None
            if pair.model.rotaries is not None:
                first = len(prompt) + known - len(HEARD[row])
                rotations = pair.model.rotaries.at(
                    torch.arange(first, first + count), torch.arange(known, len(read))
                )
            keep(pair.fuser(batch.receiver, new, rotations, [count]))
            known = len(read)
        output = pair.lm(
            torch.tensor([[token]]),
            position_ids=torch.tensor([[len(prompt) - 1 + ahead]]),
            past_key_values=cache,
        )
        found.append(output.logits[0, -1])
    return torch.stack(found)


@KEYS
def test_appended_entries_grow_as_transformers_reads_them(keys):
    pair = growing(keys=keys, **APPEND)
    assert (rotations_of(pair.batch(), pair.model.rotaries, "entries") is None) == (
        keys == "rotated"
    )
    for row, found in enumerate(logits(pair, [[each] for each in ANSWERS])):
        expected = appended_token_by_token(pair, row)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@BESIDE
@pytest.mark.parametrize("arrangement", ["one sequence", "one block", "blocks of equals"])
def test_an_answer_is_read_as_it_is_written(fields, arrangement, arrange):
    pair = growing(3, **fields)
    batch = pair.batch()
    with arrange(arrangement):
        written = greedy(pair.model, batch, 8, with_stop=True)
        # As branches beside others, of the same prompt and of others, one of them cut.
        branches = [[[7, 1, 5, 2, 9, 4], answer[:5], answer] for answer in written]
        read = [each.argmax(-1).tolist() for each in logits(pair, branches)]
    for answer, (_, cut, whole) in zip(written, zip(*[iter(read)] * 3, strict=True), strict=True):
        assert cut == answer[:5]
        assert whole == answer
    for ours, theirs, answer in zip(PROMPTS, HEARD, written, strict=True):
        assert greedy(pair.model, pair.batch([ours], [theirs]), 8, with_stop=True) == [answer]


@BESIDE
def test_up_to_the_first_refresh_nothing_changes_bit_for_bit(fields):
    plain, pair = Pair("qwen3", **fields), growing(3, **fields)
    branches = [[each] for each in ANSWERS]
    for found, expected in zip(logits(pair, branches), logits(plain, branches), strict=True):
        torch.testing.assert_close(found[:3], expected[:3])
        assert not torch.allclose(found[3:], expected[3:], atol=1e-3) or len(found) == 3
    short = [[each[:3]] for each in ANSWERS]
    for found, expected in zip(logits(pair, short), logits(plain, short), strict=True):
        assert torch.equal(found, expected)


@BESIDE
def test_gradients_reach_the_fuser_through_what_is_said_later(fields):
    pair = growing(2, normalisation="none", **fields)
    batch = pair.batch(PROMPTS[:1], HEARD[:1])
    fused = pair.model.fuse(batch)
    silent = fused.saying([each.detach() for each in fused.said])

    def loss(answer):
        return response_logits(pair.lm, silent, batch.last_ids, [[answer]])[-1].sum()

    assert not loss(ANSWERS[0][:2]).requires_grad
    loss(ANSWERS[0]).backward()
    gradient = pair.fuser.projector.projection.weight.grad
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_what_a_gate_remembers_is_the_message_of_the_prompt():
    gate = {"granularity": "token", "sparsity": 0.1}
    pair = growing(1, injection="side", gate=gate)
    fused = pair.model.fuse(pair.batch())
    before = pair.fuser.penalty()
    response_logits(pair.lm, fused, [1, 1, 1], [[each] for each in ANSWERS])
    assert pair.fuser.penalty() == before


@BESIDE
def test_a_twin_hears_nothing_of_what_is_written_either(fields):
    pair = growing(2, **fields)
    branches, others = [[each] for each in ANSWERS], [each[::-1] for each in HEARD]

    def heard(prompts):
        batch = pair.batch(heard=prompts)
        with torch.no_grad():
            return response_logits(pair.lm, pair.model.fuse(batch), batch.last_ids, branches)

    assert not torch.allclose(heard(HEARD), heard(others), atol=1e-3)
    pair.fuser.config = pair.fuser.config.model_copy(update={"sharer": "blank"})
    assert torch.equal(heard(HEARD), heard(others))


def test_several_sharers_do_not_read_along():
    with pytest.raises(ConfigError, match="without fuse_response, refresh, anchors and lora_rank"):
        MultiSharerModel([growing().model, growing().model])
