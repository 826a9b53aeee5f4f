"""What `c2c-search serve` makes of many clients at once, and what C2C adds to the receiver alone.

Asks a server that runs already, as OpenAI's clients do: in each round new prompts one by one, then
the same ones by many clients, each of which asks again as soon as it is answered. So both times
the same answers are written. A server of ours is to keep nothing of what it has read
(``--cache-mb 0``), else it reads a prompt once. It tells its processors' seconds too, of which
ratios mean something beside other work. Other servers with the same API can be named beside it,
e.g. ``transformers serve`` on the receiver; all take turns in every round. Prompts are text
(``/v1/completions``), so that all servers read the same tokens; ``--chat`` asks in chats, and
``--documents`` in chats whose text the sharer alone reads: a champion of private data says nothing
without one, and costs hardly more than its receiver.

    c2c-search serve champion --port 8000 --cache-mb 0
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
RATIO = "at once to one by one"


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


@dataclass(frozen=True)
class Phase:
    """All prompts of a round, asked in one way.

    Args:
        answers: What came.
        seconds: All of it took.
        processor: Seconds of processors that the server took; None where it does not tell.
    """

    answers: list[Asked]
    seconds: float
    processor: float | None

    @property
    def tokens(self) -> int:
        """Of all answers."""
        return sum(each.tokens for each in self.answers)

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds

    @property
    def processor_rate(self) -> float | None:
        """Tokens a second of one processor."""
        return None if self.processor is None else self.tokens / self.processor


Round = tuple[Phase, Phase]
"""One by one, and many at once."""


def main() -> None:
    """Measure and print."""
    options = parse()
    systems = [System(options.url, model) for model in options.systems]
    systems += [System(*each.split(",", 1)) for each in options.beside]
    found = asyncio.run(measure(systems, options))
    report(found, options)


async def measure(systems: list[System], options: argparse.Namespace) -> dict[str, list[Round]]:
    """Every system in every round: the same prompts one by one, and many at once."""
    found: dict[str, list[Round]] = {each.name: [] for each in systems}
    async with httpx.AsyncClient(timeout=600) as client:
        for system in systems:  # to warm up
            await phase(client, system, new_prompts(options, options.clients), options)
        for _ in range(options.repeats):
            for system in systems:
                prompts = new_prompts(options, options.prompts)
                alone = await phase(client, system, prompts, options, clients=1)
                found[system.name].append((alone, await phase(client, system, prompts, options)))
    return found


def new_prompts(options: argparse.Namespace, count: int) -> list[tuple[str, str]]:
    """Texts that were never read, and what is asked about them."""
    text, question = _TEXT * options.sentences, "What lay there?"
    return [(f"{next(_numbers)} {time.time_ns()}: {text}", question) for _ in range(count)]


async def phase(
    client: httpx.AsyncClient,
    system: System,
    prompts: list[tuple[str, str]],
    options: argparse.Namespace,
    clients: int | None = None,
) -> Phase:
    """All prompts by so many clients, each of which asks as soon as it is answered."""
    left, answers = iter(prompts), []

    async def asking() -> None:
        for prompt in left:
            answers.append(await ask(client, system, *prompt, options))

    before, begun = await processor_seconds(client, system), time.perf_counter()
    await asyncio.gather(*(asking() for _ in range(clients or options.clients)))
    seconds, after = time.perf_counter() - begun, await processor_seconds(client, system)
    processor = None if before is None or after is None else after - before
    return Phase(answers, seconds, processor)


async def processor_seconds(client: httpx.AsyncClient, system: System) -> float | None:
    """What a server of ours has taken so far; None of others."""
    response = await client.get(f"{system.url}/metrics")
    lines = response.text.splitlines() if response.is_success else []
    told = [line.split()[1] for line in lines if line.startswith("process_cpu_seconds_total ")]
    return float(told[0]) if told else None


async def ask(
    client: httpx.AsyncClient,
    system: System,
    text: str,
    question: str,
    options: argparse.Namespace,
) -> Asked:
    """An answer."""
    asked: dict[str, Any] = {"prompt": f"{text}{question} The boats"}
    if options.chat:
        asked = {"messages": [{"role": "user", "content": f"{text}{question}"}]}
    if options.documents:
        number = text.partition(":")[0]  # by which each question is another one
        asked = {"messages": [{"role": "user", "content": f"{number}: {question}"}]}
        if system.url == options.url:
            asked["sharer_context"] = text
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


def summary(rounds: list[Round]) -> dict[str, float]:
    """Medians over rounds, and the time to the first words that 95 % of answers keep to."""
    alone = [each for one, _ in rounds for each in one.answers]
    together = [each for _, many in rounds for each in many.answers]
    first = sorted(each.first for each in together)
    found = {
        "tokens an answer, mean": sum(each.tokens for each in together) / len(together),
        "tokens a second, one by one": statistics.median(one.rate for one, _ in rounds),
        "tokens a second, at once": statistics.median(many.rate for _, many in rounds),
        RATIO: statistics.median(many.rate / one.rate for one, many in rounds),
        "first words alone, median s": statistics.median(each.first for each in alone),
        "first words at once, p95 s": first[math.ceil(0.95 * len(first)) - 1],
        "from token to token alone, median s": statistics.median(each.step for each in alone),
        "from token to token at once, median s": statistics.median(each.step for each in together),
    }
    rates = [(one.processor_rate, many.processor_rate) for one, many in rounds]
    told = [(one, many) for one, many in rates if one is not None and many is not None]
    if told:
        found |= {
            "tokens a processor's second, one by one": statistics.median(one for one, _ in told),
            "tokens a processor's second, at once": statistics.median(many for _, many in told),
            f"{RATIO}, by processors' seconds": statistics.median(m / one for one, m in told),
        }
    return found


def report(found: dict[str, list[Round]], options: argparse.Namespace) -> None:
    """Print what was found, and the first system's against each other one's."""
    summaries = {name: summary(each) for name, each in found.items()}
    first, *others = summaries
    ratios = {
        f"{first} to {other}: {what}": summaries[first][what] / summaries[other][what]
        for other in others
        for what in summaries[first]
        if what in summaries[other] and not what.startswith(RATIO)
    }
    result = {
        "clients": options.clients,
        "prompts": options.prompts,
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
    print(
        f"{options.clients} clients, {options.prompts} prompts, {options.tokens} tokens at most, "
        f"{options.repeats} rounds"
    )
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
    parser.add_argument("--prompts", type=int, default=64, help="in a round")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--sentences", type=int, default=2, help="of about 20 tokens, in a prompt")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0: greedy, as champions are measured"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--chat", action="store_true", help="ask in chats, each in its template")
    parser.add_argument(
        "--documents", action="store_true", help="ask in chats about what the sharer alone reads"
    )
    parser.add_argument("--api-key", default="any")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.chat = options.chat or options.documents
    return options


if __name__ == "__main__":
    main()
