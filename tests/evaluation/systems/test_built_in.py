"""The systems that come with c2c-search: which there are, and what each answers."""

from __future__ import annotations

import pytest
import torch

from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.testing.systems import make_materials
from c2c_search.tokenization.templates import continuation
from c2c_search.tokenization.templates import render


NAMES = (
    "receiver",
    "sharer",
    "text_relay",
    "text_relay_answer",
    "routing",
    "c2c",
    "c2c_confident",
    "few_shot",
    "oracle",
    "no_sharer",
    "deranged",
    "zeroed",
    "noise",
    "random",
    "shut",
    "anchors",
    "self",
    "ridge",
    "lora",
    "cartridge",
)


def scores(system, prompts):
    return [torch.tensor(each.likelihoods) for each in system.choose(prompts)]


def plain(loaded, messages, options):
    """Log-likelihoods of options, each after the whole prompt, through the model itself."""
    tokenizer = loaded.tokenizer
    prompt = tokenizer(render(messages, "plain", tokenizer).text)["input_ids"]
    totals = []
    for option in options:
        answer = tokenizer(continuation(option, "plain", tokenizer))["input_ids"]
        logits = loaded.model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        ahead = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        totals.append(sum(logits[at, token] for at, token in zip(ahead, answer, strict=True)))
    return torch.tensor(totals)


def test_the_register_holds_the_systems_that_reports_name():
    assert tuple(SYSTEMS) == NAMES


@pytest.mark.parametrize("name", ["receiver", "sharer", "lora", "few_shot"])
def test_a_model_alone_scores_as_the_model_itself(name, pair, questions):
    materials = make_materials(SYSTEMS[name], pair)
    answering = {"sharer": pair.sharer, "lora": materials.trained}
    loaded = answering.get(name, pair.receiver)
    before = [turn for turns in materials.exemplars for turn in turns] * (name == "few_shot")
    found = scores(SYSTEMS[name].build(materials), QuestionPrompts(pair, questions))
    for question, one in zip(questions, found, strict=True):
        expected = plain(loaded, [*before, *question.messages], question.options)
        torch.testing.assert_close(one, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["text_relay", "text_relay_answer"])
def test_the_receiver_reads_what_the_sharer_wrote(name, pair, build, questions):
    system = build(name)
    found = scores(system, QuestionPrompts(pair, questions))
    assert any(system.heard.values())
    for question, one in zip(questions, found, strict=True):
        told = system.prompt.receiver.format(
            text=system.heard[question.item.id], question=question.messages[0]["content"]
        )
        assert system.heard[question.item.id] in told
        messages = [{"role": "user", "content": told}]
        expected = plain(pair.receiver, messages, question.options)
        torch.testing.assert_close(one, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    "name", ["c2c", "no_sharer", "deranged", "zeroed", "noise", "random", "self", "ridge"]
)
def test_a_fuser_is_heard(name, pair, build, questions):
    prompts = QuestionPrompts(pair, questions)
    alone = scores(build("receiver"), prompts)
    told = scores(build(name), prompts)
    assert all((one - other).abs().max() > 1e-3 for one, other in zip(alone, told, strict=True))
