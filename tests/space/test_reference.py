"""The setting that stands for a pair."""

from __future__ import annotations

from c2c_search.space.reference import reference


ENQUEUED = [
    {"pair": "back", "fuser.depth": 1},
    {"pair": "there", "fuser.depth": 4, "fuser.gate.granularity": "none"},
    {"pair": "there", "fuser.depth": 2},
]


def test_first_enqueued_setting_of_the_pair(make_space):
    space = make_space(enqueue=ENQUEUED)
    params = reference(space, "there")
    assert params["pair"] == "there"
    assert params["fuser.depth"] == 4
    assert "fuser.gate.noise" not in params  # does not apply without a gate
    assert space.configuration(params).pair == space.pairs["there"]


def test_same_at_every_start(make_space):
    assert reference(make_space(), "back") == reference(make_space(), "back")


def test_pair_that_is_not_enqueued(make_space):
    space = make_space(enqueue=ENQUEUED[:1])
    assert space.configuration(reference(space, "there")).pair == space.pairs["there"]
