"""Anchors: the sharer's words as the receiver's own tokens, against models that read the text."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.fuser.config import FuserConfig
from c2c_search.inference.anchors import anchor_texts
from c2c_search.inference.doubt import Listening
from c2c_search.inference.drafting import draft_text
from c2c_search.inference.listening import ConfidentModel
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.model import C2CModel
from c2c_search.inference.multi_sharer import MultiSharerModel
from c2c_search.inference.scoring import response_logits
from c2c_search.models.loading import LoadedModel
from c2c_search.testing.systems import make_fuser
from c2c_search.testing.systems import make_pair
from c2c_search.testing.tiny_models import byte_tokenizer
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.templates import asked_about
from tests.architectures import ARCHITECTURES
from tests.inference.test_model import bare


DOCUMENTS = ["Plums are dark red.\nIn May.", "Two.", "The sea is grey, they say, in the north."]
QUESTIONS = ["Which colour has a plum?", "One and one?", "The sea?"]
OPTIONS = [["red", "dark red"], ["two", "three", "a"], ["grey", "blue"]]
SHUT = {"granularity": "head", "rule": "tanh"}
SIDE = {"injection": "side", "projector": "linear", "initialisation": "random"}
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"


def reading(*, shut=False, family=None, **fields):
    """A pair whose receiver reads 12 words at most, or, ``shut``, hears nothing but these."""
    pair = make_pair()
    fields = {"anchors": "first", "anchor_tokens": 12, **fields}
    fuser = make_fuser(pair, **fields, **({"gate": SHUT} if shut else {}))
    if shut:
        with torch.no_grad():
            fuser.gate.logit.zero_()
    model = C2CModel(pair.receiver, pair.sharer, fuser, cache_dtype=torch.float32)
    return model


def told(documents=DOCUMENTS, questions=QUESTIONS):
    pairs = zip(documents, questions, strict=True)
    return [asked_about(document, question) for document, question in pairs]


def prompts(model, rows=range(3)):
    heard = told()
    ours = [asked(QUESTIONS[row]) for row in rows]
    return model.prompts(ours, [asked(heard[row]) for row in rows])


def read_by(loaded, prompt):
    return loaded.text_tokenizer.decode(list(prompt.receiver_ids))


def logits_of(loaded, text, option):
    """What a model alone predicts of an option's bytes behind a text, in one plain pass."""
    ids = loaded.text_tokenizer(text, add_special_tokens=False)["input_ids"]
    said = loaded.text_tokenizer(f" {option}", add_special_tokens=False)["input_ids"]
    output = loaded.model(input_ids=torch.tensor([[*ids, *said]])).logits[0]
    likely = output[len(ids) - 1 : -1].log_softmax(dim=-1)
    return float(likely.gather(1, torch.tensor(said)[:, None]).sum())


@pytest.mark.parametrize("reads_from", ["last", "all"])
@pytest.mark.parametrize("anchors", ["first", "last"])
def test_a_silent_fusers_receiver_reads_the_text_in_front(anchors, reads_from):
    model = reading(shut=True, anchors=anchors, reads_from=reads_from, **SIDE)
    found = model.score(QUESTIONS, OPTIONS, sharer_contexts=told())
    for document, question, options, (scores, _) in zip(
        DOCUMENTS, QUESTIONS, OPTIONS, found, strict=True
    ):
        words = (document[:12] if anchors == "first" else document[-12:]).strip()
        text = f"{words}\nQuestion: {question}\nAnswer:"
        plain = [logits_of(model.receiver, text, option) for option in options]
        assert scores.tolist() == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_receiver_reads_the_tokens_in_front(kind):
    lm, sharer = bare(kind), bare("llama")
    receiver, sharer = (replace(each, tokenizer=byte_tokenizer()) for each in (lm, sharer))
    fields = {"injection": "append", "projector": "linear", "anchors": "last"}
    model = C2CModel(receiver, sharer, _silent(receiver, sharer, **fields))
    model.cache_dtype = torch.float32
    (prompt,) = model.encoded([asked("a")])
    prompt = replace(prompt, receiver_ids=(5, 9, 30), alignment=(0, 0, 0), sharer_ids=(7, 8, 9))
    prompt = replace(prompt, receiver_text=None, sharer_text=None, anchored=None)
    read = prompt.with_anchors(0, (60, 61, 12))
    batch = model.batch(model.cached([read]))
    assert batch.receiver_ids == ((60, 61, 12, 5, 9, 30),)
    cache = model.fuse(batch)
    alone = replace(
        cache, packed=cache.packed[:, :, -5:], lengths=(5,), positions=None, next_positions=None
    )
    with torch.no_grad():
        found = response_logits(receiver.model, alone, batch.last_ids, [[[4, 3]]])
        ids = torch.tensor([[*batch.receiver_ids[0], 4]])
        whole = receiver.model(input_ids=ids).logits[0, -2:]
    torch.testing.assert_close(found, whole, atol=2e-4, rtol=1e-3)


