"""What a pair is refused for, or told about, when it is prepared: once, and before any trial."""

from __future__ import annotations

import copy
import datetime
import json
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers.processors import TemplateProcessing

from c2c_search.errors import ConfigError
from c2c_search.errors import NotFiniteError
from c2c_search.models.pair import PairSpec
from c2c_search.tokenization.templates import TemplateRefusedError
from c2c_search.training.divergence import DivergedError
from c2c_search.training.protocol import Notice
from c2c_search.training.service import WorkerService


CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
DATED = "{{ strftime_now('%d %b %Y') }}\n" + CHAT
REFUSING = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
) + CHAT


@pytest.fixture
def served(pipeline, tiny_model, tmp_path):
    """A service whose receiver is changed, and its pair: ``served(chat=..., model=...)``."""

    def make(*, chat=None, model=None, ends=False, **data):
        loaded = tiny_model("llama", seed=1)
        tokenizer = copy.deepcopy(loaded.tokenizer)
        tokenizer.chat_template = chat
        if ends:
            tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
                "$A <eos>", "$A $B", [("<eos>", tokenizer.eos_token_id)]
            )
        sources = {}
        for role, its in {"receiver": model or loaded.model, "sharer": loaded.model}.items():
            its.save_pretrained(tmp_path / role)
            (tokenizer if role == "receiver" else loaded.tokenizer).save_pretrained(
                tmp_path / role
            )
            sources[role] = f"path:{tmp_path / role}"
        if chat is not None:
            data["template"] = "chat"
        own = pipeline.model_copy(update={"data": pipeline.data.model_copy(update=data)})
        events = []
        service = WorkerService(own, cache_dir=tmp_path / "cache", emit=events.append)
        service.events = events
        return service, PairSpec(**sources)

    return make


def notices(service):
    return [event.message for event in service.events if isinstance(event, Notice)]


def test_a_refused_turn_is_told_before_any_trial_and_again_when_asked_again(
    served, pipeline, tmp_path
):
    lines = Path(pipeline.data.files.train[0]).read_text().splitlines()
    turns = [("user", "Hi"), ("assistant", "Hello")]
    spoken = [{"role": role, "content": content} for role, content in turns]
    system = {"role": "system", "content": "Be brief."}
    rows = [{"messages": spoken}, {"id": "mine", "messages": [system, *spoken]}]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), *lines]) + "\n")
    files = pipeline.data.files.model_copy(update={"train": (str(path),)})
    service, pair = served(chat=REFUSING, files=files)
    for _ in range(2):  # what is not prepared must not be taken for prepared
        with pytest.raises(TemplateRefusedError) as told:
            service.prepare(pair)
        assert f"The chat template of {pair.receiver}" in str(told.value)
        assert "system, user: No system role" in str(told.value)
        assert f"{path}:2" in str(told.value)
    assert not (tmp_path / "cache" / "prompt_caches").exists()


def test_a_dated_template_writes_the_day_on_which_the_study_began(served, trial, tmp_path):
    service, pair = served(chat=DATED)
    prepared = service.prepare(pair)
    assert prepared.date == datetime.date.today().isoformat()
    undated = trial.model_copy(update={"pair": pair, "data": service.pipeline.data})
    with pytest.raises(ConfigError, match=f"as {prepared.date}"):
        service.trial(undated, tmp_path / "trial", lambda: True)
    service, _ = served(chat=DATED, date="2024-07-09")
    then = service.prepare(pair)
    assert then.date == "2024-07-09"
    assert then.prompts != prepared.prompts
    prompt = service._prompts[pair, "train"].encoded()[0]
    assert prompt.receiver_text.text.startswith("09 Jul 2024\n")
    config = trial.model_copy(update={"pair": pair, "data": service.pipeline.data})
    assert service.trial(config, tmp_path / "trial", lambda: True).model.date == "2024-07-09"
    service, _ = served(chat=CHAT)
    assert service.prepare(pair).date is None


def test_prompts_are_hashed(served, tiny_pair, service):
    first, again = service.prepare(tiny_pair), service.prepare(tiny_pair)
    assert first.prompts == again.prompts
    assert len(first.prompts) == 64
    other, pair = served(chat=CHAT)
    assert other.prepare(pair).prompts != first.prompts


def test_learned_positions_are_counted_before_anything_is_computed(served, tmp_path):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=257, n_embd=32, n_layer=2, n_head=4, n_positions=38, eos_token_id=256
    )
    service, pair = served(model=transformers.GPT2LMHeadModel(config))
    with pytest.raises(ConfigError, match=r"38 positions: \d+ of 12 train examples") as told:
        service.prepare(pair)
    assert pair.receiver in str(told.value)
    assert not (tmp_path / "cache" / "prompt_caches").exists()


def test_what_a_model_was_not_made_for_is_told_with_counts(served, tiny_model):
    config = copy.deepcopy(tiny_model("llama", seed=1).model.config)
    config.max_position_embeddings = 32
    torch.manual_seed(1)
    service, pair = served(model=transformers.LlamaForCausalLM(config))
    service.prepare(pair)
    told = [text for text in notices(service) if "more tokens than the 32" in text]
    assert [text.partition(" have")[0] for text in told] == [
        "12 of 12 train examples",
        "6 of 6 validation examples",
        "6 of 6 test examples",
    ]


@pytest.mark.parametrize("layer", [0, -1])
def test_a_model_that_is_no_number_is_no_fault_of_a_trial(served, tiny_model, layer):
    model = copy.deepcopy(tiny_model("llama", seed=1).model)
    with torch.no_grad():
        model.model.layers[layer].mlp.down_proj.weight[0, 0] = float("inf")
    service, pair = served(model=model)
    for _ in range(2):
        with pytest.raises(NotFiniteError, match=f"The receiver's .*{pair.receiver}"):
            service.prepare(pair)
    assert pair not in service._pairs


def test_nothing_is_answered_after_the_end_of_a_text(served):
    service, pair = served(ends=True)
    service.prepare(pair)
    prompts = service._prompts[pair, "test"].encoded()
    end = service._models[pair.receiver].tokenizer.eos_token_id
    assert all(end not in prompt.receiver_ids for prompt in prompts)
    assert sum("ends every text with <eos>" in text for text in notices(service)) == 1


def test_a_fuser_that_diverges_is_its_trials_own_fault(service, trial, tmp_path, monkeypatch):
    run = service.trial(trial, tmp_path / "trial", lambda: True)
    keep = run._train_step

    def diverging(engine):
        yield from keep(engine)
        with torch.no_grad():
            next(run.fuser.parameters()).fill_(float("nan"))

    monkeypatch.setattr(run, "_train_step", diverging)
    with pytest.raises(DivergedError):
        run.run()


def test_what_the_models_compute_in_is_told_once_with_its_reason(served):
    service, pair = served()
    for _ in range(2):
        assert service.prepare(pair).dtype == "float32"
    told = [message for message in notices(service) if "compute in" in message]
    assert told == ["The models compute in float32: as asked for, or as recorded."]
