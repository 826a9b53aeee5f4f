"""What `c2c-search serve` makes of many clients at once, and what C2C adds to the receiver alone.

Asks a server that runs already, as OpenAI's clients do, with prompts of its own in every round, so
that none is known from before. Other servers with the same API can be named beside it, e.g.
``transformers serve`` on the receiver; all take turns in every round. Prompts are text
(``/v1/completions``), so that all servers read the same tokens; ``--chat`` asks in chats. Run it
on a machine that does nothing else:

    c2c-search serve champion --port 8000
    transformers serve RECEIVER --port 8001 --device cpu
    python benchmarks/serve.py http://127.0.0.1:8000 --systems champion champion/receiver \\
        --beside http://127.0.0.1:8001,RECEIVER
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import machine


_TEXT = "The river ran past the old town and under the bridge, where the boats of the market lay. "
_numbers = count(1)


@dataclass(frozen=True)
class System:
    """What is asked: a model of a server."""

    url: str
    model: str

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.model} at {self.url}"


@dataclass(frozen=True)
class Asked:
    """One answer: seconds to its first words and to its end, and its tokens."""

    first: float
    whole: float
    tokens: int

    @property
    def step(self) -> float:
        """Seconds from one token to the next."""
        return (self.whole - self.first) / max(self.tokens - 1, 1)


def main() -> None:
    """Measure and print."""
    options = parse()
    systems = [System(options.url, model) for model in options.systems]
    systems += [System(*each.split(",", 1)) for each in options.beside]
    found = asyncio.run(measure(systems, options))
    report(found, options)


async def measure(
    systems: list[System], options: argparse.Namespace
) -> dict[str, dict[str, list[Any]]]:
    """Every system in every round, one by one and at once; the first round is warm-up."""
    found: dict[str, dict[str, list[Any]]] = {
        each.name: {"one by one": [], "at once": [], "alone": [], "together": []}
        for each in systems
    }
    async with httpx.AsyncClient(timeout=600) as client:
        for turn in range(options.repeats + 1):
            for system in systems:
                alone, at_once = [], []
                begun = time.perf_counter()
                for _ in range(options.clients):
                    alone.append(await ask(client, system, options))
                one_by_one = time.perf_counter() - begun
                begun = time.perf_counter()
                waiting = [ask(client, system, options) for _ in range(options.clients)]
                at_once = await asyncio.gather(*waiting)
                together = time.perf_counter() - begun
                if turn:
                    of_system = found[system.name]
                    of_system["one by one"].append(rate(alone, one_by_one))
                    of_system["at once"].append(rate(at_once, together))
                    of_system["alone"].extend(alone)
                    of_system["together"].extend(at_once)
    return found


def rate(answers: list[Asked], seconds: float) -> float:
    """Tokens a second."""
    return sum(each.tokens for each in answers) / seconds


async def ask(client: httpx.AsyncClient, system: System, options: argparse.Namespace) -> Asked:
    """An answer to a prompt that was never asked."""
    question = f"{next(_numbers)} {time.time_ns()}: {_TEXT * options.sentences}What lay there?"
    asked: dict[str, Any] = {"prompt": f"{question} The boats"}
    if options.chat:
        asked = {"messages": [{"role": "user", "content": question}]}
    body = {
        "model": system.model,
        **asked,
        "max_tokens": options.tokens,
        "temperature": options.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"Authorization": f"Bearer {options.api_key}"}
    begun, first, tokens = time.perf_counter(), None, 0
    url = f"{system.url}/v1/{'chat/completions' if options.chat else 'completions'}"
    async with client.stream("POST", url, json=body, headers=headers) as response:
        response.raise_for_status()
        async for part in events(response):
            if "error" in part:
                raise SystemExit(part["error"]["message"])
            words = [
                each["delta"].get("content") if options.chat else each["text"]
                for each in part["choices"]
            ]
            if first is None and any(words):
                first = time.perf_counter() - begun
            if used := part.get("usage"):
                tokens = used["completion_tokens"]
    whole = time.perf_counter() - begun
    return Asked(whole if first is None else first, whole, tokens)


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The parts of a stream."""
    async for line in response.aiter_lines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)


def summary(of_system: dict[str, list[Any]]) -> dict[str, float]:
    """Medians over rounds, and the time to the first words that 95 % of answers keep to."""
    alone, together = of_system["alone"], of_system["together"]
    first = sorted(each.first for each in together)
    steps = [statistics.median(each.step for each in answers) for answers in (alone, together)]
    return {
        "tokens a second, one by one": statistics.median(of_system["one by one"]),
        "tokens a second, at once": statistics.median(of_system["at once"]),
        "at once to one by one": statistics.median(
            together / alone
            for together, alone in zip(of_system["at once"], of_system["one by one"], strict=True)
        ),
        "first words alone, median s": statistics.median(each.first for each in alone),
        "first words at once, p95 s": first[math.ceil(0.95 * len(first)) - 1],
        "from token to token alone, median s": steps[0],
        "from token to token at once, median s": steps[1],
    }


def report(found: dict[str, dict[str, list[Any]]], options: argparse.Namespace) -> None:
    """Print what was found, and the first system's against each other one's."""
    summaries = {name: summary(each) for name, each in found.items()}
    first, *others = summaries
    ratios = {
        f"{first} to {other}: {what}": summaries[first][what] / summaries[other][what]
        for other in others
        for what in summaries[first]
        if what != "at once to one by one"
    }
    result = {
        "clients": options.clients,
        "tokens": options.tokens,
        "repeats": options.repeats,
        "systems": summaries,
        "ratios": ratios,
        "machine": machine.describe(),
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(machine.in_words(result["machine"]))
    print(f"{options.clients} clients, {options.tokens} tokens at most, {options.repeats} rounds")
    for name, each in summaries.items():
        print(name)
        for what, value in each.items():
            print(f"  {value:8.3f}  {what}")
    for what, value in ratios.items():
        print(f"{value:8.2f}  {what}")


def parse() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="of the server, e.g. http://127.0.0.1:8000")
    parser.add_argument(
        "--systems", nargs="+", required=True, help="models; the first is compared"
    )
    parser.add_argument(
        "--beside", nargs="*", default=[], metavar="URL,MODEL", help="models of other servers"
    )
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--sentences", type=int, default=2, help="of about 20 tokens, in a prompt")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0: greedy, as champions are measured"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--chat", action="store_true", help="ask in chats, each in its template")
    parser.add_argument("--api-key", default="any")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
