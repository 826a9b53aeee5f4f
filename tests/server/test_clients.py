"""Clients on a socket: OpenAI's own, many at once, slow ones, and those that go away."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest


openai = pytest.importorskip("openai")

QUESTIONS = [f"What is {number} and {number * 7}?" for number in range(50)]
TOKENS = 8


def messages(question):
    return [{"role": "user", "content": question}]


@pytest.fixture(scope="module")
def served(make_app, on_socket):
    app = make_app(batch=8, queue=60, seconds=120)
    with on_socket(app) as url:
        yield app, url


def settled(engine):
    """Whether nobody is waited for any more, soon."""
    until = time.monotonic() + 30
    while engine.waiting and time.monotonic() < until:
        time.sleep(0.01)
    return engine.waiting == 0


def test_the_block_of_the_page_on_serving_is_answered(served, capsys):
    app, url = served
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8000" in block
    block = block.replace("http://127.0.0.1:8000", url).replace('"champion"', '"tiny"')
    exec(compile(block, "serving.md", "exec"), {})
    asked = re.search('"content": "(.*)"', block)[1]
    answer = app.state.pair.generate(asked, max_new_tokens=16)
    assert capsys.readouterr().out.strip() == answer.strip()


def test_fifty_at_once_are_each_answered_as_offline(served):
    app, url = served
    alone = app.state.pair.generate_batch(QUESTIONS, max_new_tokens=TOKENS)

    async def ask_all():
        async with openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=120
        ) as client:

            async def whole(question):
                answer = await client.chat.completions.create(
                    model="tiny", messages=messages(question), max_tokens=TOKENS
                )
                return answer.choices[0].message.content

            async def streamed(question):
                said = ""
                stream = await client.chat.completions.create(
                    model="tiny", messages=messages(question), max_tokens=TOKENS, stream=True
                )
                async for part in stream:
                    said += part.choices[0].delta.content or ""
                return said

            ways = [whole, streamed]
            return await asyncio.gather(
                *(ways[number % 2](question) for number, question in enumerate(QUESTIONS))
            )

    assert asyncio.run(ask_all()) == alone


def test_the_official_client_reads_models_usage_likelihoods_and_errors(served):
    app, url = served
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        assert "tiny/sharer" in [one.id for one in client.models.list()]
        answer = client.chat.completions.create(
            model="tiny", messages=messages("one"), max_tokens=4, logprobs=True, top_logprobs=2
        )
        told = answer.choices[0].logprobs.content
        assert answer.usage.completion_tokens == len(told)
        assert all(len(token.top_logprobs) == 2 for token in told)
        assert all(token.logprob == token.top_logprobs[0].logprob for token in told)
        ids = app.state.pair.receiver.text_tokenizer("one two")["input_ids"]
        by_text, by_ids = (
            client.completions.create(model="tiny", prompt=prompt, max_tokens=4).choices[0].text
            for prompt in ("one two", ids)
        )
        assert by_text == by_ids
        with pytest.raises(openai.NotFoundError, match="tiny/receiver"):
            client.chat.completions.create(model="gpt", messages=messages("one"))
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="tiny", messages=messages("one"), max_tokens=0)
        assert refused.value.param == "max_tokens"
        with pytest.raises(openai.BadRequestError, match="embed"):
            client.embeddings.create(model="tiny", input="one")


def raw_request(url, **more):
    """A socket on which a stream has been asked for."""
    body = json.dumps(
        {"model": "tiny", "messages": messages("one"), "max_tokens": 1000, "stream": True, **more}
    ).encode()
    parts = urlsplit(url)
    found = socket.create_connection((parts.hostname, parts.port), timeout=30)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    found.sendall(head.encode() + body)
    return found


def test_clients_that_vanish_free_their_places(served):
    app, url = served
    for _ in range(3):
        several = [raw_request(url, temperature=1.0) for _ in range(8)]
        for one in several:
            one.recv(10)  # the head: it has been taken on
            one.close()
    assert settled(app.state.server.engine)
    half = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))
    half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Le")
    half.close()
    test_the_official_client_reads_models_usage_likelihoods_and_errors(served)


def test_a_client_that_does_not_read_holds_up_nobody(served):
    app, url = served
    silent = raw_request(url, max_tokens=200)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        said = client.chat.completions.create(
            model="tiny", messages=messages("one"), max_tokens=TOKENS
        )
    assert said.choices[0].message.content == app.state.pair.generate("one", max_new_tokens=TOKENS)
    silent.close()
    assert settled(app.state.server.engine)


def test_many_requests_in_a_row_leave_nothing_behind(make_app, in_process):
    """The short form: what is kept is bounded, and memory does not grow with requests."""
    app = make_app(kept_bytes=2**16, batch=8)
    path, process = "/v1/chat/completions", psutil.Process()

    async def ask(client, count, first):
        for number in range(first, first + count, 10):
            several = (
                {"model": "tiny", "messages": messages(f"{n}" * 40), "max_tokens": 2}
                for n in range(number, number + 10)
            )
            answers = await asyncio.gather(*(client.post(path, json=each) for each in several))
            assert {answer.status_code for answer in answers} == {200}

    def objects():
        gc.collect()
        return len(gc.get_objects())

    async def soak():
        async with in_process(app) as client:
            await ask(client, 40, 0)
            before, memory = objects(), process.memory_info().rss
            await ask(client, 80, 40)
            assert objects() - before < 500
            assert 0 < app.state.server.engine.kept.bytes <= 2**16
            assert process.memory_info().rss - memory < 30 * 2**20

    asyncio.run(soak())
