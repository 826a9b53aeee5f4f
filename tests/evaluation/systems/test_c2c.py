"""C2C and the controls that are made of its fuser."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.errors import NotFiniteError
from c2c_search.evaluation.scoring import answer_questions
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Decoding
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems.c2c import Fused
from c2c_search.evaluation.systems.c2c import shuffled
from c2c_search.evaluation.systems.passes import PLAIN_STOP
from c2c_search.evaluation.systems.passes import item_seed
from c2c_search.evaluation.systems.passes import reads_plain
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.evaluation.tasks.task import TASKS
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.inference.sampling import Stops


CONFIGS = {
    "residual": {},
    "replace": {"injection": "replace"},
    "append": {"injection": "append"},
    "side": {"injection": "side"},
    "side, all": {"injection": "side", "reads_from": "all"},
    "hidden": {"source": "hidden", "keys": "unrotated"},
    "hidden slots": {"source": "hidden", "injection": "append", "slots": 2},
    "ridge": {"projector": "ridge", "injection": "replace"},
    "some layers": {"layer_share": 0.5},
    "unrotated": {"keys": "unrotated"},
    "unrotated append": {"keys": "unrotated", "injection": "append"},
    "first": {"token_alignment": "first"},
    "head gate": {"gate": GateConfig(granularity="head", rule="soft")},
    "open gate": {"gate": GateConfig(granularity="layer", rule="hard", initial_logit=9.0)},
    "token gate": {"gate": GateConfig(granularity="token", input_dependent=True)},
    "response": {"fuse_response": True},
    "refreshed": {"injection": "side", "refresh": 1},
    "response, gated": {"fuse_response": True, "gate": GateConfig(granularity="value")},
    "lora": {"lora_rank": 2},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_shut_gate_is_the_receiver_alone_bit_for_bit(config, pair, make_fuser, questions):
    materials = Materials(pair=pair, fuser=make_fuser(**config))
    prompts = QuestionPrompts(pair, questions)
    shut, alone, fused = (SYSTEMS[name].build(materials) for name in ("shut", "receiver", "c2c"))
    assert shut.choose(prompts) == alone.choose(prompts)
    decoding = Decoding(max_new_tokens=4)
    assert shut.write(prompts, decoding) == alone.write(prompts, decoding)
    assert fused.choose(prompts) != alone.choose(prompts)


def test_a_shut_gate_still_computes_what_the_fuser_says(pair, make_fuser, questions):
    fuser = make_fuser()
    with torch.no_grad():
        next(iter(fuser.projector.parameters())).fill_(float("nan"))
    shut = SYSTEMS["shut"].build(Materials(pair=pair, fuser=fuser))
    with pytest.raises(NotFiniteError, match="The fuser's"):  # 0 * NaN is not 0
        shut.choose(QuestionPrompts(pair, questions))


def test_a_deranged_sharer_reads_another_question_of_the_group(pair, make_fuser, questions):
    prompts = QuestionPrompts(pair, questions)
    system = SYSTEMS["deranged"].build(Materials(pair=pair, fuser=make_fuser()))
    # "two" hears what the sharer read of "six", the other question about numbers.
    model = system.each[0].model
    batch = model.batch(prompts.read(), [2], [3])
    ((expected, _),) = model.score(batch, [questions[2].options])
    assert system.choose(prompts)[2].likelihoods == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_deranged_sharer_hears_another_question_each_time(pair, make_fuser, questions):
    prompts = QuestionPrompts(pair, questions)
    materials = Materials(pair=pair, fuser=make_fuser(), derangements=2)
    system = SYSTEMS["deranged"].build(materials)
    told = []
    found = system.choose(prompts, lambda done, total: told.append((done, total)))
    assert told[-1] == (2 * len(questions), 2 * len(questions))
    assert prompts.derangement(0) != prompts.derangement(1)
    for number, times in enumerate(zip(*((each, *each.repeats) for each in found), strict=True)):
        alone = Fused("deranged", system.each[0].model, derangement=number).choose(prompts)
        assert [one.likelihoods for one in times] == [one.likelihoods for one in alone]
    written = system.write(prompts, Decoding(max_new_tokens=4))
    assert all(len(each.repeats) == 1 for each in written)


@pytest.mark.parametrize("method", ["cloze", "generate"])
def test_what_is_answered_several_times_counts_with_its_mean(method, pair, make_fuser, questions):
    materials = Materials(pair=pair, fuser=make_fuser(), derangements=2)
    items = answer_questions(
        SYSTEMS["deranged"].build(materials), QuestionPrompts(pair, questions), TASKS["arc_easy"],
        method, length_normalised=True, decoding=Decoding(max_new_tokens=4),
    )  # fmt: skip
    for item, question in zip(items, questions, strict=True):
        assert item.id == question.item.id
        assert len(item.repeats) == 2
        assert item.credit == sum(one.credit for one in item.repeats) / 2


@pytest.mark.parametrize("injection", ["residual", "append"])
def test_a_deranged_sharer_may_read_what_is_asked_elsewhere(
    injection, pair, make_fuser, questions
):
    system = SYSTEMS["deranged"].build(Materials(pair, make_fuser(injection=injection)))
    whole = QuestionPrompts(pair, questions)
    together = system.choose(whole)
    # The partners of both stand in another part of the split.
    apart = system.choose(QuestionPrompts(pair, questions[1:3], whole=whole))
    for one, other in zip(together[1:3], apart, strict=True):
        assert one.likelihoods == pytest.approx(other.likelihoods, abs=1e-4)


def test_a_single_question_cannot_be_deranged(pair, make_fuser, questions):
    system = SYSTEMS["deranged"].build(Materials(pair=pair, fuser=make_fuser()))
    with pytest.raises(ConfigError, match="two at least"):
        system.choose(QuestionPrompts(pair, questions[:1]))


def with_context(question, text):
    return replace(question, sharer_messages=({"role": "user", "content": text},))


def test_a_sharer_that_reads_something_else_must_be_appended(pair, make_fuser, questions):
    prompts = QuestionPrompts(pair, [with_context(one, "Blood is red.") for one in questions])
    residual = SYSTEMS["c2c"].build(Materials(pair=pair, fuser=make_fuser()))
    with pytest.raises(ConfigError, match="appended"):
        residual.choose(prompts)
    appending = Materials(pair=pair, fuser=make_fuser(injection="append"))
    told = SYSTEMS["c2c"].build(appending).choose(prompts)
    assert told != SYSTEMS["c2c"].build(appending).choose(QuestionPrompts(pair, questions))


@pytest.mark.parametrize(
    "fields",
    [{}, {"projector": "joint"}, {"projector": "ridge", "injection": "replace"}],
    ids=["c2c", "joint", "ridge"],
)
def test_a_random_fuser_has_the_same_numbers_elsewhere(fields, make_fuser):
    fuser = make_fuser(**fields)
    random = shuffled(fuser, seed=0)
    for (name, mine), (other, its) in zip(
        fuser.state_dict().items(), random.state_dict().items(), strict=True
    ):
        assert name == other
        if name.startswith("projector."):
            # A layer's keys and values keep their own numbers: their scale stays.
            assert torch.equal(mine.flatten(1).sort().values, its.flatten(1).sort().values)
            if mine[0].numel() > 2:
                assert not torch.equal(mine, its)
        else:
            assert torch.equal(mine, its)


def test_a_random_fuser_is_the_same_for_the_same_seed(make_fuser):
    fuser = make_fuser(gate=GateConfig(granularity="head"))
    first, again, other = (shuffled(fuser, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(first["gate.logit"], fuser.gate.logit)


def test_a_random_fuser_of_some_layers_fuses_the_same_ones(make_fuser):
    fuser = make_fuser(layer_share=0.5, sources_per_layer=2)
    random = shuffled(fuser, seed=0)
    assert random.layers == fuser.layers
    assert torch.equal(random.sources, fuser.sources)
    assert not random.training


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_is_asked_of_the_model_is_what_was_measured_bit_for_bit(
    config, pair, make_fuser, questions
):
    materials = Materials(pair=pair, fuser=make_fuser(**config))
    system = SYSTEMS["c2c"].build(materials)
    prompts = QuestionPrompts(pair, questions)
    model = system.model
    # The evaluation packs by length; what is packed beside a prompt may move its last bits.
    (order,) = (rows for rows in prompts.batches(prompts.read(model.fuser.config)))
    conversations = [[*questions[row].messages] for row in order]
    scored = model.score(conversations, [questions[row].options for row in order])
    measured = system.choose(prompts)
    assert [tuple(each.tolist()) for each, _ in scored] == [
        measured[row].likelihoods for row in order
    ]
    asked = {"do_sample": True, "temperature": 1.0, "top_p": 0.9, "max_new_tokens": 5}
    seeds = [item_seed(4, questions[row].item.id) for row in order]
    inputs = model.inputs(conversations)
    width = inputs["receiver_input_ids"].shape[1]
    assert reads_plain(model)
    stops = Stops(model.receiver.text_tokenizer, PLAIN_STOP)
    for decoding, given in (
        (Decoding(max_new_tokens=5), {"max_new_tokens": 5}),
        (Decoding(max_new_tokens=5, temperature=1.0, top_p=0.9, seed=4), {**asked, "seed": seeds}),
    ):
        told = model.generate(**inputs, stop_strings=PLAIN_STOP, **given)[:, width:]
        written = system.write(prompts, decoding)
        assert [stops.cut(ids) for ids in told.tolist()] == [written[row].text for row in order]
