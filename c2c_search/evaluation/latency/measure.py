"""Measures latency: systems answer the same questions in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from c2c_search.errors import ConfigError
from c2c_search.evaluation.latency.peak_memory import memory_kind
from c2c_search.evaluation.latency.report import MOMENTS
from c2c_search.evaluation.latency.report import LatencyReport
from c2c_search.evaluation.latency.report import Spread
from c2c_search.evaluation.latency.report import SystemLatency
from c2c_search.evaluation.latency.report import Timing
from c2c_search.evaluation.latency.report import ratio
from c2c_search.evaluation.latency.stopwatch import Conversation
from c2c_search.evaluation.latency.stopwatch import Stopwatch
from c2c_search.evaluation.latency.stopwatch import TimedSystems
from c2c_search.host.dtypes import name_of
from c2c_search.inference.drafting import drafter_of


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel


SYSTEMS = ("receiver", "sharer", "c2c", "text_relay")
"""What can be timed."""

_RELAY_TOKENS = 64


def measure(
    model: C2CModel,
    questions: Sequence[Conversation],
    *,
    systems: Sequence[str] | None = None,
    new_tokens: int = 64,
    repeats: int = 5,
    warmup: int = 1,
    relay_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LatencyReport:
    """Time systems from a question's raw text to the first token and to the whole answer.

    Nothing is cached: every answer pays for tokenization, every prefill, fusing and decoding.
    Questions come one at a time and systems take turns, so that a machine that slows down slows
    all of them down. Answers do not stop early: all are equally long.

    Args:
        model: C2C; the models alone where it has no fuser.
        questions: What is asked.
        systems: Of `SYSTEMS`; all that the model can be when left out.
        new_tokens: Tokens of every answer.
        repeats: How often each question is asked.
        warmup: Rounds over all questions before that, which are not counted.
        relay_tokens: Tokens that the sharer writes in text relay; when left out, as many as it
            drafts for C2C, or 64 where it drafts nothing.
        progress: Called with answers done and answers in all.

    Raises:
        ConfigError: There is nothing to time, or a system that is unknown or needs a fuser.
    """
    known = [name for name in SYSTEMS if name != "c2c" or model.fuser is not None]
    drafter = drafter_of(model)
    draft_tokens = None if drafter is None else drafter.tokens
    if relay_tokens is None:
        relay_tokens = draft_tokens or _RELAY_TOKENS
    chosen = list(known if systems is None else systems)
    _check(
        chosen,
        known,
        questions,
        new_tokens=new_tokens,
        relay_tokens=relay_tokens,
        repeats=repeats,
    )
    timed = TimedSystems(model, new_tokens, relay_tokens)
    timings, wires = _take_turns(timed, questions, chosen, warmup, repeats, progress)
    longest = max(questions, key=lambda asked: sum(len(one["content"]) for one in asked))
    return LatencyReport(
        device=_device_name(model.device),
        dtypes=f"receiver in {name_of(model.receiver.model.dtype)}, sharer in "
        f"{name_of(model.sharer.model.dtype)}, prompt caches in {name_of(model.cache_dtype)}",
        threads=torch.get_num_threads(),
        memory=memory_kind(model.device),
        questions=len(questions),
        repeats=repeats,
        warmup=warmup,
        new_tokens=new_tokens,
        relay_tokens=relay_tokens,
        draft_tokens=draft_tokens if "c2c" in chosen else None,
        refresh=model.fuser.config.refresh if model.fuser and "c2c" in chosen else None,
        prompt_tokens=Spread.of([len(timed.read("receiver", asked)) for asked in questions]),
        prefills=Counter(timed.prefills(asked) for asked in questions if "c2c" in chosen),
        systems=tuple(
            _summary(
                [each for each in timings if each.system == name],
                wires[name],
                new_tokens=new_tokens,
                weight_bytes=timed.weight_bytes(name),
                peak_bytes=timed.peak_bytes(name, longest),
            )
            for name in chosen
        ),
        ratios=tuple(
            ratio(timings, "c2c", to, moment)
            for to in ("receiver", "text_relay")
            for moment in MOMENTS
            if {"c2c", to} <= set(chosen)
        ),
        timings=tuple(timings),
    )


def _take_turns(
    timed: TimedSystems,
    questions: Sequence[Conversation],
    systems: Sequence[str],
    warmup: int,
    repeats: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Timing], dict[str, list[float]]]:
    """Every answer that counts, and each system's bytes on the wire."""
    timings: list[Timing] = []
    wires: dict[str, list[float]] = {name: [] for name in systems}
    rounds = warmup + repeats
    for turn, (number, question, name) in enumerate(turns(systems, len(questions), rounds)):
        watch = Stopwatch(timed.model.device)
        wire = timed.answer(name, questions[question], watch)
        if number >= warmup:
            timings.append(watch.timing(name, question, number - warmup))
            wires[name] += [] if wire is None else [wire]
        if progress is not None:
            progress(turn + 1, rounds * len(questions) * len(systems))
    return timings, wires


def turns(systems: Sequence[str], questions: int, rounds: int) -> Iterator[tuple[int, int, str]]:
    """Who answers what, and when: ``(round, question, system)``.

    All systems answer a question before the next one is asked. Who comes first changes from
    question to question and from round to round.
    """
    for number in range(rounds):
        for question in range(questions):
            first = (number + question) % len(systems)
            for name in (*systems[first:], *systems[:first]):
                yield number, question, name


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _summary(
    timings: Sequence[Timing],
    wires: Sequence[float],
    *,
    new_tokens: int,
    weight_bytes: int,
    peak_bytes: int,
) -> SystemLatency:
    return SystemLatency(
        system=timings[0].system,
        first_token=Spread.of([each.first_token for each in timings]),
        answer=Spread.of([each.answer for each in timings]),
        tokens_per_second=Spread.of(
            [(new_tokens - 1) / (each.answer - each.first_token) for each in timings]
        ),
        parts={
            part: Spread.of([each.parts[part] for each in timings]) for part in timings[0].parts
        },
        weight_bytes=weight_bytes,
        peak_bytes=peak_bytes,
        wire_bytes=Spread.of(wires) if wires else None,
    )


def _check(
    systems: Sequence[str],
    known: Sequence[str],
    questions: Sequence[Conversation],
    *,
    new_tokens: int,
    relay_tokens: int,
    repeats: int,
) -> None:
    if unknown := [name for name in systems if name not in known]:
        raise ConfigError(
            f"A system to time must be one of {', '.join(known)}; c2c needs a fuser.",
            value=", ".join(unknown),
        )
    if not systems or not questions or repeats < 1 or new_tokens < 2 or relay_tokens < 2:
        raise ConfigError(
            "Timing takes a system, a question, one repeat and texts of two tokens at least.",
            value=f"{len(systems)} systems, {len(questions)} questions, {repeats} repeats, "
            f"{new_tokens} new and {relay_tokens} relayed tokens",
        )
