"""What messages and drafts take is told of a space before anything is loaded."""

from __future__ import annotations

import pytest

from c2c_search.inference.drafting import BATCH
from c2c_search.models.loading import load
from c2c_search.report.planned import render
from c2c_search.space.candidates import random_trials
from c2c_search.space.plan import plan
from c2c_search.space.schema import Space
from c2c_search.study.messages import Messages
from c2c_search.study.sizes import shapes
from c2c_search.training.preparation import read_rows


def space_of(tiny_pair, **dimensions) -> Space:
    return Space(
        study="tiny",
        pairs={"there": tiny_pair.model_dump()},
        search={"trials": 2, "pruner": "none"},
        dimensions={name.replace("__", "."): each for name, each in dimensions.items()},
        fixed={"fuser.injection": "append"},
        pipeline={
            "name": "tiny",
            "data": {"limit": {"train": 20, "validation": 6, "test": 4}},
            "training": {"steps": 20},
        },
    )


def models_of(pair) -> tuple[str, str]:
    return pair.receiver, pair.sharer


@pytest.fixture
def drafting(tiny_pair) -> Space:
    return space_of(
        tiny_pair,
        fuser__message={"choices": ["prompt", "draft"]},
        fuser__draft_tokens={"choices": [8, 16], "when": {"fuser.message": "draft"}},
    )


def test_anchors_are_token_ids_beside_the_message(drafting, tiny_pair):
    messages = Messages(drafting, shapes(drafting))
    trial = next(each for each in random_trials(drafting, 50) if each.fuser.drafts)
    words = trial.fuser.model_copy(update={"anchors": "last", "anchor_tokens": 5})
    anchored = trial.model_copy(update={"fuser": words})
    assert messages.bytes_of(anchored) == messages.bytes_of(trial) + 5 * 4


def test_a_draft_is_as_long_as_it_may_be(drafting, tiny_pair):
    shape_of = shapes(drafting)
    trials = [*random_trials(drafting, 50)]
    messages = Messages(drafting, shape_of)
    shape = shape_of(tiny_pair.sharer)
    entry = 2 * shape.layers * shape.size * 2  # keys and values in bfloat16
    by_length = {t.fuser.draft_tokens: messages.bytes_of(t) for t in trials if t.fuser.drafts}
    heard = entry * shape_of(tiny_pair.receiver).layers // shape.layers  # one for each of these
    assert by_length == {8: 8 * heard, 16: 16 * heard}
    found = messages.drafting(trials)
    assert (found.prompts, found.tokens) == (30, 30 * 16)
    assert found.passes == 3 * 16  # a batch of each split
    assert BATCH[0] >= 20
    of_prompts = found.stored - found.tokens * entry
    assert of_prompts > 0
    assert of_prompts % entry == 0


def test_the_message_of_a_prompt_is_as_long_as_prompts_are(drafting, tiny_pair):
    messages = Messages(drafting, shapes(drafting))
    trial = next(t for t in random_trials(drafting, 50) if not t.fuser.drafts)
    models = [load(each) for each in models_of(tiny_pair)]
    lengths = [
        len(prompt.sharer_ids)
        for rows in messages._splits
        for prompt in read_rows(*models, trial.data, rows, date=None)
    ]
    receiver, sharer = (shapes(drafting)(each) for each in models_of(tiny_pair))
    expected = round(sum(lengths) / len(lengths)) * 2 * receiver.layers * sharer.size * 2
    assert messages.bytes_of(trial) == expected
    assert messages.drafting([trial]) is None


def test_a_plan_shows_them(drafting, tiny_pair):
    from tests.report.test_planned import shown

    text = shown(plan(drafting, messages=Messages(drafting, shapes(drafting)), samples=20))
    assert "a message" in text
    assert "30 of at most 480 tokens, in at most 48 passes of a sharer" in text
    of_old = space_of(tiny_pair, fuser__width={"choices": [8, 16]})
    assert "a message" not in shown(plan(of_old, messages=Messages(of_old, shapes(of_old))))
    assert render("tiny", plan(of_old)) is not None
