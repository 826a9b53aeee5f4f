"""Latency: who is timed when, what is counted, and what the report says about it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from typing import Any

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.evaluation.latency.measure import measure
from c2c_search.evaluation.latency.measure import turns
from c2c_search.evaluation.latency.report import LatencyReport
from c2c_search.evaluation.latency.report import Spread
from c2c_search.evaluation.latency.report import Timing
from c2c_search.evaluation.latency.report import ratio
from c2c_search.evaluation.latency.report import size
from c2c_search.evaluation.latency.stopwatch import Bench
from c2c_search.evaluation.latency.stopwatch import Stopwatch
from c2c_search.evaluation.latency.stopwatch import cache_bytes
from c2c_search.inference.decoding import generate
from c2c_search.inference.model import C2CModel
from c2c_search.tokenization.templates import asked


if TYPE_CHECKING:
    from collections.abc import Callable

QUESTIONS = [asked("What is wet?"), asked("Which of the two is hot, fire or ice?")]
FEW = {"new_tokens": 3, "repeats": 2, "relay_tokens": 4}


@pytest.fixture(scope="module")
def report(make_pair: Callable[..., C2CModel]) -> LatencyReport:
    return measure(make_pair(), QUESTIONS, **FEW)


def test_every_system_takes_every_turn_equally_often() -> None:
    order = list(turns(("a", "b", "c"), questions=3, rounds=2))
    places = Counter((name, place % 3) for place, (_, _, name) in enumerate(order))
    assert set(places.values()) == {2}  # 6 questions asked of 3 systems, in 3 places
    assert Counter(order) == {(r, q, n): 1 for r in range(2) for q in range(3) for n in "abc"}


def test_systems_take_turns_on_one_question() -> None:
    order = list(turns(("a", "b"), questions=2, rounds=1))
    assert order == [(0, 0, "a"), (0, 0, "b"), (0, 1, "b"), (0, 1, "a")]


def test_every_answer_is_kept_but_those_that_warm_up(report: LatencyReport) -> None:
    counts = Counter((each.system, each.question, each.repeat) for each in report.timings)
    systems = ("receiver", "sharer", "c2c", "text_relay")
    assert counts == {(s, q, r): 1 for s in systems for q in range(2) for r in range(2)}


def test_parts_make_up_the_answer(report: LatencyReport) -> None:
    for each in report.timings:
        assert sum(each.parts.values()) == pytest.approx(each.answer)
        assert 0 < each.first_token < each.answer
    assert list(report.of("c2c").parts) == [
        "tokenize",
        "prefill",
        "fuse",
        "first token",
        "decode",
    ]
    assert "sharer writes" in report.of("text_relay").parts


def test_a_model_alone_writes_what_it_writes_without_this_package(
    make_pair: Callable[..., C2CModel],
) -> None:
    pair = make_pair()
    bench = Bench(pair, new_tokens=4, relay_tokens=2)
    watch = Stopwatch(pair.device)
    first, cache = bench._prefill(pair.receiver, QUESTIONS[0], watch)
    model = C2CModel(pair.receiver, pair.sharer, None, cache_dtype=torch.float32)
    prompts = model.prompts([QUESTIONS[0]])
    batch = model.batch(prompts)
    fused = model.fuse(batch)
    (ids,) = generate(model.receiver.model, fused, batch.last_ids, stop=set(), max_new_tokens=1)
    assert ids == [first]
    # Without the last token, the cache is the prompt's own.
    assert cache.lengths == (len(prompts.encoded[0].receiver_ids),)
    assert torch.allclose(cache.packed[:, :, :-1], fused.packed, atol=1e-5)


def test_c2c_is_compared_with_the_receiver_and_with_text_relay(report: LatencyReport) -> None:
    assert [(each.system, each.to, each.moment) for each in report.ratios] == [
        ("c2c", "receiver", "first_token"),
        ("c2c", "receiver", "answer"),
        ("c2c", "text_relay", "first_token"),
        ("c2c", "text_relay", "answer"),
    ]


def test_models_alone_are_timed_without_a_fuser(make_pair: Callable[..., C2CModel]) -> None:
    pair = make_pair()
    report = measure(C2CModel(pair.receiver, pair.sharer, None), QUESTIONS, **FEW)
    assert [each.system for each in report.systems] == ["receiver", "sharer", "text_relay"]
    assert report.ratios == ()


def test_c2c_without_a_fuser_is_refused(make_pair: Callable[..., C2CModel]) -> None:
    pair = make_pair()
    with pytest.raises(ConfigError, match="c2c needs a fuser"):
        measure(C2CModel(pair.receiver, pair.sharer, None), QUESTIONS, systems=["c2c"])


def test_no_questions_are_refused(make_pair: Callable[..., C2CModel]) -> None:
    with pytest.raises(ConfigError, match="0 questions"):
        measure(make_pair(), [])


def test_the_sharers_cache_is_counted_where_the_fuser_reads_it(
    make_pair: Callable[..., C2CModel],
) -> None:
    model = make_pair()
    model.cache_dtype = torch.bfloat16
    batch = model.batch(model.prompts([asked("What is wet?")]))
    # "Question: What is wet?\nAnswer:" is 30 bytes, a token each, and the last is not fused. The
    # sharer has 2 layers, both sources (3 receiver layers from the last: 1, 0 and 0 again), of
    # 1 head of 12 numbers, in 2 bytes; keys and values.
    assert sorted(set(model.fuser.sources.flatten().tolist())) == [0, 1]
    assert cache_bytes(model, batch, new_tokens=64) == 2 * 2 * 29 * 12 * 2


def test_layers_that_feed_nothing_do_not_cross_the_wire(
    make_pair: Callable[..., C2CModel],
) -> None:
    model = make_pair(layer_share=0.3)
    batch = model.batch(model.prompts([asked("What is wet?")]))
    # One receiver layer of three, fed by the sharer's last; the caches are float32 here.
    assert cache_bytes(model, batch, new_tokens=64) == 2 * 1 * 29 * 12 * 4


def test_a_fused_response_crosses_the_wire_too(make_pair: Callable[..., C2CModel]) -> None:
    model = make_pair(fuse_response=True)
    batch = model.batch(model.prompts([asked("What is wet?")]))
    # 29 tokens of the prompt and 4 of an answer of 5: the last is never read.
    assert cache_bytes(model, batch, new_tokens=5) == 2 * 2 * (29 + 4) * 12 * 4


def test_relayed_text_is_counted_in_bytes(
    make_pair: Callable[..., C2CModel], report: LatencyReport
) -> None:
    wire = report.of("text_relay").wire_bytes
    # Four tokens of a byte each, without white space around; a lone byte decodes to three.
    assert wire is not None
    assert 0 <= wire.low <= wire.high <= 4 * 3
    assert report.of("receiver").wire_bytes is None


def test_weights_are_those_of_the_models_that_a_system_needs(report: LatencyReport) -> None:
    weights = {each.system: each.weight_bytes for each in report.systems}
    assert weights["text_relay"] == weights["receiver"] + weights["sharer"]
    assert weights["c2c"] > weights["text_relay"]


def test_json_round_trip_keeps_everything(report: LatencyReport) -> None:
    assert LatencyReport.model_validate_json(report.model_dump_json()) == report


def test_markdown_says_what_was_measured_and_how(report: LatencyReport) -> None:
    text = report.markdown()
    assert "| c2c / receiver | " in text
    assert "2 questions asked 2 times each" in text
    assert "answers of exactly 3 tokens" in text
    assert max(line.count("|") for line in text.splitlines()) == 8  # seven columns


def _timings(system: str, seconds: list[list[float]]) -> list[Timing]:
    return [
        Timing(
            system=system, question=q, repeat=r, first_token=time, answer=2 * time, parts={}
        )
        for q, repeats in enumerate(seconds)
        for r, time in enumerate(repeats)
    ]  # fmt: skip


def test_a_ratio_is_taken_answer_by_answer() -> None:
    # 2/1, 6/2, 20/10 and 40/10: 2, 3, 2, 4 have the median 2.5; medians of times: 13 / 6.
    timings = _timings("c2c", [[2, 6], [20, 40]]) + _timings("receiver", [[1, 2], [10, 10]])
    found = ratio(timings, "c2c", "receiver", "first_token").ratio
    assert found.value == 2.5
    assert 2 <= found.low <= 2.5 <= found.high <= 4


def test_a_ratio_that_never_varies_has_no_spread() -> None:
    timings = _timings("c2c", [[2, 4], [6, 8]]) + _timings("receiver", [[1, 2], [3, 4]])
    found = ratio(timings, "c2c", "receiver", "answer").ratio
    assert (found.low, found.value, found.high) == (2, 2, 2)


def test_a_spread_is_median_and_quartiles() -> None:
    assert Spread.of([1, 2, 3, 4, 5]) == Spread(median=3, low=2, high=4)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123456, "123 kB"), (5.4e9, "5.4 GB")],
)
def test_bytes_are_written_in_a_fitting_unit(count: float, text: str) -> None:
    assert size(count) == text


def test_progress_counts_every_answer(make_pair: Callable[..., C2CModel]) -> None:
    told: list[Any] = []
    measure(
        make_pair(),
        QUESTIONS,
        systems=["receiver", "c2c"],
        new_tokens=2,
        repeats=1,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(done, 8) for done in range(1, 9)]  # 2 rounds, 2 questions, 2 systems