def _silent(receiver: LoadedModel, sharer: LoadedModel, **fields):
    from c2c_search.fuser.fuser import Fuser

    config = FuserConfig(normalisation="none", **fields)
    return Fuser(config, cache_shape(receiver), cache_shape(sharer)).eval()


@pytest.mark.parametrize("message", ["prompt", "draft", "both"])
def test_the_words_are_those_that_the_sharer_alone_has_read_and_drafted(message):
    model = reading(message=message, anchor_tokens=300, **SIDE)
    for document, question, prompt in zip(
        DOCUMENTS, QUESTIONS, prompts(model).encoded, strict=True
    ):
        draft = draft_text(model.sharer, prompt) if prompt.drafted else ""
        said = {"prompt": [document], "draft": [draft], "both": [document, draft]}[message]
        words = "\n".join(part for part in said if part)
        line = f"{words}\n" if words else ""
        assert read_by(model.receiver, prompt) == f"{line}Question: {question}\nAnswer:"
        assert model.receiver.text_tokenizer.decode(list(prompt.anchors)) == line
        heard = [asked_about(document, question)]
        assert anchor_texts(model, [question], heard) == [line.strip()]


def test_where_both_read_the_same_there_is_nothing_to_say():
    model = reading(**SIDE)
    prompt = model.prompts([asked("Which?")]).encoded[0]
    assert (prompt.anchors, prompt.anchored) == ((), (0, 0))
    plain = C2CModel(model.receiver, model.sharer, make_fuser(model, **SIDE))
    plain.cache_dtype = torch.float32
    assert model.generate("Which?", max_new_tokens=6) == plain.generate("Which?", max_new_tokens=6)


def test_in_a_chat_they_stand_before_the_last_turns_words(tiny_tokenizer):
    model = reading(**SIDE)
    told_so = replace(model.receiver, tokenizer=_chatting(tiny_tokenizer))
    model = C2CModel(told_so, model.sharer, model.fuser, template="chat")
    chat = [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Which colour?"},
    ]
    heard = [*chat[:2], {"role": "user", "content": asked_about("It is red.", "Which colour?")}]
    (prompt,) = model.prompts([chat], [heard]).encoded
    read = "<user>Hello?<assistant>Yes.<user>It is red.\nWhich colour?<assistant>"
    assert read_by(model.receiver, prompt) == read
    assert model.prompts([chat], [heard], kept=True).encoded == (prompt,)


def _chatting(tokenizer):
    from copy import deepcopy

    found = deepcopy(tokenizer)
    found.chat_template = TEMPLATE
    return found


KINDS = {
    "side": SIDE,
    "side, all, lora": {**SIDE, "reads_from": "all", "lora_rank": 2, "keys": "unrotated"},
    "append, both": {"injection": "append", "message": "both", "keys": "unrotated"},
    "slots, hidden": {**SIDE, "slots": 3, "source": "hidden", "message": "draft"},
    "refresh": {"injection": "append", "refresh": 2},
}


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
def test_a_batch_answers_and_chooses_as_its_singles(fields):
    model = reading(**fields)
    together = model.score(QUESTIONS, OPTIONS, sharer_contexts=told())
    written = model.generate_batch(QUESTIONS, told(), max_new_tokens=6)
    for row, question in enumerate(QUESTIONS):
        heard = [told()[row]]
        ((scores, _),) = model.score([question], [OPTIONS[row]], sharer_contexts=heard)
        assert scores.tolist() == pytest.approx(together[row][0].tolist(), abs=1e-4)
        assert model.generate_batch([question], heard, max_new_tokens=6) == [written[row]]


