"""C2CModel: text and token ids, every injection, between models of any architecture."""

from __future__ import annotations

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.errors import SourceError
from c2c_search.fuser import cost
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.inference.model import C2CModel
from c2c_search.models.identity import ModelIdentity
from c2c_search.models.loading import LoadedModel
from tests.architectures import ARCHITECTURES
from tests.inference.greedy import greedy


PROMPTS = [[5, 9, 12, 7, 30, 8, 11, 40, 41], [13, 4, 2], [6, 12, 8, 11, 90]]
HEARD = [[7, 7, 8, 50, 51, 52, 9, 3, 4], [60, 61, 62], [1, 2, 3, 4, 5]]
# Receiver and sharer: RoPE of several kinds, none, sliding windows, soft-capping, in both roles.
MIXED = [
    ("llama", "gpt2"),
    ("gpt2", "qwen3"),
    ("gemma2", "mistral"),
    ("gemma3", "gpt_neox"),
    ("qwen2", "gemma3"),
    ("phi3", "llama, yarn"),
    ("opt", "gemma2"),
    ("gpt_neox", "phi3"),
    ("mistral", "opt"),
]


def bare(name: str) -> LoadedModel:
    """A model of some architecture, without a tokenizer."""
    identity = ModelIdentity(
        source=f"path:{name}",
        revision=None,
        architecture=name,
        weights_sha256=name,
        config_sha256=name,
        tokenizer_sha256="none",
        licence="none",
        licence_url=None,
    )
    return LoadedModel(identity, ARCHITECTURES[name](), None)


def padded(rows: list[list[int]], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), 1)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for place, row in enumerate(rows):
        where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[place, where] = torch.tensor(row)
        mask[place, where] = 1
    return ids, mask


def inputs(side: str) -> dict[str, torch.Tensor]:
    ids, mask = padded(PROMPTS, side)
    heard, heard_mask = padded(HEARD, "right" if side == "left" else "left")
    return {
        "receiver_input_ids": ids,
        "sharer_input_ids": heard,
        "receiver_attention_mask": mask,
        "sharer_attention_mask": heard_mask,
    }


@pytest.mark.parametrize(("receiver", "sharer"), MIXED)
@pytest.mark.parametrize("keys", ["rotated", "unrotated"])
def test_untrained_fuser_between_any_two_is_the_receiver(make_pair, receiver, sharer, keys):
    model = make_pair(receiver=bare(receiver), sharer=bare(sharer), trained=False, keys=keys)
    for prompt, heard in zip(PROMPTS, HEARD, strict=True):
        own = model.receiver.model(torch.tensor([prompt])).logits[:, -1:]
        output = model(torch.tensor([prompt]), torch.tensor([heard]))
        torch.testing.assert_close(output.logits, own, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("receiver", "sharer"), MIXED)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"keys": "unrotated", "projector": "joint"},
        {"injection": "replace", "projector": "linear"},
        {"injection": "append", "keys": "unrotated"},
        {"injection": "side", "keys": "unrotated"},
        {"injection": "side", "reads_from": "all"},
        {"injection": "append", "keys": "unrotated", "slots": 3},
    ],
    ids=str,
)
def test_a_batch_is_its_singles_whatever_the_padding(make_pair, receiver, sharer, fields):
    model = make_pair(receiver=bare(receiver), sharer=bare(sharer), **fields)
    assert_batch_is_its_singles(model)


@pytest.mark.parametrize(("receiver", "sharer"), MIXED[:4])
@pytest.mark.parametrize("injection", ["residual", "replace", "append"])
def test_a_batch_that_hears_layers_is_its_singles(make_pair, receiver, sharer, injection):
    fields = {"injection": injection, "keys": "unrotated", "source": "hidden"}
    assert_batch_is_its_singles(make_pair(receiver=bare(receiver), sharer=bare(sharer), **fields))


def assert_batch_is_its_singles(model):
    left, right = model(**inputs("left")), model(**inputs("right"))
    torch.testing.assert_close(left.logits, right.logits)
    for row, (prompt, heard) in enumerate(zip(PROMPTS, HEARD, strict=True)):
        single = model(torch.tensor([prompt]), torch.tensor([heard]))
        torch.testing.assert_close(left.logits[row], single.logits[0], atol=1e-4, rtol=1e-4)
        for layer, own in zip(
            left.past_key_values.layers, single.past_key_values.layers, strict=True
        ):
            entries = own.keys.shape[2]
            torch.testing.assert_close(
                layer.keys[row, :, -entries:], own.keys[0], atol=1e-4, rtol=1e-4
            )


