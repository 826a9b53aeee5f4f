"""lm-evaluation-harness on a champion: item by item what its own model and our scorer say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING
from typing import Any

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.evaluation.lm_eval import run as ours
from c2c_search.inference.model import C2CModel
from c2c_search.tokenization.templates import asked
from tests.evaluation.lm_eval.conftest import ITEMS
from tests.inference.greedy import generate


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from c2c_search.evaluation.lm_eval.model import C2CLM

pytest.importorskip("lm_eval")

CHATML = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)
CLOSE = {"abs": 1e-4}


def _request(*args: Any) -> Any:
    return SimpleNamespace(args=args)


def _pairs(*texts: tuple[str, str]) -> list[Any]:
    return [_request(*pair) for pair in texts]


def _harness(model: C2CModel, **options: Any) -> C2CLM:
    return ours.harness_model(model, **options)


def _hf(model: C2CModel, **options: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    receiver = model.receiver
    return HFLM(pretrained=receiver.model, tokenizer=receiver.tokenizer, **options)


def _samples(model: Any, task: Path) -> Sequence[dict[str, Any]]:
    from lm_eval import evaluate
    from lm_eval.tasks import TaskManager

    loaded = TaskManager(include_defaults=False).load([str(task)])
    samples = evaluate(model, loaded, bootstrap_iters=0)["samples"]["tiny"]
    return sorted(samples, key=lambda sample: sample["doc_id"])


def _assert_same(found: Sequence[tuple[float, bool]], wanted: Sequence[Any]) -> None:
    assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]
    assert [score for score, _ in found] == pytest.approx([score for score, _ in wanted], **CLOSE)


def test_a_receiver_alone_answers_a_task_as_the_harness_own_model(
    alone: C2CModel, task: Path
) -> None:
    for mine, theirs in zip(
        _samples(_harness(alone, batch_size=3), task), _samples(_hf(alone), task), strict=True
    ):
        _assert_same(mine["filtered_resps"], theirs["filtered_resps"])
        assert mine["acc"] == theirs["acc"]


@pytest.mark.parametrize("fields", [{}, {"injection": "append"}, {"fuse_response": True}])
@pytest.mark.parametrize("alignment", ["span", "first"])
def test_c2c_answers_a_task_as_our_own_scorer(
    make_pair: Any, task: Path, alignment: str, fields: dict[str, Any]
) -> None:
    model = make_pair(token_alignment=alignment, **fields)
    prompts = model.prompts([asked(item["question"]) for item in ITEMS])
    scored = model.score(model.batch(prompts), [item["choices"] for item in ITEMS])
    samples = _samples(_harness(model, batch_size=3), task)
    for sample, (scores, _) in zip(samples, scored, strict=True):
        found = [likelihood for likelihood, _ in sample["filtered_resps"]]
        assert found == pytest.approx(scores.tolist(), **CLOSE)


def test_what_the_sharer_says_changes_the_numbers(make_pair: Any, alone: C2CModel) -> None:
    requests = _pairs(("What is wet?", " water"))
    ((fused, _),) = _harness(make_pair()).loglikelihood(requests, disable_tqdm=True)
    ((own, _),) = _harness(alone).loglikelihood(requests, disable_tqdm=True)
    assert abs(fused - own) > 1e-3


@pytest.mark.parametrize(
    "pair",
    [
        ("", "from nothing"),
        ("one", " two"),
        ("ends in spaces  ", "two"),
        ("x", "y"),
        ("<eos>begins special", " two"),
        ("Größe:", " ∞"),
    ],
)
def test_any_context_is_scored_as_the_harness_own_model_does(
    alone: C2CModel, pair: tuple[str, str]
) -> None:
    requests = _pairs(pair, pair, ("beside", " it"))
    _assert_same(
        _harness(alone).loglikelihood(requests, disable_tqdm=True),
        _hf(alone).loglikelihood(requests, disable_tqdm=True),
    )


def test_a_continuation_is_greedy_when_the_model_would_write_it(make_pair: Any) -> None:
    model = make_pair()
    prompts = model.prompts([asked("What is wet?")])
    batch = model.batch(prompts)
    (written,) = generate(
        model.receiver.model, model.fuse(batch), batch.last_ids, stop=set(), max_new_tokens=3
    )
    context = "Question: What is wet?\nAnswer:"
    ids = list(prompts.encoded[0].receiver_ids)
    last_is_another = [*written[:-1], (written[-1] + 1) % 256]
    scored = _harness(model)._loglikelihood_tokens(
        [((context, ""), ids, written), ((context, ""), ids, last_is_another)], disable_tqdm=True
    )
    assert [greedy for _, greedy in scored] == [True, False]


def test_of_a_context_of_one_token_nothing_is_fused(make_pair: Any, alone: C2CModel) -> None:
    requests = _pairs(("x", "y"))
    _assert_same(
        _harness(make_pair()).loglikelihood(requests, disable_tqdm=True),
        _harness(alone).loglikelihood(requests, disable_tqdm=True),
    )


def test_a_text_from_nothing_is_the_receivers_alone(make_pair: Any, alone: C2CModel) -> None:
    pair = make_pair()
    requests = _pairs(("", "no context at all"))
    fused = _harness(pair).loglikelihood(requests, disable_tqdm=True)
    _assert_same(fused, _harness(alone).loglikelihood(requests, disable_tqdm=True))
    rolling = [_request("no context at all"), _request("nor here")]
    assert _harness(pair).loglikelihood_rolling(rolling, disable_tqdm=True) == pytest.approx(
        _harness(alone).loglikelihood_rolling(rolling, disable_tqdm=True), **CLOSE
    )


@pytest.mark.parametrize("max_length", [None, 7])
def test_rolling_windows_are_those_of_the_harness_own_model(
    alone: C2CModel, max_length: int | None
) -> None:
    requests = [_request("a text of more than one window, this one"), _request("short")]
    found = _harness(alone, max_length=max_length).loglikelihood_rolling(requests, True)
    wanted = _hf(alone, max_length=max_length).loglikelihood_rolling(requests, True)
    assert found == pytest.approx(wanted, **CLOSE)


def test_what_is_too_long_loses_its_front_as_in_the_harness_own_model(alone: C2CModel) -> None:
    requests = _pairs(("a context that is too long", " for it"), ("this", " fits"))
    _assert_same(
        _harness(alone, max_length=12).loglikelihood(requests, disable_tqdm=True),
        _hf(alone, max_length=12).loglikelihood(requests, disable_tqdm=True),
    )


def test_a_sharer_reads_the_whole_context_where_the_receiver_lost_its_front(
    make_pair: Any,
) -> None:
    model = make_pair()
    found = _harness(model, max_length=12).loglikelihood(
        _pairs(("a context that is too long", " for it")), disable_tqdm=True
    )
    # 12 tokens fed are 13 read: 7 of the answer, so 6 of the context, "o long".
    whole = model.prompts([asked("x")]).encoded[0]
    tokenizer = model.receiver.tokenizer
    ids = tokenizer("a context that is too long")["input_ids"]
    prompt = type(whole)(tuple(ids[-6:]), tuple(ids), tuple(range(len(ids) - 6, len(ids))))
    batch = model.batch(model.cached([prompt]))
    ((scores, _),) = model.score(batch, [["for it"]])
    assert found[0][0] == pytest.approx(float(scores[0]), **CLOSE)


def test_greedy_answers_are_those_of_the_harness_own_model(alone: C2CModel) -> None:
    decoding = {"until": ["\n", "zz"], "max_gen_toks": 8, "do_sample": False}
    requests = [_request(text, decoding) for text in ("What is wet?", "Which is hot?", "x")]
    found = _harness(alone).generate_until(requests, disable_tqdm=True)
    wanted = _hf(alone).generate_until(requests, disable_tqdm=True)
    assert found == [text.strip() for text in wanted]


def test_samples_of_one_context_differ_and_can_be_repeated(alone: C2CModel) -> None:
    decoding = {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 1.0}
    requests = [_request("What is wet?", decoding)] * 3
    first = _harness(alone).generate_until(requests, disable_tqdm=True)
    assert len(set(first)) == 3
    assert _harness(alone).generate_until(requests, disable_tqdm=True) == first


def test_a_way_of_decoding_that_is_not_ours_is_refused(alone: C2CModel) -> None:
    requests = [_request("x", {"until": [], "num_beams": 4})]
    with pytest.raises(ConfigError, match="num_beams"):
        _harness(alone).generate_until(requests, disable_tqdm=True)


def test_an_answer_longer_than_the_receiver_reads_is_refused(alone: C2CModel) -> None:
    requests = [_request("x", {"until": [], "max_gen_toks": 12})]
    with pytest.raises(ConfigError, match="shorter than 12"):
        _harness(alone, max_length=12).generate_until(requests, disable_tqdm=True)


def _chatting(
    make_pair: Any, tiny_model: Any, receiver_template: str, sharer_template: str
) -> Any:
    from copy import copy
    from dataclasses import replace

    models = []
    for number, template in enumerate((receiver_template, sharer_template)):
        loaded = tiny_model("llama", layers=2, heads=1, head_dim=8, seed=number)
        tokenizer = copy(loaded.tokenizer)
        tokenizer.chat_template = template
        models.append(replace(loaded, tokenizer=tokenizer))
    model = make_pair(receiver=models[0], sharer=models[1])
    model.template = "chat"
    return model


def test_in_a_chat_each_model_reads_its_own_template(make_pair: Any, tiny_model: Any) -> None:
    other = "{% for m in messages %}[{{ m.content }}]{% endfor %}reply:"
    model = _chatting(make_pair, tiny_model, CHATML.replace("<assistant>\n", "<assistant>"), other)
    harness = _harness(model)
    context = harness.apply_chat_template([{"role": "user", "content": "What is wet?"}])
    ((found, _),) = harness.loglikelihood(_pairs((context, "water")), disable_tqdm=True)
    batch = model.batch(model.prompts([asked("What is wet?")]))
    ((scores, _),) = model.score(batch, [["water"]])
    assert found == pytest.approx(float(scores[0]), **CLOSE)


def test_white_space_at_the_end_of_a_chat_belongs_to_the_answer(
    make_pair: Any, tiny_model: Any
) -> None:
    model = _chatting(make_pair, tiny_model, CHATML, CHATML)
    alone = C2CModel(model.receiver, model.sharer, None, cache_dtype=torch.float32)
    found = []
    for harness in (_harness(alone), _hf(alone)):
        context = harness.apply_chat_template([{"role": "user", "content": "What is wet?"}])
        found.append(harness.loglikelihood(_pairs((context, "water")), disable_tqdm=True))
    _assert_same(*found)


def test_an_answer_that_has_begun_is_refused_in_a_fused_chat(
    make_pair: Any, tiny_model: Any
) -> None:
    harness = _harness(_chatting(make_pair, tiny_model, CHATML, CHATML))
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "The"}]
    with pytest.raises(ConfigError, match="gen_prefix"):
        harness.apply_chat_template(turns, add_generation_prompt=False)


def test_a_chat_without_a_template_is_refused(alone: C2CModel) -> None:
    with pytest.raises(ConfigError, match="chat template"):
        _harness(alone).apply_chat_template([{"role": "user", "content": "x"}])


def test_words_of_the_sharer_leave_the_harness_less_room(make_pair: Any) -> None:
    anchored = make_pair(injection="append", anchors="first", anchor_tokens=8)
    assert _harness(anchored, max_length=12).max_length == 12 - 9
    with pytest.raises(ConfigError, match="Set max_length above 9"):
        _harness(anchored, max_length=9)