def test_partners_words_are_read_where_partners_are_heard():
    for fields in KINDS.values():
        model = reading(**fields)
        read, partners = prompts(model), [1, 2, 0]
        deranged = model.batch(read, [0, 1, 2], partners)
        ours, theirs = [asked(one) for one in QUESTIONS], [told()[row] for row in partners]
        if model.fuser.config.drafts:
            encoded = [
                replace(one, receiver_ids=_without(one)).with_anchors(
                    0, read.encoded[other].anchors
                )
                for one, other in zip(read.encoded, partners, strict=True)
            ]
            assert deranged.receiver_ids == tuple(one.receiver_ids for one in encoded)
            continue
        heard = [
            asked(text.rsplit("Question", 1)[0] + f"Question: {QUESTIONS[row]}")
            for row, text in enumerate(theirs)
        ]
        fresh = model.batch(model.prompts(ours, heard))
        assert deranged.receiver_ids == fresh.receiver_ids
        assert (deranged.lengths, deranged.last_ids) == (fresh.lengths, fresh.last_ids)
        torch.testing.assert_close(deranged.receiver, fresh.receiver, atol=1e-5, rtol=1e-4)


def _without(prompt):
    start, stop = prompt.anchored
    return prompt.receiver_ids[:start] + prompt.receiver_ids[stop:]


def test_a_conversation_is_read_on_and_an_unsure_receiver_reads_them():
    for fields in ({"message": "draft", **SIDE}, {"injection": "append"}):
        model = reading(**fields)
        whole = model.prompts([asked(QUESTIONS[0])], [asked(told()[0])])
        kept = model.prompts([asked(QUESTIONS[0])], [asked(told()[0])], kept=True)
        assert kept.encoded == whole.encoded
        ours, theirs = model.batch(whole), model.batch(kept)
        torch.testing.assert_close(ours.receiver, theirs.receiver, atol=1e-5, rtol=1e-4)
        limits = Listening(choices=0.0, words=0.0, skipped=0.5, length_normalised=False)
        unsure = ConfidentModel(model, limits)
        wanted = model.generate_batch(QUESTIONS, told(), max_new_tokens=5)
        assert unsure.generate_batch(QUESTIONS, told(), max_new_tokens=5) == wanted
        assert unsure.chat(QUESTIONS[0], sharer_messages=told()[0], max_new_tokens=5) == wanted[0]


def test_token_ids_have_them_in_front_and_go_on_from_the_cache():
    model = reading(message="draft", reads_from="all", **SIDE)
    inputs = model.inputs("Which colour?")
    written = model.generate("Which colour?", max_new_tokens=5)
    answered = model.generate(**inputs, max_new_tokens=5)[
        0, inputs["receiver_input_ids"].shape[1] :
    ]
    assert (
        model.receiver.text_tokenizer.decode(answered, skip_special_tokens=True).strip() == written
    )
    output = model(**inputs)
    (prompt,) = model.prompts([asked("Which colour?")]).encoded
    assert output.past_key_values.get_seq_length() == len(prompt.receiver_ids)
    with (fused := model.fuse("Which colour?")).active():
        ids = model.receiver.model.generate(**fused, max_new_tokens=5, do_sample=False)
    assert tuple(ids[0, : len(prompt.receiver_ids)].tolist()) == prompt.receiver_ids
    said = model.receiver.text_tokenizer.decode(ids[0, len(prompt.receiver_ids) :])
    assert said.strip() == written


def test_several_sharers_are_refused():
    with pytest.raises(ConfigError, match="anchors first"):
        MultiSharerModel([reading(**SIDE)] * 2)
