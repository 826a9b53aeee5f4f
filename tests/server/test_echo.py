"""Texts that are scored (``echo``): as offline, together, beside answers, within the limits."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from c2c_search.inference.anchors import anchor_texts
from c2c_search.server import likelihoods
from c2c_search.server.limits import ServerLimits
from tests.evaluation.lm_eval.conftest import ITEMS
from tests.evaluation.lm_eval.conftest import choices_task


PATH = "/v1/completions"


def echo(client, prompt, model="tiny", **more):
    body = {"model": model, "prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 0}
    return client.post(PATH, json={**body, **more})


def told(response):
    assert response.status_code == 200, response.text
    return [each["logprobs"] for each in response.json()["choices"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"injection": "side"},
        {"injection": "append", "refresh": 3},
        {"fuse_response": True},
        {"lora_rank": 2},
    ],
    ids=str,
)
def test_texts_that_are_scored_together_are_scored_as_offline(serve, fields, monkeypatch):
    monkeypatch.setattr(likelihoods, "STEP_TOKENS", 7)  # several steps, cut within texts
    client, model = serve(limits=ServerLimits(batch=5), **fields)
    asked = [(item["question"], choice) for item in ITEMS for choice in item["choices"]]

    def score(pair):
        question, choice = pair
        return told(echo(client, f"Question: {question}\nAnswer: {choice}"))[0]

    with ThreadPoolExecutor(len(asked)) as pool:
        found = [*pool.map(score, asked)]
    for (question, choice), of_text in zip(asked, found, strict=True):
        expected, (count,) = model.score(question, [choice])
        scored = of_text["token_logprobs"][-count:]
        assert of_text["token_logprobs"][-count - 1] is None  # the colon, which both have read
        assert sum(scored) == pytest.approx(float(expected[0]), abs=1e-4)


def test_words_that_the_receiver_reads_beside_a_text_are_no_part_of_it(serve):
    client, model = serve(injection="append", message="draft", anchors="first", draft_tokens=4)
    (words,) = anchor_texts(model, ["What is wet?"])
    assert words
    text = "Question: What is wet?\nAnswer: water"
    ids = model.receiver.text_tokenizer(text)["input_ids"]
    (found,) = told(echo(client, text))
    assert "".join(found["tokens"]) == text
    assert len(found["tokens"]) == len(ids)
    expected, (count,) = model.score("What is wet?", ["water"])
    assert sum(found["token_logprobs"][-count:]) == pytest.approx(float(expected[0]), abs=1e-4)


def test_a_text_under_a_model_alone_and_the_token_that_would_follow(serve):
    client, model = serve()
    tokenizer = model.receiver.text_tokenizer
    ids = tokenizer("hello there")["input_ids"]
    response = echo(client, ids, "tiny/receiver", max_tokens=1, logprobs=3)
    (found,) = told(response)
    with torch.no_grad():
        logits = model.receiver.model(input_ids=torch.tensor([ids])).logits[0]
    scores = logits.log_softmax(dim=-1)
    following = int(scores[-1].argmax())
    expected = [*scores[:-1].gather(1, torch.tensor([ids[1:]]).T)[:, 0], scores[-1].max()]
    assert found["token_logprobs"][0] is None
    assert found["token_logprobs"][1:] == pytest.approx(
        [float(each) for each in expected], abs=1e-4
    )
    assert found["tokens"][-1] == tokenizer.decode([following])
    assert max(found["top_logprobs"][-1].values()) == found["token_logprobs"][-1]
    used = response.json()["usage"]
    assert (used["prompt_tokens"], used["completion_tokens"]) == (len(ids), 1)


def test_the_sharer_reads_up_to_the_last_answer(serve):
    client, _ = serve()
    shots = "Question: a\nAnswer: b\n\n"
    (found,) = told(echo(client, f"{shots}Question: c\nAnswer: d"))
    assert found["token_logprobs"].count(None) == len(found["tokens"]) - 2
    for prompt in ("no end", "", [10**6]):
        refused = echo(client, prompt)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")
    assert told(echo(client, "Question: a\nAnswer:"))[0]["token_logprobs"][-1] is None
    refused = echo(client, "hello", "tiny/text-relay")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")


def test_what_does_not_go_with_scoring_is_refused(serve):
    client, _ = serve()
    for more, param in (
        ({"max_tokens": 2}, "echo"),
        ({"stream": True}, "stream"),
        ({"temperature": 0.5}, "temperature"),
        ({"stop": "x"}, "stop"),
    ):
        refused = echo(client, "a", "tiny/receiver", **more)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert echo(client, ["a"] * 17, "tiny/receiver").json()["error"]["param"] == "n"


def test_texts_are_counted_bounded_and_given_up_like_answers(serve):
    client, _ = serve(limits=ServerLimits(batch=1, queue=1))
    full = echo(client, ["a b", "a c", "a d"], "tiny/receiver")
    assert (full.status_code, full.headers["retry-after"]) == (429, "1")
    assert len(told(echo(client, ["a b", "a c"], "tiny/receiver"))) == 2
    assert 'status="429",system=""} 1.0' in client.get("/metrics").text
    late, _ = serve(limits=ServerLimits(seconds=1e-9))
    assert echo(late, "a b", "tiny/receiver").status_code == 504
    assert late.app.state.server.engine.waiting == 0


def test_a_text_that_nobody_waits_for_any_more_frees_its_place(make_app, in_process, monkeypatch):
    monkeypatch.setattr(likelihoods, "STEP_TOKENS", 1)
    app = make_app()
    server = app.state.server
    body = {"model": "tiny/receiver", "prompt": "long " * 400, "echo": True, "max_tokens": 0}

    async def ask():
        async with in_process(app) as client:
            asking = asyncio.create_task(client.post(PATH, json=body))
            while not server.engine.waiting:
                await asyncio.sleep(0.01)
            # An answer beside it is written while it is scored.
            answer = await client.post(
                PATH, json={**body, "prompt": "a", "max_tokens": 2, "echo": False}
            )
            assert answer.status_code == 200
            assert server.engine.waiting == 1
            asking.cancel()
            until = time.monotonic() + 30
            while server.engine.waiting and time.monotonic() < until:
                await asyncio.sleep(0.01)
            assert server.engine.waiting == 0

    asyncio.run(ask())


def test_a_prompt_that_is_too_long_is_refused_and_so_is_its_answer(serve):
    client, _ = serve(limits=ServerLimits(context_tokens=40))
    for system in ("tiny", "tiny/receiver"):
        chat = {"model": system, "messages": [{"role": "user", "content": "a" * 60}]}
        body = {"model": system, "prompt": "a" * 38, "max_tokens": 3}
        for path, asked in (("/v1/chat/completions", chat), (PATH, body)):
            refused = client.post(path, json=asked).json()["error"]
            assert refused["code"] == "context_length_exceeded"
        assert client.post(PATH, json={**body, "max_tokens": 2}).status_code == 200
    assert echo(client, "a" * 41, "tiny/receiver").status_code == 400


@pytest.mark.parametrize("system", ["tiny", "tiny/receiver"])
def test_the_harness_asks_a_server_and_scores_as_offline(
    make_app, on_socket, system, tmp_path, monkeypatch
):
    """lm-evaluation-harness's ``local-completions``, end to end."""
    for module in ("lm_eval", "aiohttp", "tenacity", "requests"):
        pytest.importorskip(module)
    from lm_eval import evaluate
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    from lm_eval.tasks import TaskManager

    from c2c_search.evaluation.lm_eval.run import harness_model
    from c2c_search.inference.model import model_alone

    data = tmp_path / "items.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    choices = choices_task("choices", data, tmp_path)
    written = {
        **choices,
        "task": "written",
        "output_type": "generate_until",
        "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6, "do_sample": False},
        "metric_list": [
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
        ],
    }
    del written["doc_to_choice"]
    app = make_app(batch=4)
    model = app.state.pair
    model.receiver.text_tokenizer.save_pretrained(tmp_path / "tokenizer")
    manager = TaskManager(include_defaults=False)
    ask = partial(evaluate, task_dict=manager.load([choices, written]), bootstrap_iters=0)
    offline = model if system == "tiny" else model_alone(model, model.receiver, "receiver")
    expected = ask(harness_model(offline))
    with on_socket(app) as url:
        client = LocalCompletionsAPI(
            model=system,
            base_url=f"{url}{PATH}",
            tokenizer=str(tmp_path / "tokenizer"),
            tokenizer_backend="huggingface",
            num_concurrent=6,
            max_retries=1,
        )
        found = ask(client)
    for name, metric in (("choices", "acc,none"), ("written", "exact_match,none")):
        assert found["results"][name][metric] == expected["results"][name][metric]
    pairs = zip(found["samples"]["choices"], expected["samples"]["choices"], strict=True)
    for served, same in pairs:
        for (likelihood, greedy), (other, also) in zip(
            served["filtered_resps"], same["filtered_resps"], strict=True
        ):
            assert likelihood == pytest.approx(other, abs=1e-4)
            assert greedy == also
    for served, same in zip(
        found["samples"]["written"], expected["samples"]["written"], strict=True
    ):
        assert served["resps"][0][0].strip() == same["resps"][0][0]
