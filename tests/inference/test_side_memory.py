"""A side memory against plain matrix products, in batches, token by token and through generate."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.model import C2CModel
from c2c_search.inference.multi_sharer import MultiSharerModel
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.queries import Queries
from c2c_search.inference.scoring import response_logits
from c2c_search.inference.scoring import score_options
from c2c_search.inference.token_ids import IdPrompts
from tests.architectures import ARCHITECTURES
from tests.inference.greedy import generate
from tests.inference.test_model import bare
from tests.inference.test_model import inputs


PROMPTS = [[5, 9, 12, 7, 30, 8], [13, 4, 2], [6, 12, 8, 11, 90]]
HEARD = [[7, 7, 8, 50], [60, 61, 62, 3, 5], [1, 2]]
RESPONSES = [[3, 14, 15, 9], [2, 71], [8, 28, 18]]
TANH = GateConfig(granularity="head", rule="tanh", initial_logit=0.6)


class Pair:
    """A pair, and what each has read: prompts of other lengths, so that nothing is aligned."""

    def __init__(self, receiver="llama", sharer="llama", *, seed=0, **fields):
        fields = {
            "projector": "linear",
            "injection": "side",
            "initialisation": "random",
            "normalisation": "none",
            "gate": TANH,
            "layer_share": 0.5,
            **fields,
        }
        self.receiver, self.sharer = bare(receiver), bare(sharer)
        torch.manual_seed(seed)
        config = FuserConfig(**fields)
        shape = cache_shape(self.receiver, adapted=config.lora_rank > 0)
        self.fuser = Fuser(config, shape, cache_shape(self.sharer)).eval()
        with torch.no_grad():
            for parameter in self.fuser.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        self.model = C2CModel(self.receiver, self.sharer, self.fuser, cache_dtype=torch.float32)
        self.lm = self.receiver.model

    def batch(self, prompts=PROMPTS, heard=HEARD):
        read = [
            IdPrompts.read(
                torch.tensor([ours]),
                torch.tensor([theirs]),
                alignment=torch.zeros(1, len(ours), dtype=torch.long),
            ).encoded[0]
            for ours, theirs in zip(prompts, heard, strict=True)
        ]
        return self.model.batch(self.model.cached(read))

    def logits(self, prompts=PROMPTS, heard=HEARD, responses=RESPONSES):
        batch = self.batch(prompts, heard)
        with torch.no_grad():
            found = response_logits(
                self.lm, self.model.fuse(batch), batch.last_ids, [[each] for each in responses]
            )
        return found.split([len(each) for each in responses])


def rms(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def rotated(x, position, theta):
    """A head's numbers at a position, by halves."""
    half = len(x) // 2
    angles = position / theta ** (torch.arange(half) / half)
    first, second = x[:half], x[half:]
    cos, sin = torch.cos(angles), torch.sin(angles)
    return torch.cat([first * cos - second * sin, second * cos + first * sin])


def sharers_cache(lm, ids, *, unrotated):
    """Keys and values by layer, as ``(tokens, heads * head_dim)``."""
    with torch.no_grad():
        output = lm(torch.tensor([ids]), output_hidden_states=True, use_cache=True)
    found = []
    for number, layer in enumerate(lm.model.layers):
        cached = output.past_key_values.layers[number]
        keys, values = (one[0].transpose(0, 1).flatten(1) for one in (cached.keys, cached.values))
        if unrotated:
            hidden = rms(
                output.hidden_states[number][0],
                layer.input_layernorm.weight,
                lm.config.rms_norm_eps,
            )
            keys = hidden @ layer.self_attn.k_proj.weight.T
        found.append((keys, values))
    return found


