"""Whether `c2c-search serve` holds out: many requests, clients that vanish, kill -9 under load.

Starts a server of its own and ends it. Checks what must hold, on any machine: no answer is lost,
greedy answers stay the same, memory and open files stay flat, places are freed, and a server that
was killed answers as before. Exits with 1 where something does not:

    python benchmarks/soak.py champion --requests 1000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import httpx
import machine


QUESTION = "Which of them came first, and where did they go?"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
_READY_SECONDS = 300
_SETTLED_SECONDS = 60
_PAUSE_SECONDS = 3  # in which it gives back memory
_CACHE_MB = 64  # of prompts, so that these are full when a fifth of all requests is answered


@dataclass
class Findings:
    """What was seen, and what should not have been."""

    seen: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def hold(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.wrong.append(what)


class Served:
    """A server as a child process.

    Args:
        folder: Of the champion.
        port: To listen on; the same after a restart.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder.resolve(), port
        self.url, self.name = f"http://127.0.0.1:{port}", self.folder.name

    async def start(self) -> float:
        """Start it; seconds until it is ready."""
        begun = time.perf_counter()
        command = [sys.executable, "-m", "c2c_search", "serve", str(self.folder)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--cache-mb", str(_CACHE_MB)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with httpx.AsyncClient() as client:
            while time.perf_counter() - begun < _READY_SECONDS:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{self.url}/ready")).status_code == 200:
                        return time.perf_counter() - begun
                if self.process.poll() is not None:
                    break
                await asyncio.sleep(0.1)
        raise SystemExit("The server does not start: try c2c-search serve.")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit status."""
        self.process.send_signal(how)
        return self.process.wait(timeout=60)

    async def figures(self, client: httpx.AsyncClient) -> dict[str, float]:
        """What it tells of itself, of one number each."""
        lines = (await client.get(f"{self.url}/metrics")).text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")
        return {name: float(value) for name, value in pairs if "{" not in name}


async def main(options: argparse.Namespace) -> Findings:
    """All of it, one after the other."""
    found, served = Findings(), Served(options.champion, _free_port())
    found.seen["seconds to ready"] = await served.start()
    limits = httpx.Limits(max_connections=4 * options.clients)
    try:
        async with httpx.AsyncClient(timeout=600, limits=limits) as client:
            before = await answer(client, served)
            await row(client, served, options, found)
            await vanishing(client, served, options, found)
            await silent(client, served, options, found)
            found.hold(await answer(client, served) == before, "a greedy answer has changed")
        async with httpx.AsyncClient(timeout=600) as client:
            await killed(client, served, options, found)
            found.hold(await answer(client, served) == before, "it answers otherwise when killed")
        ended = served.stop()  # uvicorn ends, and then by the signal it was sent
        found.hold(ended in (0, -signal.SIGTERM), f"SIGTERM ends it with status {ended}")
    finally:
        if served.process.poll() is None:
            served.stop(signal.SIGKILL)
    return found


async def row(
    client: httpx.AsyncClient, served: Served, options: argparse.Namespace, found: Findings
) -> None:
    """Requests of all kinds, some at a time; memory from the first fifth to the end.

    They end when the time is up, however many they are.
    """
    numbers = iter(range(options.requests))
    draw, statuses = random.Random(0), dict[int, int]()
    first: dict[str, float] | None = None
    memory: dict[int, float] = {}
    begun, seconds = time.perf_counter(), 60 * options.minutes

    async def ask() -> None:
        nonlocal first
        for number in numbers:
            done = max((time.perf_counter() - begun) / seconds, number / options.requests)
            if first is None and done >= 0.2:
                first = {}  # nobody else's
                first = await served.figures(client)
            if done >= 1:
                return
            if number % max(options.requests // 10, 1) == 0:
                memory[number] = resident(await served.figures(client))
            path, body, expected = request(served.name, number, draw)
            response = await client.post(f"{served.url}{path}", json=body)
            statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
            whole = body.get("stream") is not True or response.text.endswith("[DONE]\n\n")
            found.hold(response.status_code == expected and whole, f"request {number}: {body}")

    await asyncio.gather(*(ask() for _ in range(options.clients)))
    await settled(client, served)
    await asyncio.sleep(_PAUSE_SECONDS)
    last = await served.figures(client)
    first = first or last
    grown = resident(last) - resident(first)
    files = last["process_open_fds"] - first["process_open_fds"]
    found.seen |= {
        "requests": sum(statuses.values()),
        "seconds": time.perf_counter() - begun,
        "statuses": statuses,
        "memory by requests, MB": memory,
        "memory grown, MB": grown,
        "open files more": files,
    }
    found.hold(grown < options.growth, f"memory grows: {grown:.0f} MB")
    found.hold(files <= options.clients, f"open files grow: {files:.0f}")


def resident(figures: dict[str, float]) -> float:
    """Of a server, MB."""
    return round(figures["process_resident_memory_bytes"] / 2**20)


def request(name: str, number: int, draw: random.Random) -> tuple[str, dict[str, Any], int]:
    """A request of some kind: address, body, and the status that it must get."""
    words = " ".join(draw.choices(QUESTION.split(), k=draw.randint(2, 40)))
    question = f"{number}: {words}"
    chat = {"messages": [{"role": "user", "content": question}], "max_tokens": 4}
    text = {"prompt": f"Question: {question}\nAnswer: a", "max_tokens": 4}
    kinds: list[tuple[str, dict[str, Any], int]] = [
        (CHAT, {"model": name, **chat}, 200),
        (CHAT, {"model": name, **chat, "stream": True}, 200),
        (CHAT, {"model": name, **chat, "heard": True}, 200),
        (CHAT, {"model": f"{name}/text-relay", **chat}, 200),
        (CHAT, {"model": f"{name}/receiver", **chat, "temperature": 1.0, "n": 2}, 200),
        (TEXT, {"model": f"{name}/sharer", **text}, 200),
        (
            TEXT,
            {"model": f"{name}/receiver", **text, "max_tokens": 1, "echo": True, "logprobs": 1},
            200,
        ),
        (CHAT, {"model": "none", **chat}, 404),
        (CHAT, {"model": name, **chat, "tools": []}, 400),
    ]
    return draw.choice(kinds)


async def answer(client: httpx.AsyncClient, served: Served) -> str:
    """A greedy answer that is to stay the same."""
    body = {"model": served.name, "messages": [{"role": "user", "content": QUESTION}]}
    response = await client.post(f"{served.url}{CHAT}", json={**body, "max_tokens": 8})
    response.raise_for_status()
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


async def vanishing(
    client: httpx.AsyncClient, served: Served, options: argparse.Namespace, found: Findings
) -> None:
    """Clients that go away at every point: in the head, in the body, in the answer."""
    for number in range(options.vanishing):
        with open_request(served, whole=number % 3) as one:
            if number % 3 == 2:
                await asyncio.to_thread(one.recv, 10)
    found.hold(await settled(client, served), "a client that vanished keeps its place")


async def silent(
    client: httpx.AsyncClient, served: Served, options: argparse.Namespace, found: Findings
) -> None:
    """Clients that ask and do not read, beside one that does."""
    with contextlib.ExitStack() as stack:
        for _ in range(options.silent):
            stack.enter_context(open_request(served, whole=2))
        waited = await timed(answer(client, served))
    found.seen["seconds for an answer beside silent clients"] = waited
    found.hold(await settled(client, served), "a client that does not read keeps its place")


async def killed(
    client: httpx.AsyncClient, served: Served, options: argparse.Namespace, found: Findings
) -> None:
    """Kill -9 while answers are written; every client is told, and the next server answers."""
    body = {"model": served.name, "messages": [{"role": "user", "content": QUESTION}]}
    body |= {"max_tokens": 500, "temperature": 1.0}
    asking = [
        asyncio.create_task(client.post(f"{served.url}{CHAT}", json=body))
        for _ in range(options.clients)
    ]
    await asyncio.sleep(1)
    served.stop(signal.SIGKILL)
    ends = await asyncio.gather(*asking, return_exceptions=True)
    told = [isinstance(end, httpx.TransportError | httpx.Response) for end in ends]
    found.hold(all(told), "a client of a killed server is not told")
    found.seen["seconds to ready after kill -9"] = await served.start()


@contextlib.contextmanager
def open_request(served: Served, whole: int) -> Any:
    """A socket with a streamed request, of which the head alone, a part or all is sent."""
    body = {"model": served.name, "messages": [{"role": "user", "content": QUESTION}]}
    content = json.dumps({**body, "max_tokens": 500, "stream": True, "temperature": 1.0}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    sent = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    count = (len(head) // 2, len(sent) - len(content) // 2, len(sent))[whole]
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as one:
        one.sendall(sent[:count])
        yield one


async def settled(client: httpx.AsyncClient, served: Served) -> bool:
    """Whether nobody is waited for any more, soon."""
    until = time.perf_counter() + _SETTLED_SECONDS
    while time.perf_counter() < until:
        if (await served.figures(client))["c2c_open_answers"] == 0:
            return True
        await asyncio.sleep(0.1)
    return False


async def timed(work: Awaitable[Any]) -> float:
    """Seconds that something takes."""
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def parse() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("champion", type=Path, help="folder of the champion")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="that requests may take")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--vanishing", type=int, default=60, help="clients that go away")
    parser.add_argument("--silent", type=int, default=8, help="clients that do not read")
    parser.add_argument(
        "--growth", type=float, default=64, help="MB that the last four fifths may add"
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse()
    findings = asyncio.run(main(given))
    result = {**findings.seen, "wrong": findings.wrong, "machine": machine.describe()}
    if given.json:
        print(json.dumps(result, indent=1))
    else:
        print(machine.in_words(result["machine"]))
        for what, value in findings.seen.items():
            print(f"{value:8.1f}  {what}" if isinstance(value, float) else f"{value}  {what}")
        print("\n".join(findings.wrong) or "Everything held.")
    sys.exit(1 if findings.wrong else 0)
