"""lm-evaluation-harness on a champion: item by item what its own model and our scorer say."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING
from typing import Any

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.evaluation.lm_eval import run as ours
from c2c_search.evaluation.lm_eval.run import results_of
from c2c_search.evaluation.lm_eval.run import run
from c2c_search.inference.decoding import generate
from c2c_search.inference.model import C2CModel
from c2c_search.tokenization.templates import asked


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from c2c_search.evaluation.lm_eval.model import C2CLM

pytest.importorskip("lm_eval")

ITEMS = [
    {"question": "What is wet?", "choices": ["water", "sand", "a stone"], "answer": 0},
    {"question": "Which is hot?", "choices": ["ice", "fire", "snow", "rain"], "answer": 1},
    {"question": "Name a colour.", "choices": ["dog", "blue"], "answer": 1},
    {"question": "Is 3 > 2? ", "choices": ["yes", "no"], "answer": 0},
]
CHATML = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)
CLOSE = {"abs": 1e-4}


def _request(*args: Any) -> Any:
    return SimpleNamespace(args=args)


def _pairs(*texts: tuple[str, str]) -> list[Any]:
    return [_request(*pair) for pair in texts]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A multiple-choice task in our plain template, on a local file."""
    data = tmp_path / "items.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    file = tmp_path / "tiny.yaml"
    config = {
        "task": "tiny",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(data)},
            "cache_dir": str(tmp_path / "datasets"),
        },
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": " ",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    file.write_text(json.dumps(config))  # JSON is YAML
    return file


@pytest.fixture
def alone(make_pair: Any) -> C2CModel:
    """The receiver of a tiny pair, alone."""
    pair = make_pair()
    return C2CModel(pair.receiver, pair.sharer, None, cache_dtype=torch.float32)


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


def test_the_module_does_not_import_the_harness() -> None:
    code = "import sys, c2c_search.evaluation.lm_eval.run; sys.exit('lm_eval' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_the_harness_the_way_out_is_named(
    alone: C2CModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ConfigError, match=r"pip install 'c2c-search\[lm-eval\]'"):
        _harness(alone)


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


@pytest.fixture
def _own_tasks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the harness's own tasks, whose index takes seconds."""
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("lm_eval.tasks.TaskManager", partial(TaskManager, include_defaults=False))


@pytest.mark.usefixtures("_own_tasks_only")
def test_a_run_gives_results_that_can_be_paired(
    make_pair: Any, alone: C2CModel, task: Path
) -> None:
    found = {}
    for name, model in (("c2c", make_pair()), ("receiver", alone)):
        results = run(model, ["tiny"], include_path=task.parent, limit=3)
        assert results["config"]["receiver"] == alone.receiver.identity.source
        found[name] = results_of(results["samples"], name)["tiny"]
        assert found[name].accuracy == pytest.approx(results["results"]["tiny"]["acc,none"])
    ids = [item.id for item in found["c2c"].items]
    assert ids == [item.id for item in found["receiver"].items]
    assert len(set(ids)) == 3
    assert [item.answer for item in found["c2c"].items] == [0, 1, 1]


@pytest.mark.usefixtures("_own_tasks_only")
def test_unknown_tasks_are_named_together(alone: C2CModel, task: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 problems(.|\n)*tinny.*Did you mean tiny(.|\n)*none"):
        run(alone, ["tinny", "none"], include_path=task.parent)


def _sample(**fields: Any) -> dict[str, Any]:
    return {"doc_id": 0, "doc_hash": "a" * 64, "filter": "none", **fields}


def test_a_written_answer_has_its_metric_as_credit() -> None:
    sample = _sample(
        target="7", resps=[["It is 7."]], filtered_resps=["7"], metrics=["em"], em=1.0
    )
    (item,) = results_of({"sums": [sample]}, "c2c")["sums"].items
    assert (item.text, item.parsed, item.graded) == ("It is 7.", "7", 1.0)


def test_answers_read_in_several_ways_are_several_results() -> None:
    samples = [
        _sample(
            filter=name, target="7", resps=[["7"]], filtered_resps=["7"], metrics=["em"], em=em
        )
        for name, em in (("strict", 0.0), ("loose", 1.0))
    ]
    found = results_of({"sums": samples}, "c2c")
    assert {split: result.accuracy for split, result in found.items()} == {
        "sums,strict": 0.0,
        "sums,loose": 1.0,
    }


def test_a_task_without_credit_by_item_is_left_out() -> None:
    sample = _sample(
        target="",
        resps=[[-9.0]],
        filtered_resps=[-9.0],
        metrics=["word_perplexity"],
        word_perplexity=(-9.0, 3),
    )
    assert results_of({"text": [sample]}, "c2c") == {}


def test_a_right_choice_that_is_not_given_by_number_is_credited_as_the_harness_does() -> None:
    answers = [(-1.0, False), (-2.0, False)]
    sample = _sample(
        target="the first", resps=[[a] for a in answers], filtered_resps=answers,
        metrics=["acc"], acc=1.0,
    )  # fmt: skip
    (item,) = results_of({"task": [sample]}, "c2c")["task"].items
    assert (item.credit, item.scores) == (1.0, ())


def test_scores_without_the_question_are_not_choices() -> None:
    # Four numbers for two choices: with the question -1 and -2, without it -3 and -0.5.
    answers = [(-1.0, False), (-2.0, False), (-3.0, False), (-0.5, False)]
    sample = _sample(
        target=1, resps=[[a] for a in answers], filtered_resps=answers,
        metrics=["acc", "acc_mutual_info"], acc=0.0, acc_mutual_info=0.0,
    )  # fmt: skip
    (item,) = results_of({"task": [sample]}, "c2c")["task"].items
    assert (item.scores, item.chosen, item.credit) == ((-1.0, -2.0), 0, 0.0)
