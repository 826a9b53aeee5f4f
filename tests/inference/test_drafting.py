"""Drafts: when they end, that nothing but the prompt decides them, and what is sent of them."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.errors import ConfigError
from c2c_search.errors import NotFiniteError
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference import drafting
from c2c_search.inference.doubt import Listening
from c2c_search.inference.drafting import Drafter
from c2c_search.inference.drafting import draft_texts
from c2c_search.inference.drafting import drafter_of
from c2c_search.inference.drafting import with_drafts
from c2c_search.inference.fusion import added_positions
from c2c_search.inference.listening import ConfidentModel
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.model import C2CModel
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.prefill import stack_cache
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.token_alignment import EncodedPrompt


TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
PROMPTS = st.lists(st.lists(st.integers(0, 255), min_size=1, max_size=24), min_size=1, max_size=7)


@pytest.fixture(scope="session")
def ending(tiny_model):
    """``ending(id, …)``: a sharer whose text ends at these tokens; random ones never end."""

    def made(*ids, family="llama"):
        loaded = tiny_model(family, layers=2, heads=1, head_dim=12, seed=2)
        generation = copy.deepcopy(loaded.model.generation_config)
        generation.eos_token_id = list(ids)
        loaded.model.generation_config = generation
        return loaded

    return made


@pytest.fixture(scope="session")
def stopping(ending):
    """A sharer of which some drafts end early, and each at another token."""
    return ending(*range(96, 112), *range(240, 248))


def drafts_of(loaded, prompts, tokens=16, template="plain"):
    caches = PromptCaches.in_passing(loaded.model, prompts, torch.float32)
    return Drafter(loaded, template, tokens).drafts(prompts, caches)


def greedily(loaded, prompt, tokens, ends, lines=("\n",)):
    """One draft by the whole model, read anew for every token."""
    ids = list(prompt)
    while len(ids) < len(prompt) + tokens:
        ids.append(int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        said = loaded.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)
        if ids[-1] in ends or any(line in said for line in lines):
            break
    return tuple(ids[len(prompt) :])


@given(prompts=PROMPTS)
@settings(max_examples=15)
def test_a_draft_is_what_the_model_writes_greedily_up_to_its_end(prompts, stopping):
    ends = set(stopping.model.generation_config.eos_token_id) | {stopping.tokenizer.eos_token_id}
    for prompt, draft in zip(prompts, drafts_of(stopping, prompts), strict=True):
        assert draft == greedily(stopping, prompt, 16, ends)


@given(prompts=PROMPTS)
@settings(max_examples=15)
def test_drafts_in_a_batch_are_those_of_each_prompt_alone(prompts, stopping):
    alone = [drafts_of(stopping, [prompt])[0] for prompt in prompts]
    assert drafts_of(stopping, prompts) == alone


@given(prompts=PROMPTS, tokens=st.integers(1, 15))
@settings(max_examples=15)
def test_a_shorter_draft_begins_a_longer_one(prompts, tokens, stopping):
    longer = drafts_of(stopping, prompts)
    assert drafts_of(stopping, prompts, tokens) == [draft[:tokens] for draft in longer]


def test_some_drafts_end_early_and_some_are_cut(stopping):
    prompts = [[number, 2 * number, 7] for number in range(1, 40)]
    lengths = {len(draft) for draft in drafts_of(stopping, prompts)}
    assert len(lengths) > 2
    assert max(lengths) == 16


def test_a_draft_that_ends_at_once_is_the_token_that_ended_it(ending):
    loaded = ending(*range(257))
    (draft,) = drafts_of(loaded, [[5, 6, 7]])
    assert len(draft) == 1
    prompt = EncodedPrompt((5, 6, 7), (5, 6, 7), (0, 1, 2)).with_draft(draft)
    assert prompt.draft == draft


def test_the_end_of_a_line_ends_a_draft_in_the_plain_template_alone(tiny_model):
    loaded = tiny_model("llama", layers=2, heads=1, head_dim=12, seed=2)
    (free,) = drafts_of(loaded, [[5, 6, 7]], template="chat")
    chats = copy.copy(loaded.tokenizer)
    chats.chat_template = TEMPLATE
    loaded = replace(loaded, tokenizer=chats)
    assert Drafter(loaded, "chat", 8).lines == ()
    assert Drafter(loaded, "plain", 8).lines == ("\n",)
    newline = loaded.tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert newline != [free[0]]
    with torch.no_grad():  # a model that writes line ends alone
        bias = torch.zeros(loaded.model.config.vocab_size)
        bias[newline[0]] = 1e4
        hook = loaded.model.lm_head.register_forward_hook(lambda *args: args[2] + bias)
    try:
        assert drafts_of(loaded, [[5, 6, 7]]) == [tuple(newline)]
        assert drafts_of(loaded, [[5, 6, 7]], 8, "chat") == [tuple(newline * 8)]
    finally:
        hook.remove()


def test_a_base_model_in_a_chat_drafts_one_line(tiny_model):
    assert Drafter(tiny_model("llama"), "chat", 8).lines == ("\n",)


def test_batches_hold_prompts_of_similar_length_and_follow_from_them(stopping, monkeypatch):
    monkeypatch.setattr(drafting, "BATCH", (3, 16_384))
    prompts = [[1] * length for length in (3, 9, 4, 30, 8, 31, 5)]
    caches = PromptCaches.in_passing(stopping.model, prompts, torch.float32)
    drafter = Drafter(stopping, "plain", 4)
    found = drafter.batches(prompts, caches)
    assert sorted(row for rows in found for row in rows) == list(range(7))
    assert all(len(rows) <= 3 for rows in found)
    assert found[0][:2] == [5, 3]
    assert replace(drafter, tokens=200).batches(prompts, caches) == found
    assert drafter.key("k") == replace(drafter, tokens=200).key("k") != drafter.key("l")
    assert drafter.drafts(prompts, caches) == drafts_of(stopping, prompts, 4)


def test_a_sharer_that_predicts_no_numbers_is_named(tiny_model):
    broken = copy.deepcopy(tiny_model("llama", seed=5).model)
    with torch.no_grad():
        broken.lm_head.weight.fill_(float("nan"))
    loaded = replace(tiny_model("llama", seed=5), model=broken)
    with pytest.raises(NotFiniteError, match="of its drafts"):
        drafts_of(loaded, [[1, 2]])


# --- What is sent ------------------------------------------------------------------------------


@pytest.fixture
def drafting_pair(make_pair, stopping):
    def made(message="draft", **fields):
        fields = {"injection": "append", "draft_tokens": 8, **fields}
        return make_pair(sharer=stopping, message=message, **fields)

    return made


def test_the_message_is_the_drafts_cache_or_that_of_prompt_and_draft(drafting_pair):
    for message in ("draft", "both"):
        model = drafting_pair(message)
        prompts = model.prompts([asked("Where is Timbuktu?"), asked("Who?")])
        batch = model.batch(prompts)
        start = 0
        for row, prompt in enumerate(prompts.encoded):
            ids = torch.tensor([prompt.sharer_ids])
            whole = stack_cache(model.sharer.model(input_ids=ids, use_cache=True).past_key_values)
            first = len(prompt.sharer_ids) - prompt.drafted if message == "draft" else 0
            wanted = whole[0, first:].permute(1, 2, 0, 3)
            said = batch.sharer[:, :, start : start + wanted.shape[2]]
            assert torch.allclose(said, wanted, atol=1e-5)
            start += wanted.shape[2]
            assert batch.sharer_positions[row].tolist() == list(
                range(first, len(prompt.sharer_ids))
            )
        assert start == batch.sharer.shape[2]


def test_a_drafts_entries_end_where_the_receivers_prompt_ends(drafting_pair):
    model = drafting_pair()
    batch = model.batch(model.prompts([asked("Where is Timbuktu?")]))
    (positions,), (length,) = added_positions(batch), batch.lengths
    assert positions[-1] == length - 1
    assert torch.equal(positions.diff(), torch.ones(len(positions) - 1, dtype=torch.long))
    fused = model.fuse(batch)
    assert fused.lengths == (length + len(positions),)
    assert fused.next_positions == batch.lengths


def test_a_partner_says_its_own_draft(drafting_pair):
    model = drafting_pair()
    prompts = model.prompts([asked("Where is Timbuktu?"), asked("Who?")])
    swapped, straight = model.batch(prompts, [0, 1], [1, 0]), model.batch(prompts, [1, 0])
    assert torch.equal(swapped.sharer, straight.sharer)
    assert swapped.lengths == straight.lengths[::-1]


def test_calibration_is_shown_the_prompts_tokens_alone(drafting_pair):
    model = drafting_pair()
    prompts = model.prompts([asked("Where is Timbuktu?")])
    batch = prompts.batch([0])
    (prompt,) = prompts.encoded
    assert len(batch.sharer_positions[0]) == batch.lengths[0]
    assert int(batch.sharer_positions[0].max()) < len(prompt.sharer_ids) - prompt.drafted


@pytest.mark.parametrize("keys", ["rotated", "unrotated"])
def test_a_stored_drafts_cache_is_a_fresh_ones(keys, drafting_pair, tmp_path):
    model = drafting_pair(keys=keys)
    encoded = with_drafts(model, model.encoded([asked(f"What is {one}?") for one in "abcdefg"]))
    ids = [prompt.sharer_ids for prompt in encoded]
    store = PromptCacheStore(tmp_path, dtype=torch.float32)
    stored = replace(model.cached(encoded), sharer=store.get(model.sharer, ids))
    for row, prompt in enumerate(encoded):
        fresh = model.batch(model.cached([prompt]))
        kept = model.batch(stored, [row])
        assert torch.allclose(kept.sharer, fresh.sharer, atol=1e-5)
        assert torch.allclose(model.fuse(kept).packed, model.fuse(fresh).packed, atol=1e-4)


def test_a_question_is_answered_from_the_draft(drafting_pair):
    model = drafting_pair(trained=True)
    question = "Where is Timbuktu?"
    (answer,) = model.generate_batch([question], max_new_tokens=6)
    assert model.generate(question, max_new_tokens=6) == answer
    (alone,) = [model.sharer_alone(question, max_new_tokens=8)]
    assert draft_texts(model, [question]) == [alone]
    # The same question with another draft is another message.
    (encoded,) = model.encoded([asked(question)])
    given = encoded.with_draft(drafter_of(model).given(encoded, "Mali"))
    told, own = (model.batch(model.cached([one])) for one in (given, encoded))
    assert told.sharer.shape != own.sharer.shape or not torch.equal(told.sharer, own.sharer)


def test_a_given_draft_is_read_and_ends_as_an_own_one(drafting_pair, tiny_model):
    model = drafting_pair(draft_tokens=32)
    (encoded,) = model.encoded([asked("Where?")])
    drafter = drafter_of(model)
    prompt = encoded.with_draft(drafter.given(encoded, "In Mali"))
    assert model.sharer.tokenizer.decode(list(prompt.draft)) == " In Mali\n"
    assert drafter.text(prompt) == "In Mali"
    assert len(replace(drafter, tokens=4).given(encoded, "In Mali")) == 4
    assert with_drafts(model, [prompt]) == (prompt,)
    chats = copy.copy(model.sharer.tokenizer)
    chats.chat_template = TEMPLATE
    of_chat = Drafter(replace(model.sharer, tokenizer=chats), "chat", 32)
    assert chats.decode(list(of_chat.given(encoded, "In Mali"))) == "In Mali<eos>"


def test_token_ids_are_drafted_to_as_well(drafting_pair):
    model = drafting_pair()
    ids = torch.tensor([[9, 8, 7, 6], [0, 5, 4, 3]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]])
    masks = {"receiver_attention_mask": mask, "sharer_attention_mask": mask}
    output = model(ids, ids, **masks)
    drafts = drafts_of(model.sharer, [[9, 8, 7, 6], [5, 4, 3]], 8)
    assert output.logits.shape[0] == 2
    longest = max(4 + len(drafts[0]), 3 + len(drafts[1]))
    cache = output.past_key_values if "past_key_values" in output else output.cache
    assert cache.layers[0].keys.shape[2] == longest
    written = model.generate(
        receiver_input_ids=ids, sharer_input_ids=ids, max_new_tokens=3, **masks
    )
    assert written.shape == (2, 7)


def test_a_confident_model_drafts_only_where_it_listens(drafting_pair, monkeypatch):
    model = drafting_pair()
    asked_to_draft = []
    real = Drafter.drafts
    monkeypatch.setattr(
        Drafter,
        "drafts",
        lambda self, ids, caches: asked_to_draft.extend(ids) or real(self, ids, caches),
    )
    never, always = (
        ConfidentModel(
            model, Listening(words=limit, choices=limit, skipped=0.5, length_normalised=True)
        )
        for limit in (2.0, 0.0)
    )
    never.generate_batch(["Where?"], max_new_tokens=4)
    assert not asked_to_draft
    assert always.generate_batch(["Where?"], max_new_tokens=4) == [
        model.generate("Where?", max_new_tokens=4)
    ]
    assert len(asked_to_draft) == 2


def test_the_draft_has_a_template_of_its_own(drafting_pair):
    model = drafting_pair()
    chats = copy.copy(model.sharer.tokenizer)
    chats.chat_template = TEMPLATE
    model.sharer = replace(model.sharer, tokenizer=chats)
    (plain,) = model.encoded([asked("Where?")])
    model.draft_template = "chat"
    (prompt,) = model.encoded([asked("Where?")])
    assert chats.decode(list(prompt.sharer_ids)) == "<user>Where?<assistant>"
    assert prompt.receiver_ids == plain.receiver_ids
    assert drafter_of(model).template == "chat"
    # What stands for a token of the question still says it.
    receiver, sharer = model.receiver.tokenizer, chats
    for ours, theirs in list(zip(prompt.receiver_ids, prompt.alignment, strict=True))[10:16]:
        assert receiver.decode([ours]) == sharer.decode([prompt.sharer_ids[theirs]])


def test_a_receiver_that_is_its_own_sharer_drafts_itself(drafting_pair, tiny_model):
    receiver = tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1)
    config = FuserConfig(
        width=8, injection="append", message="draft", draft_tokens=8, sharer="self"
    )
    fuser = Fuser(config, cache_shape(receiver), cache_shape(receiver))
    model = C2CModel(receiver, tiny_model(seed=7), fuser, cache_dtype=torch.float32)
    assert model.sharer is model.receiver
    prompts = model.prompts([asked("Where?")])
    (prompt,) = prompts.encoded
    assert prompt.draft == drafts_of(receiver, [prompt.receiver_ids], 8)[0]
    (positions,) = model.batch(prompts).sharer_positions
    assert len(positions) == prompt.drafted


def test_a_sharer_that_drafts_nothing_has_nothing_to_show(make_pair):
    model = make_pair()
    assert drafter_of(model) is None
    with pytest.raises(ConfigError, match="that drafts"):
        draft_texts(model, ["Where?"])
