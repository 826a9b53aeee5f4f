"""Requests that are wrong, or meant badly: each is refused in OpenAI's shape, and harms nobody."""

from __future__ import annotations

import asyncio
import itertools
import json
import random

import pytest


CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 2}
GO_ON = {"model": "tiny/receiver", "prompt": "one two", "max_tokens": 2}
SECRET = "/a/path/of/this/machine"

ODD = [
    None, True, False, -1, 0, 1.5, 10**30, -(10**30), 1e308, "", " ", "\x00", "\ud800", "a" * 5000,
    "../../etc/passwd", "<script>alert(1)</script>", "{{7*7}}", "%00", "; DROP TABLE", [], [[]],
    [None], {}, {"a": {}}, {"role": "user"}, [1, "a"], "\u202e", "🧠" * 100, {"$ref": "#"},
    float("nan"), float("inf"),
]  # fmt: skip
FIELDS = [
    "model", "messages", "max_tokens", "temperature", "top_p", "n", "stop", "seed", "stream",
    "logprobs", "top_logprobs", "stream_options", "sharer_context", "heard", "unknown_field",
    "user",
]  # fmt: skip
TEXT_FIELDS = ["prompt", "max_tokens", "echo", "logprobs", "suffix", "best_of", "n", "stop"]
MESSAGES = [
    [], [{}], ["hi"], [{"role": "user"}], [{"content": "a"}], [{"role": "root", "content": "a"}],
    [{"role": "user", "content": None}], [{"role": "user", "content": 5}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": SECRET}}]}],
    [{"role": "user", "content": [{"type": "text", "text": "a", "extra": 1}]}],
    [{"role": "assistant", "content": "a"}], [{"role": "tool", "content": "a"}],
    [{"role": "user", "content": "a", "tool_calls": []}],
    [{"role": "user", "content": "\ud800"}], [{"role": "user", "content": ""}],
    [{"role": "system", "content": "only this"}],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
]  # fmt: skip


def hostile():
    """Some five hundred of them: address, body."""
    for field, value in itertools.product(FIELDS, ODD):
        yield CHAT, json.dumps({**ASK, field: value})
    for field, value in itertools.product(TEXT_FIELDS, ODD):
        yield TEXT, json.dumps({**GO_ON, field: value})
    for name in ("\ud800", "a" * 5000, "", "\u202e", "0"):
        yield CHAT, json.dumps({**ASK, name: 1})
        yield CHAT, json.dumps({**ASK, "stream_options": {name: 1}, "stream": True})
    for messages in MESSAGES:
        yield CHAT, json.dumps({**ASK, "messages": messages})
    for body in [
        "",
        "{",
        "[]",
        "null",
        '"a"',
        "[" * 100_000,
        '{"a":' * 5000,
        "\x00",
        "{}",
        "1e999",
    ]:
        yield CHAT, body
        yield TEXT, body
    for ids in [[10**9], [-1], [2**31 - 1], [[1], []], [[1], "a"], [True], [[1], [10**6]]]:
        yield TEXT, json.dumps({**GO_ON, "prompt": ids})


async def check(client, path, body):
    """A request's answer is whole, or a refusal that tells nothing of this machine."""
    headers = {"content-type": "application/json"}
    content = body.encode("utf-8", "surrogatepass")
    answer = await client.post(path, content=content, headers=headers)
    told = answer.text
    assert answer.status_code < 500, (path, body[:200], told)
    assert "Traceback" not in told
    assert ".py" not in told
    assert "site-packages" not in told
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert told.endswith("data: [DONE]\n\n") or '"error"' in told
        assert "internal_error" not in told, (path, body[:200], told)
    elif answer.status_code == 200:
        json.loads(told)["choices"]
    else:
        error = answer.json()["error"]
        assert {*error} == {"message", "type", "param", "code"}
        assert len(error["message"]) < 500, (path, body[:200], told[:800])
    return answer.status_code


def test_hundreds_of_hostile_requests_are_refused_in_their_clients_shape(make_app, in_process):
    async def all_of_them():
        requests = [*hostile()]
        random.Random(0).shuffle(requests)
        assert len(requests) >= 500
        async with in_process(make_app(max_tokens=64)) as client:
            before = (await client.post(CHAT, json=ASK)).json()["choices"]
            statuses = []
            for start in range(0, len(requests), 8):
                several = requests[start : start + 8]
                statuses += await asyncio.gather(*(check(client, *each) for each in several))
            assert (await client.post(CHAT, json=ASK)).json()["choices"] == before
            assert statuses.count(400) > 250
            assert 429 not in statuses

    asyncio.run(all_of_them())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CHAT, 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/page/../app.py", 404),
        ("GET", "/%2e%2e/app.py", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("DELETE", "/v1/models/tiny", 405),
        ("GET", "/v1/models/other", 404),
        ("POST", "/v1/embeddings", 400),
    ],
)
def test_addresses_that_nothing_answers(make_app, in_process, method, path, status):
    async def ask():
        async with in_process(make_app()) as client:
            answer = await client.request(method, path)
            assert answer.status_code == status
            assert {*answer.json()["error"]} == {"message", "type", "param", "code"}

    asyncio.run(ask())


def test_what_a_browser_sends_for_a_foreign_page_is_refused(make_app, in_process):
    async def ask():
        async with in_process(make_app()) as client:
            for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
                headers = {"content-type": kind, "origin": "http://evil.example"}
                answer = await client.post(CHAT, content=json.dumps(ASK), headers=headers)
                assert answer.status_code == 415
            answer = await client.options(CHAT, headers={"origin": "http://evil.example"})
            assert "access-control-allow-origin" not in answer.headers

    asyncio.run(ask())


def test_a_body_that_is_too_long_is_not_read_to_its_end(make_app, in_process):
    read = 0

    async def endless():
        nonlocal read
        while read < 1000:
            read += 1
            yield b" " * 1000

    async def ask():
        async with in_process(make_app(body_bytes=10_000)) as client:
            headers = {"content-type": "application/json"}
            answer = await client.post(CHAT, content=endless(), headers=headers)
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "too_large"
            assert read < 20

    asyncio.run(ask())


def test_a_failure_inside_is_told_to_the_log_alone(make_app, in_process, monkeypatch, caplog):
    from c2c_search.server.writing import Writing

    def broken(*_):
        raise RuntimeError(f"open({SECRET})")

    async def ask():
        async with in_process(make_app()) as client:
            monkeypatch.setattr(Writing, "take", broken)
            answer = await client.post(CHAT, json=ASK)
            stream = await client.post(CHAT, json={**ASK, "stream": True})
            monkeypatch.undo()
            assert (await client.post(CHAT, json=ASK)).status_code == 200
        return answer, stream

    answer, stream = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert SECRET not in answer.text + stream.text
    assert '"error"' in stream.text
    assert SECRET in caplog.text
