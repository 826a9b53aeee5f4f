"""The benchmark times whole answers, and compares what it says that it compares."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def latency(program):
    return program("answer_latency")


def test_a_question_has_about_the_wished_length(latency, tiny_model):
    loaded = tiny_model()
    text = latency.question(loaded, 60)
    assert len(latency.read(loaded, text)) == pytest.approx(60, abs=2)


def test_every_system_answers_in_every_round(latency, make_pair):
    pair = make_pair()
    systems = {
        "c2c": latency.ours(pair, 3),
        "receiver, generate": latency.theirs(pair.receiver, 3),
    }
    times = latency.take_turns(systems, "one two", pair.device, 2)
    assert times.keys() == systems.keys()
    assert set(times["c2c"]) == {"read", "fuse", "first token", "decode"}
    assert set(times["receiver, generate"]) == {"read", "first token", "decode"}
    assert all(len(seconds) == 2 for parts in times.values() for seconds in parts.values())


def test_ratios_are_of_medians(latency):
    def times(read, first, decode):
        return {"read": [read] * 3, "first token": [first, first, 9.0], "decode": [decode] * 3}

    summary = latency.summary(
        {
            "receiver": times(1.0, 1.0, 2.0),
            "receiver, generate": times(0.5, 1.0, 2.5),
            "sharer": times(2.0, 0.5, 7.0),
            "sharer, generate": times(0.5, 1.5, 7.0),
            "c2c": times(2.0, 1.0, 2.0),
        }
    )
    # First tokens: c2c 2 + 1 = 3; generate max(1.5, 2) = 2; ours max(2, 2.5) = 2.5.
    assert list(summary["ratios"].values()) == pytest.approx([3 / 2, 3 / 2.5, 2 / 2, 2 / 2.5])
