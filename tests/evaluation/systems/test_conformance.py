"""What every system of the register must hold."""

from __future__ import annotations

import pytest
import torch

from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Decoding
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.tokenization.templates import continuation
from c2c_search.tokenization.templates import render


NAMES = (
    "receiver",
    "sharer",
    "text_relay",
    "text_relay_answer",
    "routing",
    "c2c",
    "few_shot",
    "oracle",
    "no_sharer",
    "mismatched",
    "random",
    "shut",
    "ridge",
    "lora",
)
BUILT = [name for name in SYSTEMS if SYSTEMS[name].builder is not None]
SAMPLED = Decoding(max_new_tokens=5, temperature=1.0, top_p=0.9, seed=4)


def scores(system, reading):
    return [torch.tensor(each.likelihoods) for each in system.choose(reading)]


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
    assert sorted(SYSTEMS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_says_what_it_is(name):
    entry = SYSTEMS[name]
    assert entry.name == name
    assert entry.title
    assert entry.reference
    assert entry.kind in ("model", "system", "control")
    assert entry.needs <= {"sharer", "fuser", "exemplars", "trial"}


@pytest.mark.parametrize("name", BUILT)
def test_what_is_not_needed_may_be_missing(name, materials):
    needs = SYSTEMS[name].needs
    least = Materials(
        pair=materials.pair,
        fuser=materials.fuser if "fuser" in needs else None,
        exemplars=materials.exemplars if "exemplars" in needs else (),
        trained=materials.trained if "trial" in needs else None,
        adapted=materials.adapted if "trial" in needs else None,
    )
    assert SYSTEMS[name].build(least).name == name


@pytest.mark.parametrize("name", BUILT)
def test_every_option_is_scored_in_the_order_asked(name, materials, questions):
    reading = QuestionPrompts(materials.pair, questions)
    chosen = SYSTEMS[name].build(materials).choose(reading)
    # The tiny tokenizer has a token for every byte, and a space stands before the option.
    assert [each.lengths for each in chosen] == [
        tuple(len(option) + 1 for option in question.options) for question in questions
    ]
    backwards = QuestionPrompts(materials.pair, questions[::-1])
    again = SYSTEMS[name].build(materials).choose(backwards)
    for one, other in zip(chosen, again[::-1], strict=True):
        assert one.likelihoods == pytest.approx(other.likelihoods, abs=1e-3)


@pytest.mark.parametrize("name", BUILT)
def test_likelihoods_do_not_depend_on_the_batch(name, materials, questions):
    system = SYSTEMS[name].build(materials)
    together = scores(system, QuestionPrompts(materials.pair, questions))
    one_by_one = scores(system, QuestionPrompts(materials.pair, questions, batch_size=1))
    for one, other in zip(together, one_by_one, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("decoding", [Decoding(max_new_tokens=5), SAMPLED])
@pytest.mark.parametrize("name", BUILT)
def test_what_is_written_does_not_depend_on_the_batch(name, decoding, materials, questions):
    system = SYSTEMS[name].build(materials)
    together = system.write(QuestionPrompts(materials.pair, questions), decoding)
    apart = system.write(QuestionPrompts(materials.pair, questions[::-1], batch_size=1), decoding)
    assert [one.text for one in together] == [one.text for one in apart[::-1]]
    for one, other in zip(together, apart[::-1], strict=True):
        assert one.likelihood == pytest.approx(other.likelihood, abs=1e-3)


@pytest.mark.parametrize("name", ["receiver", "sharer", "lora", "few_shot"])
def test_a_model_alone_scores_as_the_model_itself(name, materials, questions):
    answering = {"sharer": materials.pair.sharer, "lora": materials.adapted}
    loaded = answering.get(name, materials.pair.receiver)
    before = [turn for turns in materials.exemplars for turn in turns] * (name == "few_shot")
    found = scores(SYSTEMS[name].build(materials), QuestionPrompts(materials.pair, questions))
    for question, one in zip(questions, found, strict=True):
        expected = plain(loaded, [*before, *question.messages], question.options)
        torch.testing.assert_close(one, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["text_relay", "text_relay_answer"])
def test_the_receiver_reads_what_the_sharer_wrote(name, materials, questions):
    system = SYSTEMS[name].build(materials)
    found = scores(system, QuestionPrompts(materials.pair, questions))
    assert any(system.heard.values())
    for question, one in zip(questions, found, strict=True):
        told = system.prompt.receiver.format(
            text=system.heard[question.item.id], question=question.messages[0]["content"]
        )
        assert system.heard[question.item.id] in told
        messages = [{"role": "user", "content": told}]
        expected = plain(materials.pair.receiver, messages, question.options)
        torch.testing.assert_close(one, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["c2c", "no_sharer", "mismatched", "random", "ridge"])
def test_a_fuser_is_heard(name, materials, questions):
    reading = QuestionPrompts(materials.pair, questions)
    alone = scores(SYSTEMS["receiver"].build(materials), reading)
    told = scores(SYSTEMS[name].build(materials), reading)
    assert all((one - other).abs().max() > 1e-3 for one, other in zip(alone, told, strict=True))
