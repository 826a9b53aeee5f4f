"""Latency: who is timed when, and what is counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from typing import Any

import pytest

from c2c_search.errors import ConfigError
from c2c_search.evaluation.latency.measure import measure
from c2c_search.evaluation.latency.measure import turns
from c2c_search.inference.model import C2CModel
from c2c_search.tokenization.templates import asked


if TYPE_CHECKING:
    from collections.abc import Callable

    from c2c_search.evaluation.latency.report import LatencyReport

QUESTIONS = [asked("What is wet?"), asked("Which of the two is hot, fire or ice?")]
FEW = {"new_tokens": 3, "repeats": 2, "relay_tokens": 4}


def test_every_system_takes_every_turn_equally_often() -> None:
    order = list(turns(("a", "b", "c"), questions=3, rounds=2))
    turns_of = Counter((name, turn % 3) for turn, (_, _, name) in enumerate(order))
    assert set(turns_of.values()) == {2}  # 6 questions asked of 3 systems, in 3 turns
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
    assert report.prefills == {}


def test_c2c_without_a_fuser_is_refused(make_pair: Callable[..., C2CModel]) -> None:
    pair = make_pair()
    with pytest.raises(ConfigError, match="c2c needs a fuser"):
        measure(C2CModel(pair.receiver, pair.sharer, None), QUESTIONS, systems=["c2c"])


def test_no_questions_are_refused(make_pair: Callable[..., C2CModel]) -> None:
    with pytest.raises(ConfigError, match="0 questions"):
        measure(make_pair(), [])


def test_relayed_text_is_counted_in_bytes(
    make_pair: Callable[..., C2CModel], report: LatencyReport
) -> None:
    wire = report.of("text_relay").wire_bytes
    # Four tokens of a byte each, without white space around; a lone byte decodes to three.
    assert wire is not None
    assert 0 <= wire.low <= wire.high <= 4 * 3
    assert report.of("receiver").wire_bytes is None


def test_progress_counts_every_answer(make_pair: Callable[..., C2CModel]) -> None:
    counted: list[Any] = []
    measure(
        make_pair(),
        QUESTIONS,
        systems=["receiver", "c2c"],
        new_tokens=2,
        repeats=1,
        progress=lambda done, total: counted.append((done, total)),
    )
    assert counted == [(done, 8) for done in range(1, 9)]  # 2 rounds, 2 questions, 2 systems


def test_relayed_texts_are_as_long_as_drafts(make_pair: Callable[..., C2CModel]) -> None:
    model = make_pair(injection="append", message="draft", draft_tokens=5)
    systems = ["c2c", "text_relay"]
    found = measure(model, [asked("Wet?")], systems=systems, new_tokens=2, repeats=1, warmup=0)
    assert (found.relay_tokens, found.draft_tokens) == (5, 5)
    assert "relayed texts of exactly 5, drafts of exactly 5," in found.markdown()
    assert found.of("c2c").parts["sharer drafts"].median > 0
    plain = measure(make_pair(), [asked("Wet?")], new_tokens=2, repeats=1, warmup=0)
    assert (plain.relay_tokens, plain.draft_tokens) == (64, None)
    assert "drafts" not in plain.markdown()