@pytest.mark.parametrize("fields", [{}, {"keys": "unrotated"}, {"injection": "replace"}], ids=str)
def test_the_receiver_alone_goes_on_from_the_fused_cache(make_pair, fields):
    model = make_pair(**fields)
    prompt, heard = torch.tensor(PROMPTS[:1]), torch.tensor(HEARD[:1])
    told = model.generate(receiver_input_ids=prompt, sharer_input_ids=heard, max_new_tokens=5)
    output = model(prompt, heard)
    ids = prompt
    for _ in range(5):
        ids = torch.cat([ids, output.logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        output = model.receiver.model(ids[:, -1:], past_key_values=output.past_key_values)
    assert told.tolist() == ids.tolist()


def test_text_is_its_token_ids(make_pair):
    model = make_pair()
    (encoded,) = model.prompts([[{"role": "user", "content": "one two"}]]).encoded
    ids = model.generate(
        receiver_input_ids=torch.tensor([encoded.receiver_ids]),
        sharer_input_ids=torch.tensor([encoded.sharer_ids]),
        alignment=torch.tensor([encoded.alignment]),
        max_new_tokens=6,
    )[0, len(encoded.receiver_ids) :]
    answer = model.receiver.text_tokenizer.decode(ids, skip_special_tokens=True)
    assert model.generate("one two", max_new_tokens=6) == answer.split("\n")[0].strip()


def test_finished_answers_are_filled_up(make_pair):
    model = make_pair()
    free = model.generate(**inputs("left"), max_new_tokens=4)
    model.receiver.model.generation_config.eos_token_id = int(free[0, -4])
    stopped = model.generate(**inputs("left"), max_new_tokens=4)
    assert stopped[0, -4] == free[0, -4]
    assert (stopped[0, -3:] == model.receiver.model.generation_config.pad_token_id).all()


def test_a_single_token_has_nothing_to_fuse(make_pair):
    model = make_pair()
    own = model.receiver.model(torch.tensor([[7]])).logits
    told = model(torch.tensor([[7]]), torch.tensor([[9]])).logits
    torch.testing.assert_close(told, own, atol=1e-5, rtol=1e-5)


def test_a_shut_gate_is_the_receiver_alone_bit_for_bit(make_pair):
    model = make_pair(gate=GateConfig(granularity="layer", rule="hard"))
    with torch.no_grad():
        model.fuser.gate.logit.fill_(-1.0)
    batch = model.batch(model.prompts([[{"role": "user", "content": "one two"}]]))
    assert torch.equal(model.fuse(batch).packed, batch.receiver)


@pytest.mark.parametrize("role", ["receiver", "sharer"])
def test_a_model_alone_rounds_as_the_pair_does(make_pair, monkeypatch, role):
    pair = make_pair()
    pair.cache_dtype = torch.float16
    asked = []
    monkeypatch.setattr(
        C2CModel,
        "generate",
        lambda self, *_, **__: asked.append((self.receiver, self.cache_dtype)),
    )
    getattr(pair, f"{role}_alone")("What is wet?")
    assert asked == [(getattr(pair, role), torch.float16)]


def test_appended_entries_stand_in_front_and_the_prompt_stays_as_it_is(make_pair):
    model = make_pair(injection="append")
    conversation = [[{"role": "user", "content": "where?"}]]
    context = [[{"role": "user", "content": "It is in the garden, behind the shed."}]]
    batch = model.batch(model.prompts(conversation, context))
    fused = model.fuse(batch)
    own, further = batch.lengths[0], len(batch.sharer_positions[0])
    assert further > own  # the sharer read more, all of it
    assert fused.lengths == (own + further,)
    assert fused.positions[0].tolist() == [*range(own - further, own), *range(own)]
    assert fused.next_positions == (own,)
    assert torch.equal(fused.packed[:, :, further:], batch.receiver)
    other = [[{"role": "user", "content": "It is on the roof, behind the flue."}]]
    elsewhere = model.fuse(model.batch(model.prompts(conversation, other)))
    assert not torch.equal(fused.packed[:, :, :further], elsewhere.packed[:, :, :further])
    asked = model.generate_batch(["where?"], ["It is in the garden."], max_new_tokens=4)
    assert len(asked) == 1


def test_a_message_of_slots_is_as_long_for_every_prompt(make_pair):
    model = make_pair(injection="append", slots=4, keys="unrotated")
    conversations = [
        [{"role": "user", "content": "where?"}],
        [{"role": "user", "content": "who?"}],
    ]
    contexts = ["It is in the garden, behind the shed.", "Ann."]
    heard = [[{"role": "user", "content": text}] for text in contexts]
    batch = model.batch(model.prompts(conversations, heard))
    fused = model.fuse(batch)
    own, said = batch.lengths[0], len(batch.sharer_positions[0])
    assert said > len(batch.sharer_positions[1])
    assert fused.lengths == tuple(4 + length for length in batch.lengths)
    middles = [own - said + (2 * slot + 1) * said // 8 for slot in range(4)]
    assert fused.positions[0].tolist() == [*middles, *range(own)]
    assert torch.equal(fused.packed[:, :, 4 : 4 + own], batch.receiver[:, :, :own])
    size = model.fuser.sharer_shape.size
    for tokens in (1, 1000):
        told = cost.message_bytes(model.fuser, tokens, torch.bfloat16)
        assert told == 2 * 2 * len(model.fuser.layers) * 4 * size


def test_another_context_needs_a_fuser_that_appends(make_pair):
    with pytest.raises(ConfigError, match="injection append"):
        make_pair().generate_batch(["where?"], ["In the garden."])


@pytest.mark.parametrize("keys", ["rotated", "unrotated"])
@pytest.mark.parametrize("token_alignment", ["span", "first", "longest"])
def test_a_fused_response_is_read_as_it_is_written(make_pair, tiny_model, keys, token_alignment):
    sharer = tiny_model("gemma3", layers=4, heads=1, head_dim=12, seed=2)
    model = make_pair(
        fuse_response=True, keys=keys, token_alignment=token_alignment, sharer=sharer
    )
    plain = make_pair(keys=keys, token_alignment=token_alignment, sharer=sharer)
    conversations = [[{"role": "user", "content": text}] for text in ("one two", "three")]
    prompts = model.prompts(conversations)
    batch = model.batch(prompts)
    written = greedy(model, batch, 6)
    # Reading the same answers at once, as branches beside others, must predict the same tokens.
    from c2c_search.inference.scoring import response_logits

    branches = [[answer[:3], answer] for answer in written]
    logits = response_logits(model.receiver.model, model.fuse(batch), batch.last_ids, branches)
    read = logits.argmax(-1).split([len(one) for answers in branches for one in answers])
    assert [one.tolist() for one in read] == [one for answers in branches for one in answers]
    unfused = response_logits(
        model.receiver.model, plain.fuse(plain.batch(prompts)), batch.last_ids, branches
    )
    first = torch.tensor([0, 3])  # each branch's first token is predicted by the prompt alone
    torch.testing.assert_close(logits[first], unfused[first])
    assert not torch.allclose(logits, unfused, atol=1e-3)


def test_gradients_reach_the_fuser_through_the_response(make_pair):
    from c2c_search.inference.scoring import response_logits

    model = make_pair(fuse_response=True)
    batch = model.batch(model.prompts([[{"role": "user", "content": "one"}]]))
    fused = model.fuse(batch, through=lambda receiver, sharer, rotations, lengths: receiver)
    response_logits(model.receiver.model, fused, batch.last_ids, [[[5, 6, 7]]]).sum().backward()
    grads = [parameter.grad for parameter in model.fuser.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads)
    assert any(grad.abs().sum() > 0 for grad in grads)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({}, "takes a question, or"),
        ({"question": "hi", "receiver_input_ids": torch.tensor([[1]])}, "takes a question, or"),
        ({"receiver_input_ids": torch.tensor([[1]])}, "takes a question, or"),
        (
            {
                "receiver_input_ids": torch.tensor([[1, 2]]),
                "sharer_input_ids": torch.tensor([[1]]),
            },
            "equally many tokens.*alignment=",
        ),
        (
            {
                "receiver_input_ids": torch.tensor([[1, 2]]),
                "sharer_input_ids": torch.tensor([[1]]),
                "alignment": torch.tensor([[0, 1]]),
            },
            "indices of the sharer's tokens, 0 to 0",
        ),
        (
            {"receiver_input_ids": torch.tensor([1]), "sharer_input_ids": torch.tensor([[1]])},
            "must be .batch, tokens.",
        ),
        (
            {
                "receiver_input_ids": torch.tensor([[1], [2]]),
                "sharer_input_ids": torch.tensor([[1]]),
            },
            "same number of prompts",
        ),
        (
            {
                "receiver_input_ids": torch.tensor([[1]]),
                "sharer_input_ids": torch.tensor([[1]]),
                "receiver_attention_mask": torch.tensor([[0]]),
            },
            "all padding",
        ),
    ],
)
def test_ids_that_do_not_fit_are_refused(make_pair, arguments, rule):
    with pytest.raises(ConfigError, match=rule):
        make_pair().generate(**arguments)


def test_text_needs_a_tokenizer(make_pair):
    model = make_pair(receiver=bare("llama"), sharer=bare("gpt2"))
    with pytest.raises(SourceError, match="has no tokenizer"):
        model.generate("hello")
