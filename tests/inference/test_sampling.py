"""Answers in words: greedy or sampled, ended by a token or by a text, with their likelihood."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.errors import ConfigError
from c2c_search.inference.decoding import go_on
from c2c_search.inference.sampling import Draw
from c2c_search.inference.sampling import Stops
from c2c_search.inference.sampling import end_of_response
from c2c_search.inference.sampling import stop_ids
from c2c_search.inference.scoring import score_options
from c2c_search.tokenization.templates import asked
from tests.inference.greedy import greedy


QUESTIONS = ["one two", "three", "what is the capital?"]


@pytest.fixture
def model(make_pair):
    return make_pair()


def batch_of(model, questions):
    return model.batch(model.prompts([asked(question) for question in questions]))


def texts(answers):
    return [text for text, _ in answers]


def test_greedy_writing_is_generate(model):
    written = model.write(batch_of(model, QUESTIONS), max_new_tokens=8, stop=["\n"])
    assert texts(written) == model.generate_batch(QUESTIONS, max_new_tokens=8)


def test_a_likelihood_is_the_score_of_the_answer_per_token(model):
    batch = batch_of(model, QUESTIONS)
    answers = greedy(model, batch, 6, with_stop=True)
    scores = score_options(
        model.receiver.model, model.fuse(batch), batch.last_ids, [[ids] for ids in answers]
    )
    written = model.write(batch, max_new_tokens=6)
    for (_, likelihood), score, ids in zip(written, scores, answers, strict=True):
        assert likelihood == pytest.approx(score.item() / len(ids), abs=1e-4)


def test_the_token_that_ends_an_answer_counts_in_its_likelihood_and_not_in_its_text(model):
    batch = batch_of(model, QUESTIONS[:1])
    ((first, *_),) = greedy(model, batch, 1)
    model.receiver.model.generation_config.eos_token_id = first
    ((text, likelihood),) = model.write(batch, max_new_tokens=5)
    (score,) = score_options(model.receiver.model, model.fuse(batch), batch.last_ids, [[[first]]])
    assert text == ""
    assert likelihood == pytest.approx(score.item(), abs=1e-4)


def test_a_likelihood_is_the_models_own_whatever_the_temperature(model):
    batch = batch_of(model, QUESTIONS)
    # So cold that only the likeliest token is ever drawn.
    cold = model.write(batch, max_new_tokens=5, temperature=1e-4, seeds=[0, 1, 2])
    for sampled, likeliest in zip(cold, model.write(batch, max_new_tokens=5), strict=True):
        assert sampled[0] == likeliest[0]
        assert sampled[1] == pytest.approx(likeliest[1])


def test_an_answer_ends_before_its_stop_text(model):
    batch = batch_of(model, QUESTIONS)
    free = model.receiver.text_tokenizer.decode(greedy(model, batch, 12)[0])
    stop = free[4:7]
    (text, _), *_ = model.write(batch, max_new_tokens=12, stop=["never there at all", stop])
    assert text == free[: free.index(stop)].strip()


def test_a_prompt_that_has_hit_a_stop_text_stops_running(model):
    batch = batch_of(model, QUESTIONS[:1])
    (free,) = greedy(model, batch, 12)
    stop = model.receiver.text_tokenizer.decode(free[:3])
    stops = Stops(model.receiver.text_tokenizer, [stop])
    answers = go_on(
        model.receiver.model,
        model.fuse(batch),
        batch.last_ids,
        choose=lambda prompts, logits: logits.argmax(dim=-1).tolist(),
        ended=lambda _, ids: stops.hit(ids),
        max_new_tokens=12,
    )
    assert answers == [free[:3]]


def test_sampling_is_repeatable_and_does_not_depend_on_the_batch(model):
    seeds = [3, 4, 5]
    sampling = {"max_new_tokens": 10, "temperature": 1.5, "top_p": 0.95}
    together = model.write(batch_of(model, QUESTIONS), seeds=seeds, **sampling)
    assert together == model.write(batch_of(model, QUESTIONS), seeds=seeds, **sampling)
    for question, seed, (text, likelihood) in zip(QUESTIONS, seeds, together, strict=True):
        ((alone, its_likelihood),) = model.write(
            batch_of(model, [question]), seeds=[seed], **sampling
        )
        assert alone == text
        assert its_likelihood == pytest.approx(likelihood, abs=1e-4)


def test_another_seed_is_another_answer(model):
    batch = batch_of(model, QUESTIONS[:1] * 2)
    one, other = texts(model.write(batch, max_new_tokens=20, temperature=2.0, seeds=[0, 1]))
    assert one != other


def test_nothing_written_has_no_likelihood(model):
    assert model.write(batch_of(model, QUESTIONS[:1]), max_new_tokens=0) == [("", 0.0)]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"temperature": -1.0}, "temperature must not be negative"),
        ({"temperature": 1.0, "top_p": 0.0, "seeds": [0]}, "top_p must be above 0"),
        ({"temperature": 1.0, "top_p": 1.5, "seeds": [0]}, "top_p must be above 0"),
        ({"temperature": 1.0}, "a seed for each prompt"),
        ({"temperature": 1.0, "seeds": [0, 1]}, "a seed for each prompt.*2 seeds, 1 prompts"),
    ],
)
def test_sampling_that_cannot_be_is_refused(model, arguments, rule):
    with pytest.raises(ConfigError, match=rule):
        model.write(batch_of(model, QUESTIONS[:1]), max_new_tokens=1, **arguments)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([[0.5, 0.2, 0.3]]).log()
    draw = Draw(1.0, 1.0, [0])
    counts = torch.bincount(torch.cat([draw([0], logits) for _ in range(2000)]), minlength=3)
    # Within four standard errors: 4 * sqrt(0.25 / 2000) = 0.045.
    torch.testing.assert_close(counts / 2000, torch.tensor([0.5, 0.2, 0.3]), atol=0.045, rtol=0)


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    # 0.5 is below 0.6, 0.5 + 0.3 is above: the second and third token are drawn, 5 to 3.
    draw = Draw(1.0, 0.6, [0])
    drawn = {int(draw([0], logits)) for _ in range(200)}
    assert drawn == {1, 2}


def test_the_likeliest_token_is_kept_by_any_top_p():
    draw = Draw(1.0, 1e-6, [0])
    assert int(draw([0], torch.tensor([[0.1, 0.0, 0.2]]))) == 2


def test_temperature_flattens():
    logits = torch.tensor([[2.0, 0.0]])
    hot = Draw(1e6, 1.0, [0])
    ones = sum(int(hot([0], logits)) for _ in range(1000))
    # At this temperature both are equally likely; four standard errors are 63.
    assert abs(ones - 500) < 63


@settings(max_examples=30, deadline=None)
@given(
    logits=st.lists(st.floats(-20, 20), min_size=1, max_size=12),
    top_p=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**31),
)
def test_a_drawn_token_is_always_one_that_top_p_keeps(logits, top_p, seed):
    row = torch.tensor([logits])
    token = int(Draw(1.0, top_p, [seed])([0], row))
    probabilities = row[0].softmax(-1)
    likelier = probabilities[probabilities > probabilities[token]].sum()
    assert float(likelier) < top_p + 1e-5


def test_a_stop_text_is_found_across_tokens_and_in_other_scripts(tiny_tokenizer):
    ids = tiny_tokenizer("abc。\n問題", add_special_tokens=False)["input_ids"]
    stops = Stops(tiny_tokenizer, ["。\n", "題"])
    hits = [stops.hit(ids[: count + 1]) for count in range(len(ids))]
    # "abc" is three tokens and "。" three bytes: the line end is the seventh token.
    assert hits.index(True) == 6
    assert stops.cut(ids) == "abc"


def test_a_stop_text_far_back_is_not_looked_for_again(tiny_tokenizer):
    ids = tiny_tokenizer("stop" + "a" * 50, add_special_tokens=False)["input_ids"]
    assert not Stops(tiny_tokenizer, ["stop"]).hit(ids)


def test_the_first_stop_text_cuts_whatever_their_order(tiny_tokenizer):
    ids = tiny_tokenizer(" 12 \n\nQuestion: next", add_special_tokens=False)["input_ids"]
    assert Stops(tiny_tokenizer, ["Question:", "\n\n"]).cut(ids) == "12"


def test_an_empty_stop_text_ends_nothing(tiny_tokenizer):
    ids = tiny_tokenizer("abc", add_special_tokens=False)["input_ids"]
    stops = Stops(tiny_tokenizer, [""])
    assert not stops.hit(ids)
    assert stops.cut(ids) == "abc"


def test_special_tokens_are_no_text(model, tiny_tokenizer):
    ids = [*tiny_tokenizer("abc", add_special_tokens=False)["input_ids"]]
    assert Stops(tiny_tokenizer, []).cut([*ids, tiny_tokenizer.eos_token_id]) == "abc"
    assert stop_ids(model.receiver) == {tiny_tokenizer.eos_token_id}


@pytest.mark.parametrize(
    ("of_tokenizer", "of_model", "end"),
    [(7, 3, [7]), (None, [9, 4], [4]), (None, None, []), (0, None, [0])],
)
def test_a_response_ends_as_tokenizer_or_model_say(of_tokenizer, of_model, end) -> None:
    loaded = SimpleNamespace(
        tokenizer=SimpleNamespace(eos_token_id=of_tokenizer),
        model=SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=of_model)),
    )
    assert end_of_response(loaded) == end