def naive_memory(fuser, lm, ids):
    """Receiver layer to keys before the receiver's key norm, and gated values."""
    read = sharers_cache(lm, ids, unrotated=fuser.config.keys == "unrotated")
    maps = fuser.projector.projection
    count, found = len(fuser.layers), {}
    for index, layer in enumerate(fuser.layers):
        keys, values = read[int(fuser.sources[index, 0])]
        own_keys = keys @ maps.weight[index] + maps.bias[index]
        own_values = values @ maps.weight[count + index] + maps.bias[count + index]
        openness = torch.tanh(fuser.gate.logit[index, 0])
        by_head = own_values.unflatten(-1, (len(openness), -1)) * openness[:, None]
        found[layer] = own_keys, by_head.flatten(1)
    return found


def branch(layer, query, keys, values, head_dim, eps):
    """What a query of one head, unrotated, finds in one head's memory."""
    scores = torch.stack([query @ key for key in keys]) / head_dim**0.5
    weights = torch.exp(scores - scores.max())
    return sum(w * value for w, value in zip(weights / weights.sum(), values, strict=True))


@torch.no_grad()
def naive_logits(lm, ids, readers, memories):
    """Logits after each token of one sequence; memories are read from position ``readers``.

    What is read may depend on the position: ``memories`` is then a function of it.
    """
    at = memories if callable(memories) else lambda place: memories
    config = lm.config
    eps, dim = config.rms_norm_eps, lm.model.layers[0].self_attn.head_dim
    theta = config.rope_parameters["rope_theta"]
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    hidden = lm.model.embed_tokens.weight[torch.tensor(ids)]
    for number, layer in enumerate(lm.model.layers):
        attention = layer.self_attn
        normed = rms(hidden, layer.input_layernorm.weight, eps)
        queries, keys, values = (
            (normed @ each.weight.T).unflatten(-1, (-1, dim))
            for each in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        has_norms = hasattr(attention, "q_norm")
        if has_norms:
            queries = rms(queries, attention.q_norm.weight, eps)
            keys = rms(keys, attention.k_norm.weight, eps)
        rows = []
        for place in range(len(ids)):
            of_heads = []
            for head in range(heads):
                group = head // (heads // groups)
                query = queries[place, head]
                seen = [rotated(keys[n, group], n, theta) for n in range(place + 1)]
                asked = rotated(query, place, theta)
                scores = torch.stack([asked @ key for key in seen]) / dim**0.5
                weights = torch.softmax(scores, dim=0)
                out = sum(weights[n] * values[n, group] for n in range(place + 1))
                for memory in at(place) if place >= readers else []:
                    if number not in memory:
                        continue
                    side_keys, side_values = (
                        part.unflatten(-1, (groups, dim))[:, group] for part in memory[number]
                    )
                    if has_norms:
                        side_keys = rms(side_keys, attention.k_norm.weight, eps)
                    out = out + branch(layer, query, side_keys, side_values, dim, eps)
                of_heads.append(out)
            rows.append(torch.cat(of_heads))
        hidden = hidden + torch.stack(rows) @ attention.o_proj.weight.T
        normed = rms(hidden, layer.post_attention_layernorm.weight, eps)
        inner = torch.nn.functional.silu(normed @ layer.mlp.gate_proj.weight.T) * (
            normed @ layer.mlp.up_proj.weight.T
        )
        hidden = hidden + inner @ layer.mlp.down_proj.weight.T
    return rms(hidden, lm.model.norm.weight, eps) @ lm.lm_head.weight.T


def expected_logits(pair, row, *others):
    prompt, response = PROMPTS[row], RESPONSES[row]
    memories = [
        naive_memory(each.fuser, each.sharer.model, HEARD[row]) for each in (pair, *others)
    ]
    readers = 0 if pair.fuser.config.reads_from == "all" else len(prompt) - 1
    whole = naive_logits(pair.lm, prompt + response[:-1], readers, memories)
    return whole[len(prompt) - 1 :]


@pytest.mark.parametrize("receiver", ["llama", "qwen3"])
@pytest.mark.parametrize("reads_from", ["last", "all"])
@pytest.mark.parametrize("keys", ["rotated", "unrotated"])
def test_it_is_what_plain_matrix_products_say(receiver, reads_from, keys):
    pair = Pair(receiver, reads_from=reads_from, keys=keys)
    for row, found in enumerate(pair.logits()):
        expected = expected_logits(pair, row)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        alone = naive_logits(pair.lm, PROMPTS[row] + RESPONSES[row][:-1], 0, [])
        assert not torch.allclose(found, alone[len(PROMPTS[row]) - 1 :], atol=1e-2)


@pytest.mark.parametrize("reads_from", ["last", "all"])
def test_each_of_several_sharers_has_a_softmax_of_its_own(reads_from):
    pairs = [
        Pair("qwen3", reads_from=reads_from),
        Pair("qwen3", seed=5, reads_from=reads_from, layer_share=1.0),
    ]
    pairs[1].receiver = pairs[0].receiver
    for fusion in ("sequential", "parallel"):
        several = MultiSharerModel([pair.model for pair in pairs], fusion=fusion)
        batches = tuple(pair.batch() for pair in pairs)
        batch = replace_batch(batches)
        with torch.no_grad():
            found = response_logits(
                pairs[0].lm, several.fuse(batch), batch.last_ids, [[each] for each in RESPONSES]
            ).split([len(each) for each in RESPONSES])
        for row, of_row in enumerate(found):
            expected = expected_logits(pairs[0], row, pairs[1])
            torch.testing.assert_close(of_row, expected, atol=1e-5, rtol=1e-5)


def replace_batch(batches):
    from c2c_search.inference.multi_sharer import MultiSharerBatch

    first = batches[0]
    return MultiSharerBatch(
        first.receiver,
        first.sharer,
        first.lengths,
        first.last_ids,
        first.sharer_positions,
        receiver_ids=first.receiver_ids,
        of_pairs=batches,
    )


@pytest.mark.parametrize("order", [1, -1])
def test_a_sharer_that_changes_the_cache_is_heard_beside_one_that_does_not(order):
    # Each pair has loaded a receiver of its own, as several champions do.
    side, changing = Pair("qwen3"), Pair("qwen3", seed=5, injection="residual", gate={})
    aligned = IdPrompts.read(torch.tensor(PROMPTS[:1]), torch.tensor(PROMPTS[:1])).encoded
    models = [side.model, changing.model][::order]
    several = MultiSharerModel(models)
    batches = tuple(model.batch(model.cached(aligned)) for model in models)
    fused, branches = several.fuse(replace_batch(batches)), [[RESPONSES[0]]]
    last = batches[0].last_ids
    changed, remembered = (
        pair.model.fuse(batches[models.index(pair.model)]) for pair in (changing, side)
    )
    expected = replace(remembered, packed=changed.packed)
    with torch.no_grad():
        torch.testing.assert_close(
            response_logits(several.receiver.model, fused, last, branches),
            response_logits(side.lm, expected, last, branches),
        )
    anew = Pair("qwen3", reads_from="all")
    with pytest.raises(ConfigError, match="reads its prompt anew"):
        MultiSharerModel([anew.model, changing.model])


@pytest.mark.parametrize("fields", [{}, {"layer_share": 1.0}], ids=str)
@pytest.mark.parametrize(
    "gate", [{"rule": "tanh"}, {"rule": "hard", "initial_logit": -1.0}], ids=str
)
def test_zero_gates_are_the_receiver_bit_for_bit(gate, fields):
    pair = Pair("qwen3", gate=GateConfig(granularity="head", **gate), **fields)
    with torch.no_grad():
        pair.fuser.gate.logit.fill_(gate.get("initial_logit", 0.0))
    batch = pair.batch()
    own = response_logits(
        pair.lm,
        FusedCache(batch.receiver, batch.lengths),
        batch.last_ids,
        [[each] for each in RESPONSES],
    )
    assert torch.equal(torch.cat(pair.logits()), own)


def test_read_everywhere_with_zero_gates_the_prompt_is_the_receivers_own():
    pair = Pair("qwen3", reads_from="all", gate=GateConfig(granularity="head", rule="tanh"))
    with torch.no_grad():
        pair.fuser.gate.logit.zero_()
    for row, found in enumerate(pair.logits()):
        alone = naive_logits(pair.lm, PROMPTS[row] + RESPONSES[row][:-1], 0, [])
        torch.testing.assert_close(found, alone[len(PROMPTS[row]) - 1 :], atol=1e-5, rtol=1e-5)


MANY = [name for name in ARCHITECTURES if name != "falcon"]


@pytest.mark.parametrize("receiver", MANY)
@pytest.mark.parametrize("reads_from", ["last", "all"])
def test_a_batch_is_its_singles_and_a_written_answer_is_read_as_it_is_written(
    receiver, reads_from
):
    pair = Pair(receiver, sharer="qwen3", reads_from=reads_from)
    together = pair.logits()
    batch = pair.batch()
    for row, of_row in enumerate(together):
        (single,) = pair.logits(
            PROMPTS[row : row + 1], HEARD[row : row + 1], RESPONSES[row : row + 1]
        )
        torch.testing.assert_close(of_row, single, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        written = generate(
            pair.lm, pair.model.fuse(batch), batch.last_ids, stop=set(), max_new_tokens=4
        )
    for logits, answer in zip(pair.logits(responses=written), written, strict=True):
        assert logits.argmax(-1).tolist() == answer


@pytest.mark.parametrize("reads_from", ["last", "all"])
def test_options_of_a_prompt_read_one_memory(reads_from):
    pair = Pair(reads_from=reads_from)
    batch = pair.batch()
    options = [[[3, 14], [15], [9, 2, 6]], [[7]], [[8, 1], [8, 2]]]
    found = score_options(pair.lm, pair.model.fuse(batch), batch.last_ids, options)
    for row, choices in enumerate(options):
        for number, option in enumerate(choices):
            (alone,) = pair.logits(PROMPTS[row : row + 1], HEARD[row : row + 1], [option])
            own = alone.log_softmax(-1).gather(1, torch.tensor(option)[:, None]).sum()
            torch.testing.assert_close(found[row][number], own, atol=1e-5, rtol=1e-5)


def test_a_prompt_without_a_memory_is_as_it_is_alone():
    pair = Pair("qwen3")
    batch = pair.batch()
    fused = pair.model.fuse(batch)
    (memory,) = fused.memories
    first = memory.of_rows(range(1))
    own = FusedCache(batch.receiver, batch.lengths)
    branches = [[each] for each in RESPONSES]
    with torch.no_grad():
        alone = response_logits(pair.lm, own, batch.last_ids, branches)
        partly = response_logits(
            pair.lm, replace(own, memories=(first.among(0, 2),)), batch.last_ids, branches
        )
        nobody = response_logits(
            pair.lm,
            replace(own, memories=(memory.of_rows(range(0)).among(0, 3),)),
            batch.last_ids,
            branches,
        )
    count = len(RESPONSES[0])
    torch.testing.assert_close(partly[:count], pair.logits()[0])
    assert torch.equal(partly[count:], alone[count:])
    assert torch.equal(nobody, alone)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("reads_from", ["last", "all"])
def test_a_padded_batch_is_its_singles(side, reads_from):
    pair = Pair("qwen3", reads_from=reads_from)
    whole = pair.model(**inputs(side))
    for row in range(3):
        ours = inputs(side)["receiver_input_ids"][row][
            inputs(side)["receiver_attention_mask"][row].bool()
        ]
        theirs = inputs(side)["sharer_input_ids"][row][
            inputs(side)["sharer_attention_mask"][row].bool()
        ]
        single = pair.model(ours[None], theirs[None])
        torch.testing.assert_close(whole.logits[row], single.logits[0], atol=1e-4, rtol=1e-4)
        for layer, own in zip(
            whole.past_key_values.layers, single.past_key_values.layers, strict=True
        ):
            where = inputs(side)["receiver_attention_mask"][row].bool()
            torch.testing.assert_close(
                layer.keys[row][:, where], own.keys[0], atol=1e-4, rtol=1e-4
            )


@pytest.mark.parametrize("reads_from", ["last", "all"])
@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_receivers_own_generate_goes_on_within_the_memory(reads_from, lora_rank):
    pair = Pair("qwen3", reads_from=reads_from, lora_rank=lora_rank)
    ours, theirs = torch.tensor([[5, 9, 12, 7], [6, 4, 2, 1]]), torch.tensor([[7, 8, 3, 2]] * 2)
    told = pair.model.generate(receiver_input_ids=ours, sharer_input_ids=theirs, max_new_tokens=6)
    output = pair.model(ours, theirs)
    ids = torch.cat([ours, output.logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    adapted = pair.model.adaptation

    def go_on():
        return pair.lm.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=output.past_key_values,
            max_new_tokens=5,
            do_sample=False,
            eos_token_id=None,
        )

    with output.memory.active():
        if adapted is None:
            assert go_on().tolist() == told.tolist()
            return
    with adapted.active(), output.memory.active():
        assert go_on().tolist() == told.tolist()


def test_another_batch_than_that_of_the_memory_is_refused():
    pair = Pair("qwen3")
    ours = torch.tensor([[5, 9, 12, 7], [6, 4, 2, 1]])
    output = pair.model(ours, ours)
    with output.memory.active(), pytest.raises(ConfigError, match="of its own prompt"):
        pair.lm(ours[:1])


def test_the_receiver_is_as_it_was_afterwards_and_for_other_threads():
    pair = Pair("qwen3")
    ids = torch.tensor([PROMPTS[0]])
    own = pair.lm(ids).logits
    other, seen = Pair("qwen3", seed=3), []
    output, others = pair.model(ids, ids), other.model(ids, ids)
    with output.memory.active():
        inside = pair.lm(ids).logits
        thread = threading.Thread(target=lambda: seen.append(pair.lm(ids).logits))
        thread.start()
        thread.join()
        with pytest.raises(ZeroDivisionError), others.memory.active():
            raise ZeroDivisionError
        assert torch.equal(pair.lm(ids).logits, inside)
    assert torch.equal(seen[0], own)
    assert not torch.allclose(inside, own, atol=1e-2)
    assert torch.equal(pair.lm(ids).logits, own)
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in pair.lm.modules()
    )


def test_a_lora_adapts_the_queries_that_read():
    adapted = Pair("qwen3", lora_rank=2)
    plain = C2CModel(
        adapted.receiver,
        adapted.sharer,
        adapted.fuser,
        cache_dtype=torch.float32,
    )
    plain.adaptation = None
    adapted_logits = torch.cat(adapted.logits())
    adapted.model = plain
    assert not torch.allclose(adapted_logits, torch.cat(adapted.logits()), atol=1e-2)


def test_what_cannot_be_looked_into_is_refused_by_name():
    with pytest.raises(ConfigError, match="falcon"):
        Queries.of(ARCHITECTURES["falcon"]())
    with pytest.raises(ConfigError, match="falcon"):
        Pair("falcon")


@pytest.mark.parametrize("receiver", ["qwen3", "gemma3", "nanochat", "llama4"])
def test_keys_without_their_norms_scale_come_back_through_the_norm(receiver):
    lm = ARCHITECTURES[receiver]()
    queries = Queries.of(lm)
    layers = len(queries.maps)
    size = queries.kv_heads * queries.head_dim
    keys = torch.stack([queries.normed_keys(n, torch.randn(5, size)) for n in range(layers)])
    without = queries.unnormed_keys(keys)
    again = torch.stack([queries.normed_keys(n, each) for n, each in enumerate(without)])
    torch.testing.assert_close(again, keys, atol=1e-4, rtol=1e-4)
