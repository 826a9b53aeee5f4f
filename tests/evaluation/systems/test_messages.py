"""Messages of zeros and of noise: what the fuser hears, and what that does not depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems import messages
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.inference.fusion import rotations_of


FUSERS = {
    "residual": {},
    "calibrated": {"normalisation": "calibrated"},
    "append": {"injection": "append"},
    "side": {"injection": "side", "keys": "unrotated"},
    "side, all": {"injection": "side", "reads_from": "all"},
    "hidden": {"source": "hidden", "keys": "unrotated"},
    "hidden slots": {"source": "hidden", "injection": "append", "slots": 2},
    "response": {"fuse_response": True},
    "refreshed": {"injection": "side", "refresh": 1},
    "unrotated": {"keys": "unrotated"},
    "unrotated append": {"keys": "unrotated", "injection": "append"},
}


@pytest.fixture
def build_on(pair, make_fuser):
    """``build_on("noise", seed=1, injection="append")``: a system of a fuser of these fields."""

    def built(name, seed=0, **fields):
        materials = Materials(pair, make_fuser(**fields), seed=seed)
        return SYSTEMS[name].build(materials)

    return built


def batches(system, prompts):
    """What is heard of each question, by its row."""
    return {
        row: replace(one.batch, sharer=one.batch.sharer)
        for one in system.passes(prompts)
        for row in one.rows
    }


def one_by_one(pair, questions):
    return QuestionPrompts(pair, questions, batch_size=1)


def with_context(question, text):
    return replace(question, sharer_messages=({"role": "user", "content": text},))


@pytest.mark.parametrize("fields", FUSERS.values(), ids=FUSERS)
def test_zeros_are_as_many_as_what_is_said(fields, pair, build_on, questions):
    prompts = one_by_one(pair, questions)
    real, zeroed = (batches(build_on(name, **fields), prompts) for name in ("c2c", "zeroed"))
    for row in range(len(questions)):
        assert real[row].sharer.any()
        assert zeroed[row].sharer.shape == real[row].sharer.shape
        assert not zeroed[row].sharer.any()
        assert torch.equal(zeroed[row].receiver, real[row].receiver)
        assert (zeroed[row].context is None) == (real[row].context is None)
        if zeroed[row].context is not None:
            assert zeroed[row].context.lengths == real[row].context.lengths
            assert not zeroed[row].context.packed.any()


def test_a_linear_map_of_zeros_says_one_thing_to_every_question(pair, make_fuser, questions):
    fuser = make_fuser(projector="linear", injection="append")
    system = SYSTEMS["zeroed"].build(Materials(pair, fuser))
    said = []
    for each in system.passes(one_by_one(pair, questions)):
        (prompt,) = each.batch.lengths
        said.append(each.model.fuse(each.batch).packed[:, :, :-prompt])
    whole = torch.cat(said, dim=2)
    assert len({one.shape[2] for one in said}) > 1
    assert whole.any()
    torch.testing.assert_close(whole, whole[:, :, :1].expand_as(whole), atol=0, rtol=0)
    with torch.no_grad():
        for name, parameter in fuser.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    each = next(system.passes(one_by_one(pair, questions)))
    (prompt,) = each.batch.lengths
    assert not each.model.fuse(each.batch).packed[:, :, :-prompt].any()


@pytest.mark.parametrize("name", ["zeroed", "noise"])
def test_what_the_sharer_has_read_is_not_heard(name, pair, build_on, questions):
    """Only its length is, and for noise the moments of all that was read in the split."""
    system = build_on(name, injection="append")
    asked = [with_context(one, "Blood is red.") for one in questions]
    other = [with_context(one, "Sugar is sad.") for one in questions]
    told = system.choose(QuestionPrompts(pair, asked))
    if name == "noise":
        # The same moments, of other messages.
        system._known = {key: next(iter(system._known.values())) for key in system._known}
    assert told == system.choose(QuestionPrompts(pair, other))
    hearing = build_on("c2c", injection="append")
    assert hearing.choose(QuestionPrompts(pair, asked)) != hearing.choose(
        QuestionPrompts(pair, other)
    )


def messages_of(system, prompts):
    """All messages of a split as the projector gets them, ``(2, layers, tokens, size)``."""
    fuser, said = system.model.fuser, []
    for each in system.passes(prompts):
        rotations = rotations_of(each.batch, system.model.rotaries, fuser.config.injected.projects)
        sharer = each.batch.sharer
        said.append(sharer if rotations is None else rotations.undo_sharer(sharer))
    return torch.cat(said, dim=2).double()


@pytest.mark.parametrize("fields", FUSERS.values(), ids=FUSERS)
def test_noise_has_the_moments_of_what_is_said(fields, pair, build_on, questions):
    prompts = QuestionPrompts(pair, questions)
    real = messages_of(build_on("c2c", **fields), prompts)
    noise = messages_of(build_on("noise", **fields), prompts)
    assert noise.shape == real.shape
    mean, deviation = real.mean(dim=2, keepdim=True), real.std(dim=2, keepdim=True, correction=0)
    standard = (noise - mean) / deviation
    tokens = standard.shape[2]  # every byte is one, for both models: all are independent
    assert standard.mean(dim=2).abs().max() < 4.5 / tokens**0.5
    assert (standard.square().mean(dim=2) - 1).abs().max() < 4.5 * (2 / tokens) ** 0.5
    assert abs(float(standard.square().mean()) - 1) < 0.1
    # Channels differ by more than that, and each has its own.
    assert deviation.max() > 1.5 * deviation.min()


def test_noise_is_each_items_own_and_the_seeds(pair, build_on, questions):
    prompts = one_by_one(pair, questions)
    first, again, other = (
        batches(build_on("noise", seed=seed, injection="append"), prompts) for seed in (0, 0, 1)
    )
    for row in range(len(questions)):
        assert torch.equal(first[row].sharer, again[row].sharer)
        assert not torch.equal(first[row].sharer, other[row].sharer)
    shortest = min(one.sharer.shape[2] for one in first.values())
    beginnings = [one.sharer[:, :, :shortest] for one in first.values()]
    assert len({float(one.sum()) for one in beginnings}) == len(questions)


def test_noise_is_bit_for_bit_the_same_in_any_batch(pair, build_on, questions):
    together = build_on("noise").passes(QuestionPrompts(pair, questions))
    apart = batches(build_on("noise"), one_by_one(pair, questions))
    for each in together:
        parts = each.batch.sharer.split(list(each.batch.lengths), dim=2)
        for row, mine in zip(each.rows, parts, strict=True):
            assert torch.equal(mine, apart[row].sharer)


def test_a_token_that_stands_for_several_says_the_same_to_each(pair, build_on, questions):
    for batch in batches(
        build_on("noise", fuse_response=True), one_by_one(pair, questions)
    ).values():
        (positions,) = batch.sharer_positions
        assert torch.equal(batch.sharer, batch.context.packed[:, :, positions])


def test_moments_are_of_the_whole_split_and_taken_once(pair, build_on, questions, monkeypatch):
    monkeypatch.setattr(messages, "_MOST_QUESTIONS", 3)
    system, asked = build_on("noise", injection="append"), []
    real = messages.Noise._measured

    def noting(self, prompts):
        asked.append([one.item.id for one in prompts.questions])
        return real(self, prompts)

    monkeypatch.setattr(messages.Noise, "_measured", noting)
    whole = QuestionPrompts(pair, questions)
    for question in questions:
        list(system.passes(QuestionPrompts(pair, [question], whole=whole)))
    assert asked == [[one.item.id for one in questions[:3]]]
