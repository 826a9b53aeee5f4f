"""The API: answers are those of the model itself, whoever asks beside it; errors are in shape."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch

from c2c_search.inference.conversations import turns
from c2c_search.inference.generation import GenerationRequest
from c2c_search.inference.generation_settings import GenerationSettings
from c2c_search.inference.model import model_alone
from c2c_search.server.failures import ApiError
from c2c_search.server.limits import ServerLimits
from c2c_search.server.requests import ChatRequest
from c2c_search.server.requests import CompletionRequest
from c2c_search.server.requests import read


TURN = {"role": "user", "content": "x"}
IMAGE = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}
QUESTIONS = [f"What is {number} and {number * 7}?" for number in range(12)]


def chat(client, question, model="tiny", **more):
    messages = question if isinstance(question, list) else [{"role": "user", "content": question}]
    body = {"model": model, "messages": messages, "max_tokens": 12, **more}
    return client.post("/v1/chat/completions", json=body)


def text(response):
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def streamed(client, path, body):
    with client.stream("POST", path, json={**body, "stream": True}) as response:
        assert response.status_code == 200
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"injection": "append", "message": "draft", "draft_tokens": 4},
        {"injection": "side"},
        {"injection": "side", "reads_from": "all"},
        {"injection": "side", "message": "draft", "draft_tokens": 4, "anchors": "last"},
        {"fuse_response": True},
        {"lora_rank": 2},
    ],
    ids=str,
)
def test_answers_that_are_decoded_together_are_those_of_the_model_alone(serve, fields):
    client, model = serve(limits=ServerLimits(batch=5), **fields)
    with ThreadPoolExecutor(12) as pool:
        answers = [*pool.map(lambda question: chat(client, question, logprobs=True), QUESTIONS)]
    request = GenerationRequest(GenerationSettings(max_new_tokens=12), ())
    for question, answer in zip(QUESTIONS, answers, strict=True):
        (alone,) = model.answers([turns(question)], None, request)
        assert text(answer) == alone.text
        told = answer.json()["choices"][0]["logprobs"]["content"]
        assert [each["logprob"] for each in told] == pytest.approx(alone.likelihoods, abs=1e-4)
    # What has been read is kept, and says the same.
    assert text(chat(client, QUESTIONS[3])) == text(answers[3])


def test_every_system_answers_under_its_name(serve):
    client, model = serve()
    names = [one["id"] for one in client.get("/v1/models").json()["data"]]
    assert names == ["tiny", "tiny/receiver", "tiny/sharer", "tiny/text-relay"]
    for role in ("receiver", "sharer"):
        alone = model_alone(model, getattr(model, role), role)
        expected = alone.generate(QUESTIONS[0], max_new_tokens=12)
        assert text(chat(client, QUESTIONS[0], f"tiny/{role}")) == expected
    assert text(chat(client, QUESTIONS[0], "tiny/text-relay")) is not None
    assert client.get("/v1/models/tiny/sharer").json()["id"] == "tiny/sharer"


def test_a_stream_says_what_the_whole_answer_says(serve):
    client, _ = serve()
    body = {"model": "tiny", "messages": [{"role": "user", "content": QUESTIONS[1]}]}
    body |= {"max_tokens": 12, "logprobs": True}
    whole = client.post("/v1/chat/completions", json=body).json()
    body["stream_options"] = {"include_usage": True}
    *parts, last = streamed(client, "/v1/chat/completions", body)
    said = "".join(part["choices"][0]["delta"].get("content", "") for part in parts)
    assert said == whole["choices"][0]["message"]["content"]
    told = [t for part in parts for t in part["choices"][0]["logprobs"]["content"]]
    assert [t["token"] for t in told] == [
        t["token"] for t in whole["choices"][0]["logprobs"]["content"]
    ]
    assert parts[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert last["usage"] == whole["usage"]


def test_a_sharer_reads_a_document_that_the_receiver_does_not(serve):
    client, model = serve(injection="append")
    heard = text(chat(client, QUESTIONS[0], sharer_context="Twelve men."))
    expected = model.generate_batch(
        [QUESTIONS[0]], [f"Twelve men.\n{QUESTIONS[0]}"], max_new_tokens=12
    )
    assert heard == expected[0]
    sharer = model_alone(model, model.sharer, "sharer")
    alone = text(chat(client, QUESTIONS[0], "tiny/sharer", sharer_context="Twelve men."))
    assert alone == sharer.generate(f"Twelve men.\n{QUESTIONS[0]}", max_new_tokens=12)
    refused = chat(serve()[0], QUESTIONS[0], sharer_context="Twelve men.")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "sharer_context")


def test_a_further_turn_is_answered_as_the_whole_conversation(serve):
    client, model = serve()
    messages = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ]
    assert text(chat(client, messages)) == model.generate(messages, max_new_tokens=12)


def test_what_is_drawn_follows_the_seed(serve):
    client, model = serve()
    wanted = {"temperature": 0.9, "seed": 3, "n": 2}
    one, two = (chat(client, QUESTIONS[0], **wanted).json()["choices"] for _ in range(2))
    assert [each["message"] for each in one] == [each["message"] for each in two]
    assert one[0]["message"] != one[1]["message"]
    drawn = model.generate(
        QUESTIONS[0], max_new_tokens=12, do_sample=True, temperature=0.9, seed=3
    )
    assert one[0]["message"]["content"] == drawn


def test_a_stop_text_ends_an_answer_before_it(serve):
    client, _ = serve()
    whole = text(chat(client, QUESTIONS[2]))
    stop = whole[4:6]
    answer = chat(client, QUESTIONS[2], stop=[stop]).json()["choices"][0]
    assert answer["message"]["content"] == whole[: whole.index(stop)].strip()
    assert answer["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "none"}, 404, "model"),
        ({"model": 3}, 400, "model"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({"top_logprobs": 2}, 400, "top_logprobs"),
        ({"tools": []}, 400, "tools"),
        ({"max_tokens": 10**9}, 400, "max_tokens"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"n": 99, "temperature": 1}, 400, "n"),
        ({"n": 2}, 400, "n"),
        ({"frequency_penalty": 1}, 400, "frequency_penalty"),
    ],
)
def test_what_is_not_done_is_refused_in_openais_shape(serve, body, status, param):
    client, _ = serve()
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], **body}
    response = client.post("/v1/chat/completions", json=asked)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param)
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        (ChatRequest, {"tools": [{"type": "function"}]}, "tools: champions call no tools; leave"),
        (ChatRequest, {"temperatur": 1}, "leave it out. Did you mean `temperature`?"),
        (ChatRequest, {"messages": [IMAGE]}, "messages.0.content.1.type: Input should be 'text'"),
        (ChatRequest, {"messages": [{"role": "tool"}]}, "messages.0.role: Input should be 's"),
        (ChatRequest, {"stop": [""], "n": 0}, "n: Input should be greater than or equal to 1 (1 "),
        (ChatRequest, {"stop": ""}, "stop: must be a text, or up to 16"),
        (CompletionRequest, {"prompt": []}, "prompt: must be a text, up to 64 texts, token ids"),
        (CompletionRequest, {"prompt": "a", "suffix": "b"}, "suffix: text is gone on from, not"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(kind, body, told):
    asked = {"model": "tiny", **({"messages": [TURN]} if kind is ChatRequest else {}), **body}
    with pytest.raises(ApiError) as refused:
        read(kind, json.dumps(asked).encode())
    assert told in refused.value.message
    assert refused.value.param in body


def test_what_changes_nothing_is_taken(serve):
    client, _ = serve()
    plain = {"response_format": {"type": "text"}, "tool_choice": "none", "logit_bias": {}}
    nothing = dict.fromkeys(("tools", "stop", "temperature", "stream_options", "n", "audio"))
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": " one?"}]
    more = {"service_tier": "auto", "modalities": ["text"], "max_completion_tokens": 12}
    turns = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    answer = chat(client, turns, **plain, **nothing, **more)
    turns = [{"role": "system", "content": "Be brief."}, {**TURN, "content": "What is one?"}]
    assert text(answer) == text(chat(client, turns))


def test_a_body_that_is_no_request_is_refused(serve):
    client, _ = serve(limits=ServerLimits(body_bytes=1000))
    path, json_type = "/v1/chat/completions", {"content-type": "application/json"}
    for content, status in (
        (b"{", 400),
        (b"[" * 900, 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b" " * 2000, 413),
    ):
        assert client.post(path, content=content, headers=json_type).status_code == status
    assert client.post(path, content=b"{}").status_code == 415  # as a foreign page would send it
    assert client.post("/v1/embeddings", json={}).status_code == 400
    assert client.get("/nowhere").json()["error"]["type"] == "not_found_error"


def test_a_full_queue_refuses_and_says_when_to_come_back(serve):
    client, _ = serve(limits=ServerLimits(batch=1, queue=0))
    many = chat(client, "x", temperature=1.0, n=2)
    assert (many.status_code, many.headers["retry-after"]) == (429, "1")
    assert text(chat(client, "x")) is not None


def test_an_answer_that_takes_too_long_is_given_up(serve):
    client, _ = serve(limits=ServerLimits(seconds=1e-9))
    assert chat(client, "x").status_code == 504
    assert client.app.state.server.engine.waiting == 0


def test_a_key_is_asked_of_everybody_and_a_name_of_every_browser(serve):
    client, _ = serve(api_key="secret-secret-secret", hosts=["testserver"])
    assert chat(client, "x").status_code == 401
    assert client.get("/metrics").status_code == 401
    client.headers["authorization"] = "Bearer secret-secret-secret"
    assert chat(client, "x").status_code == 200
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400


def test_a_model_that_is_not_finite_is_no_answer_and_no_end(serve):
    client, model = serve()
    weight = next(model.fuser.parameters())
    with torch.no_grad():
        kept = weight.clone()
        weight.fill_(float("nan"))
    response = chat(client, "x")
    assert response.status_code in (400, 500)
    assert "/" not in response.json()["error"]["message"]
    with torch.no_grad():
        weight.copy_(kept)
    assert chat(client, "y").status_code == 200


def test_memory_is_given_back_in_a_pause(serve, monkeypatch):
    given = Event()
    monkeypatch.setattr("c2c_search.server.engine.give_back_memory", given.set)
    client, _ = serve()
    assert not given.wait(0.5)  # nothing was used
    assert chat(client, "x").status_code == 200
    assert given.wait(30)


def test_operators_see_what_is_done(serve):
    client, model = serve()
    (prompt,) = model.encoded([turns("x")])
    tokens = len(prompt.receiver_ids) + len(prompt.sharer_ids)
    chat(client, "x")
    chat(client, "x")
    told = client.get("/metrics").text
    assert 'c2c_requests_total{status="200",system="tiny"} 2.0' in told
    assert f'c2c_prefill_tokens_total{{kept="no"}} {tokens}.0' in told
    assert f'c2c_prefill_tokens_total{{kept="yes"}} {tokens}.0' in told
    assert "c2c_queued_answers 0.0" in told
    assert "process_resident_memory_bytes" in told
    assert 'c2c_first_token_seconds_count{system="tiny"}' in told
    assert client.get("/ready").json() == {"ready": True}
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/page.js").status_code == 200
