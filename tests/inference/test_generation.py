"""`generate` and `chat` as transformers' users know them: settings, batches, turns, threads."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from threading import Thread

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers import GenerationConfig
from transformers import StoppingCriteria
from transformers import StoppingCriteriaList
from transformers import TextIteratorStreamer
from transformers import TextStreamer

from c2c_search.errors import ConfigError
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.doubt import Listening
from c2c_search.inference.listening import ConfidentModel
from c2c_search.inference.model import C2CModel
from c2c_search.inference.multi_sharer import MultiSharerModel
from c2c_search.inference.scoring import score_options
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.prompt_cache.prefill import takes


QUESTIONS = ["one two", "three", "what is the capital?"]
# Every injection, message and source, and what reads on.
FUSERS = {
    "residual": {},
    "replace": {"injection": "replace", "keys": "unrotated"},
    "append": {"injection": "append", "keys": "unrotated"},
    "slots": {"injection": "append", "slots": 3, "keys": "unrotated"},
    "side": {"injection": "side"},
    "side, all": {"injection": "side", "reads_from": "all"},
    "draft": {"injection": "side", "message": "draft", "draft_tokens": 4},
    "both": {"injection": "append", "message": "both", "draft_tokens": 4},
    "hidden": {"source": "hidden", "injection": "append"},
    "self": {"sharer": "self"},
    "response": {"fuse_response": True},
    "refresh": {"injection": "side", "refresh": 3},
    "lora": {"lora_rank": 2},
}
READS_ON = ("response", "refresh")
SAMPLING = {"do_sample": True, "temperature": 1.5, "top_p": 0.9, "top_k": 40, "max_new_tokens": 8}


@pytest.fixture(scope="module", params=FUSERS)
def model(request, make_pair, tiny_model):
    fields = FUSERS[request.param]
    if "sharer" not in fields:
        return make_pair(**fields)
    pair = make_pair(sharer=tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1))
    config = pair.fuser.config.model_copy(update=fields)
    fuser = Fuser(config, pair.fuser.receiver_shape, pair.fuser.sharer_shape).eval()
    fuser.load_state_dict(pair.fuser.state_dict())
    return C2CModel(pair.receiver, pair.sharer, fuser, cache_dtype=torch.float32)


@pytest.fixture(scope="module")
def plain(make_pair):
    return make_pair()


def test_a_padded_batch_is_each_alone_and_its_words(model):
    inputs = model.inputs(QUESTIONS)
    width = inputs["receiver_input_ids"].shape[1]
    together = model.generate(**inputs, max_new_tokens=6)[:, width:]
    assert inputs["receiver_attention_mask"][1, 0] == 0  # it is padded
    alone = [
        model.generate(**model.inputs(question), max_new_tokens=6)[0, -6:]
        for question in QUESTIONS
    ]
    assert torch.equal(together, torch.stack(alone))
    tokenizer = model.receiver.text_tokenizer
    said = [tokenizer.decode(row, skip_special_tokens=True) for row in together]
    assert model.generate(QUESTIONS, max_new_tokens=6) == [
        text.split("\n")[0].strip() for text in said
    ]


def test_what_is_drawn_does_not_depend_on_what_is_beside_it(model):
    together = model.generate(QUESTIONS, num_return_sequences=2, seed=5, **SAMPLING)
    assert together == model.generate(QUESTIONS, num_return_sequences=2, seed=5, **SAMPLING)
    alone = [
        model.generate(question, seed=5 + number, **SAMPLING)
        for question in QUESTIONS
        for number in range(2)
    ]
    assert together == alone
    assert len({*together}) > len(QUESTIONS)


def test_a_conversation_is_answered_as_generate_answers_it(model, monkeypatch):
    read = []
    run = Prefill.run

    def counted(self, number):
        read.append(sum(self.lengths(number)) - self.shared)
        return run(self, number)

    monkeypatch.setattr(Prefill, "run", counted)
    turns = [{"role": "user", "content": "a long question, to begin with"}]
    for _ in range(3):
        read.clear()
        answer = model.chat(turns, max_new_tokens=5)
        new = sum(read)
        assert answer == model.generate(turns, max_new_tokens=5)
        turns += [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": "and?"},
        ]
    whole = len(model.encoded([turns])[0].receiver_ids)
    if model.fuser.config.source == "kv" and not model.fuser.config.drafts:
        assert new < whole  # two models have read less than one would have to


def test_the_receivers_own_generate_goes_on_from_what_was_fused(model, request):
    if any(name in request.node.callspec.id for name in READS_ON):
        with pytest.raises(ConfigError, match="says more while the receiver writes"):
            model.fuse(QUESTIONS)
        return
    told = model.generate(**model.inputs(QUESTIONS), max_new_tokens=6)[:, -6:]
    fused = model.fuse(QUESTIONS)
    receiver = model.receiver.model
    keywords = {
        "input_ids": fused.input_ids,
        "attention_mask": fused.attention_mask,
        "position_ids": fused.position_ids,
        "max_new_tokens": 6,
        "do_sample": False,
    }
    with fused.active():
        assert torch.equal(receiver.generate(**fused, max_new_tokens=6)[:, -6:], told)
        # A cache is new each time, so that it may be asked for again; under both names.
        names = ["past_key_values", "cache"]
        for name in names if takes(type(receiver).forward, "cache") else names[:1]:
            found = receiver.generate(**keywords, **{name: fused.cache})
            assert torch.equal(found[:, -6:], told)


def test_the_receiver_searches_beams_from_what_was_fused(plain):
    fused = plain.fuse("one two", beams=3)
    receiver = plain.receiver.model
    found = receiver.generate(**fused, num_beams=3, max_new_tokens=5)
    (greedy,) = plain.generate(**plain.inputs("one two"), max_new_tokens=5)
    # By hand: the likeliest of all that three beams reach is at least as likely as greedy.
    batch = plain.read("one two")
    options = [[greedy[-5:].tolist(), found[0, -5:].tolist()]]
    (scores,) = score_options(receiver, plain.fuse(batch), batch.last_ids, options)
    assert scores[1] >= scores[0]


def test_beams_of_a_memory_are_refused(make_pair):
    with pytest.raises(ConfigError, match="Search no beams"):
        make_pair(injection="side").fuse("one", beams=2)


def test_several_sharers_chat_generate_fuse_and_score(make_pair, tiny_model):
    receiver = tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1)
    other = tiny_model("gemma3", layers=2, heads=1, head_dim=12, seed=3)
    models = [make_pair(receiver=receiver), make_pair(receiver=receiver, sharer=other)]
    together = MultiSharerModel(models, fusion="parallel")
    turns = [{"role": "user", "content": "one two"}]
    answer = together.generate("one two", max_new_tokens=6)
    assert together.chat(turns, max_new_tokens=6) == answer
    turns += [{"role": "assistant", "content": "x"}, {"role": "user", "content": "why?"}]
    assert together.chat(turns, max_new_tokens=6) == together.generate(turns, max_new_tokens=6)
    ids = receiver.model.generate(**together.fuse("one two"), max_new_tokens=6)[0, -6:]
    text = receiver.text_tokenizer.decode(ids, skip_special_tokens=True)
    assert text.split("\n")[0].strip() == answer
    likelihoods, lengths = together.score("one two", ["a", "bcd"])
    assert len(likelihoods) == 2
    assert lengths[1] > lengths[0]
    with pytest.raises(ConfigError, match="asked in text"):
        together.generate(**models[0].inputs("one two"))


def test_a_generation_config_says_how_and_arguments_go_before_it(plain):
    config = GenerationConfig(max_new_tokens=9, repetition_penalty=1.3, no_repeat_ngram_size=2)
    inputs = plain.inputs(QUESTIONS)
    found = plain.generate(**inputs, generation_config=config, max_new_tokens=6)
    width = inputs["receiver_input_ids"].shape[1]
    assert found.shape == (3, width + 6)
    # As transformers does it from the same cache.
    for row, question in enumerate(QUESTIONS):
        fused = plain.fuse(question)
        own = plain.receiver.model.generate(**fused, generation_config=config, max_new_tokens=6)
        assert torch.equal(found[row, width:], own[0, -6:])


def test_words_tokens_and_lengths_that_are_held_back(plain):
    (free,) = plain.generate(**plain.inputs("one two"), max_new_tokens=6)
    first = int(free[-6])
    inputs = plain.inputs("one two")
    held = plain.generate(**inputs, suppress_tokens=[first], max_new_tokens=6)[0, -6:]
    assert first not in held
    words = plain.generate(**inputs, bad_words_ids=[[first]], max_new_tokens=6)[0, -6:]
    assert torch.equal(words, held)
    short = plain.generate(**inputs, eos_token_id=first, max_new_tokens=6)
    assert short.shape[1] == inputs["receiver_input_ids"].shape[1] + 1
    least = plain.generate(**inputs, eos_token_id=first, min_new_tokens=2, max_new_tokens=6)
    assert least[0, -6] != first
    length = inputs["receiver_input_ids"].shape[1] + 4
    assert plain.generate(**inputs, max_length=length).shape[1] == length
    with pytest.raises(ConfigError, match="leaves none for an answer"):
        plain.generate(**inputs, max_length=length - 4)


def test_stop_strings_and_criteria_end_an_answer(plain):
    inputs = plain.inputs("one two")
    (free,) = plain.generate(**inputs, max_new_tokens=8)
    new = free[-8:]
    stop = plain.receiver.text_tokenizer.decode(new[2:4])
    ended = plain.generate(**inputs, stop_strings=stop, max_new_tokens=8)[0]
    assert torch.equal(ended, free[: len(ended)])
    assert len(ended) <= len(free) - 4

    class AfterThree(StoppingCriteria):
        def __call__(self, input_ids, scores, **_):
            wide = input_ids.shape[1] - inputs["receiver_input_ids"].shape[1] >= 3
            return torch.full((1,), wide)

    few = plain.generate(
        **inputs, stopping_criteria=StoppingCriteriaList([AfterThree()]), max_new_tokens=8
    )
    assert torch.equal(few[0], free[:-5])


def test_the_callers_processor_sees_prompt_and_answer(plain):
    seen = []

    def only(ids, scores):
        seen.append(ids.shape)
        kept = torch.full_like(scores, -torch.inf)
        kept[:, 7] = 0.0
        return kept

    inputs = plain.inputs(QUESTIONS[:2])
    found = plain.generate(**inputs, logits_processor=[only], max_new_tokens=2)
    assert (found[:, -2:] == 7).all()
    lengths = inputs["receiver_attention_mask"].sum(dim=1).tolist()
    assert seen == [(1, lengths[0]), (1, lengths[1]), (1, lengths[0] + 1), (1, lengths[1] + 1)]


def test_a_seed_that_is_not_given_is_torchs_own(plain):
    torch.manual_seed(3)
    first = plain.generate("one two", **SAMPLING)
    torch.manual_seed(3)
    assert plain.generate("one two", **SAMPLING) == first


def test_top_k_of_one_is_greedy_and_temperature_zero_too(plain):
    greedy = plain.generate(QUESTIONS, max_new_tokens=6)
    asked = {"do_sample": True, "max_new_tokens": 6, "seed": 1}
    assert plain.generate(QUESTIONS, top_k=1, **asked) == greedy
    assert plain.generate(QUESTIONS, temperature=0, **asked) == greedy
    assert plain.generate(QUESTIONS, min_p=1.0, **asked) == greedy


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"num_beams": 4}, "beams are not searched here.*num_beams=4"),
        ({"tempreture": 0.5}, "is no setting of generation.*temperature"),
        ({"guidance_scale": 2.0, "penalty_alpha": 0.6}, "2 problems"),
        ({"temperature": -1.0, "do_sample": True}, "must not be negative"),
        ({"top_p": 0.0, "do_sample": True}, "above 0 and at most 1"),
        ({"temperature": 0.7}, "Set do_sample=True"),
        ({"num_return_sequences": 2}, "greedy decoding gives the same one"),
        ({"max_new_tokens": 0}, "at least 1"),
        ({"stop_strings": [""]}, "none of them empty"),
        ({"seed": [1, 2], "do_sample": True}, "one for each prompt"),
    ],
)
def test_settings_that_are_wrong_are_told_at_once(plain, given, told):
    with pytest.raises(ConfigError, match=f"(?s){told}"):
        plain.generate("one two", **given)


def test_what_changes_nothing_is_taken(plain):
    config = GenerationConfig(num_beams=1, use_cache=True, typical_p=1.0, max_new_tokens=4)
    assert plain.generate("one two", generation_config=config) == plain.generate(
        "one two", max_new_tokens=4
    )


@pytest.mark.parametrize(
    "asked", [[], [[]], [3], [{"role": "user"}], [{"role": "assistant", "content": "x"}]], ids=str
)
def test_what_is_no_conversation_is_refused(plain, asked):
    with pytest.raises(ConfigError, match="conversation"):
        plain.generate(asked)


def test_receiver_ids_alone_are_enough_where_the_sharer_reads_the_same(plain, tiny_model):
    tokenizer = plain.receiver.text_tokenizer
    prompts = [f"Question: {question}\nAnswer:" for question in QUESTIONS]
    rows = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    wide = max(map(len, rows))
    ids = torch.tensor([[0] * (wide - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (wide - len(row)) + [1] * len(row) for row in rows])
    told = plain.generate(**plain.inputs(QUESTIONS), max_new_tokens=5)
    found = plain.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5)
    assert torch.equal(found[:, -5:], told[:, -5:])
    # Another tokenizer reads the same text in the plain template, and only there.
    sharer = replace(
        plain.sharer, identity=plain.sharer.identity.model_copy(update={"tokenizer_sha256": "b"})
    )
    plain_sharer, plain.sharer = plain.sharer, sharer
    try:
        again = plain.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5)
        assert torch.equal(again, found)
    finally:
        plain.sharer = plain_sharer


@pytest.mark.parametrize("stop", [None, "ab"])
def test_what_is_streamed_is_the_answer(plain, stop):
    tokenizer = plain.receiver.text_tokenizer
    more = {"max_new_tokens": 12}
    if stop is not None:  # two characters of the answer, of which the first is held back
        free = plain.generate("one two", stop_strings="never", **more)
        more["stop_strings"] = free[3:5]
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=20)
    found = []
    thread = Thread(
        target=lambda: found.append(plain.generate("one two", streamer=streamer, **more))
    )
    thread.start()
    said = "".join(streamer)
    thread.join()
    assert found == [said.strip()]
    assert found == [plain.generate("one two", **more)]


def test_every_token_is_streamed_where_ids_are_given(plain):
    class Kept(TextStreamer):
        def put(self, value):
            self.ids = [*getattr(self, "ids", []), *value.flatten().tolist()]

        def end(self):
            self.over = True

    streamer = Kept(plain.receiver.text_tokenizer)
    (found,) = plain.generate(**plain.inputs("one two"), streamer=streamer, max_new_tokens=4)
    assert streamer.ids == found.tolist()
    assert streamer.over
    with pytest.raises(ConfigError, match="told one answer"):
        plain.generate(QUESTIONS, streamer=streamer)


def test_a_streamer_ends_though_nothing_was_written(plain):
    streamer = TextIteratorStreamer(plain.receiver.text_tokenizer, timeout=5)

    def fail(ids, scores):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        plain.generate("one two", streamer=streamer, logits_processor=[fail])
    assert [*streamer]  # the prompt, and then an end


def test_a_sure_receiver_chats_draws_and_streams_alone(plain):
    sure = Listening(choices=2.0, words=2.0, length_normalised=True, skipped=1.0)
    unsure = Listening(choices=0.0, words=0.0, length_normalised=True, skipped=0.0)
    alone = plain._alone("receiver")
    for limits, same in ((sure, alone), (unsure, plain)):
        confident = ConfidentModel(plain, limits)
        turns = [{"role": "user", "content": "one two"}]
        assert confident.chat(turns, max_new_tokens=6) == same.generate(turns, max_new_tokens=6)
        drawn = {"num_return_sequences": 2, "seed": [4, 5, 6], **SAMPLING}
        assert confident.generate(QUESTIONS, **drawn) == same.generate(QUESTIONS, **drawn)
        streamer = TextIteratorStreamer(plain.receiver.text_tokenizer, skip_prompt=True)
        answer = confident.generate("one two", streamer=streamer, max_new_tokens=6)
        assert "".join(streamer).strip() == answer == same.generate("one two", max_new_tokens=6)


def test_a_question_is_scored_as_its_batch_is(model):
    options = [["red", "grey"], ["a", "b", "c"], ["plum", "teal"]]
    batch = model.read(QUESTIONS)
    packed = model.score(batch, options)
    found = model.score(QUESTIONS, options)
    for (ours, lengths), (theirs, their_lengths) in zip(found, packed, strict=True):
        assert torch.equal(ours, theirs)
        assert lengths == their_lengths
    one, _ = model.score(QUESTIONS[0], options[0])
    torch.testing.assert_close(one, packed[0][0], atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match="one list for each prompt"):
        model.score(QUESTIONS, ["a", "b", "c"])


@pytest.mark.parametrize("name", ["residual", "side", "lora"])
def test_threads_answer_as_one_after_the_other(make_pair, name):
    model = make_pair(**FUSERS[name])
    questions = [f"{text} {number}" for number in range(2) for text in QUESTIONS]
    turns = [[{"role": "user", "content": text}] for text in questions]
    expected = [model.generate(text, max_new_tokens=6) for text in questions]
    # Beside the receiver alone, which no adaptation or memory may reach.
    alone = [model.receiver_alone(text, max_new_tokens=6) for text in questions]

    async def ask():
        each = [
            job
            for text, conversation in zip(questions, turns, strict=True)
            for job in (
                asyncio.to_thread(model.generate, text, max_new_tokens=6),
                asyncio.to_thread(model.receiver_alone, text, max_new_tokens=6),
                asyncio.to_thread(model.chat, conversation, max_new_tokens=6),
            )
        ]
        return await asyncio.gather(*each)

    found = asyncio.run(ask())
    assert found[0::3] == expected
    assert found[1::3] == alone
    assert found[2::3] == expected


def test_a_pair_moves_to_a_dtype_as_if_loaded_in_it(make_pair, tmp_path):
    model = make_pair()
    model.receiver.model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    before = model.generate("one two", max_new_tokens=4)
    moved = model.to(torch.bfloat16)
    assert moved is model
    assert model.receiver.model.dtype == torch.bfloat16
    ids = torch.tensor([[5, 9, 12, 7]])
    assert torch.equal(model.receiver.model(ids).logits, loaded(ids).logits)
    assert {p.dtype for p in model.fuser.parameters()} == {torch.float32}
    assert isinstance(model.generate("one two", max_new_tokens=4), str)
    assert model.to("cpu", torch.float32).device == torch.device("cpu")
    assert isinstance(before, str)
    with pytest.raises(ConfigError, match="floating"):
        model.to(torch.int8)
