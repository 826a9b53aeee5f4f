"""One timed answer: what it writes, on which threads, and what it takes and sends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch

from c2c_search.evaluation.latency import stopwatch
from c2c_search.evaluation.latency.measure import measure
from c2c_search.evaluation.latency.stopwatch import Stopwatch
from c2c_search.evaluation.latency.stopwatch import TimedSystems
from c2c_search.evaluation.latency.stopwatch import cache_bytes
from c2c_search.inference.model import C2CModel
from c2c_search.prompt_cache import parallel_prefill
from c2c_search.tokenization.templates import asked
from tests.inference.greedy import generate


if TYPE_CHECKING:
    from collections.abc import Callable

    from c2c_search.evaluation.latency.report import LatencyReport

QUESTION = asked("What is wet?")


def test_a_model_alone_writes_what_it_writes_without_this_package(
    make_pair: Callable[..., C2CModel],
) -> None:
    pair = make_pair()
    timed = TimedSystems(pair, new_tokens=4, relay_tokens=2)
    watch = Stopwatch(pair.device)
    first, cache = timed._prefill("receiver", QUESTION, watch)
    model = C2CModel(pair.receiver, pair.sharer, None, cache_dtype=torch.float32)
    prompts = model.prompts([QUESTION])
    batch = model.batch(prompts)
    fused = model.fuse(batch)
    (ids,) = generate(model.receiver.model, fused, batch.last_ids, stop=set(), max_new_tokens=1)
    assert ids == [first]
    # Without the last token, the cache is the prompt's own.
    assert cache.lengths == (len(prompts.encoded[0].receiver_ids),)
    assert torch.allclose(cache.packed[:, :, :-1], fused.packed, atol=1e-5)


def test_the_sharers_cache_is_counted_where_the_fuser_reads_it(
    make_pair: Callable[..., C2CModel],
) -> None:
    model = make_pair()
    model.cache_dtype = torch.bfloat16
    batch = model.batch(model.prompts([QUESTION]))
    # "Question: What is wet?\nAnswer:" is 30 bytes, a token each, and the last is not fused. The
    # sharer has 2 layers, both sources (3 receiver layers from the last: 1, 0 and 0 again), of
    # 1 head of 12 numbers, in 2 bytes; keys and values.
    assert sorted(set(model.fuser.sources.flatten().tolist())) == [0, 1]
    assert cache_bytes(model, batch, new_tokens=64) == 2 * 2 * 29 * 12 * 2


def test_layers_that_feed_nothing_do_not_cross_the_wire(
    make_pair: Callable[..., C2CModel],
) -> None:
    model = make_pair(layer_share=0.3)
    batch = model.batch(model.prompts([QUESTION]))
    # One receiver layer of three, fed by the sharer's last; the caches are float32 here.
    assert cache_bytes(model, batch, new_tokens=64) == 2 * 1 * 29 * 12 * 4


def test_a_fused_response_crosses_the_wire_too(make_pair: Callable[..., C2CModel]) -> None:
    model = make_pair(fuse_response=True)
    batch = model.batch(model.prompts([QUESTION]))
    # 29 tokens of the prompt and 4 of an answer of 5: the last is never read.
    assert cache_bytes(model, batch, new_tokens=5) == 2 * 2 * (29 + 4) * 12 * 4


def test_a_refreshed_message_crosses_the_wire_as_far_as_it_is_read(
    make_pair: Callable[..., C2CModel],
) -> None:
    model = make_pair(injection="side", refresh=3)
    batch = model.batch(model.prompts([QUESTION]))
    # All 30 tokens of the prompt, and of an answer of 6 the first 3: the next 3 come too late.
    for new_tokens, sent in ((3, 0), (4, 3), (6, 3), (7, 6)):
        assert cache_bytes(model, batch, new_tokens) == 2 * 2 * (30 + sent) * 12 * 4
    found = measure(model, [QUESTION], systems=["c2c"], new_tokens=5, repeats=1, warmup=0)
    assert "every 3 tokens of C2C's the sharer reads on" in found.markdown()


def test_weights_are_those_of_the_models_that_a_system_needs(report: LatencyReport) -> None:
    weights = {each.system: each.weight_bytes for each in report.systems}
    assert weights["text_relay"] == weights["receiver"] + weights["sharer"]
    assert weights["c2c"] > weights["text_relay"]


def test_a_model_that_is_its_own_sharer_weighs_once(make_pair: Callable[..., C2CModel]) -> None:
    receiver = make_pair().receiver
    timed = TimedSystems(C2CModel(receiver, receiver, None), new_tokens=2, relay_tokens=2)
    assert timed.weight_bytes("text_relay") == timed.weight_bytes("receiver")


@pytest.mark.parametrize(
    ("threads", "words"),
    [
        ((1, 1), "run at the same time, on 1 and 1 CPU threads"),
        (None, "run one after the other"),
    ],
)
def test_prefills_are_said_to_share_the_machine_as_they_do(
    make_pair: Callable[..., C2CModel],
    monkeypatch: pytest.MonkeyPatch,
    threads: tuple[int, int] | None,
    words: str,
) -> None:
    monkeypatch.setattr(parallel_prefill, "_threads", lambda *_: threads)
    model = make_pair()
    timed = TimedSystems(model, new_tokens=2, relay_tokens=2)
    assert timed.prefills(QUESTION) == words
    readers: list[int] = []
    for each in (model.receiver.model, model.sharer.model):
        each.base_model.register_forward_pre_hook(lambda *_: readers.append(threading.get_ident()))
    timed.answer("c2c", QUESTION, Stopwatch(model.device))
    assert len(set(readers)) == (2 if threads else 1)


def test_prefills_on_one_gpu_are_said_to_have_streams(
    make_pair: Callable[..., C2CModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopwatch, "parallel", lambda *_: "streams")
    timed = TimedSystems(make_pair(), new_tokens=2, relay_tokens=2)
    assert timed.prefills(QUESTION) == "run at the same time, each in a stream of the GPU"


def test_a_model_that_is_its_own_sharer_has_one_prefill(
    make_pair: Callable[..., C2CModel],
) -> None:
    loaded = make_pair().receiver
    model = make_pair(receiver=loaded, sharer=loaded)
    timed = TimedSystems(model, new_tokens=2, relay_tokens=2)
    assert timed.prefills(QUESTION) == "are one, of the same model"


def test_a_sharer_drafts_first_and_at_full_length(make_pair: Callable[..., C2CModel]) -> None:
    model = make_pair(injection="append", message="draft", draft_tokens=5)
    watch = Stopwatch(model.device)
    sent = TimedSystems(model, new_tokens=3, relay_tokens=5).answer("c2c", QUESTION, watch)
    assert list(watch.parts) == [
        "tokenize", "sharer drafts", "prefill", "fuse", "first token", "decode"
    ]  # fmt: skip
    # Five tokens of 2 layers with 12 numbers of 4 bytes, keys and values: no token of the prompt.
    assert sent == 2 * 2 * 5 * 12 * 4


def test_words_cross_as_token_ids_before_the_receiver_reads(
    make_pair: Callable[..., C2CModel],
) -> None:
    model = make_pair(
        injection="append", message="draft", draft_tokens=5, anchors="first", anchor_tokens=4
    )
    words = model.prompts([QUESTION]).encoded[0].anchors
    assert words
    watch = Stopwatch(model.device)
    sent = TimedSystems(model, new_tokens=3, relay_tokens=5).answer("c2c", QUESTION, watch)
    assert [*watch.parts][1:4] == ["sharer drafts", "anchors", "prefill"]
    assert sent == 2 * 2 * 5 * 12 * 4 + 4 * len(words)
