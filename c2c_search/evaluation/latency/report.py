"""The latency report: what was timed, with its spread, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from typing import Self

import numpy as np
from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.evaluation.statistics import Interval


Moment = Literal["first_token", "answer"]

MOMENTS: tuple[Moment, ...] = ("first_token", "answer")
_RESAMPLES = 2000
_UNITS = ("B", "kB", "MB", "GB", "TB")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Frozen):
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one value."""
        low, median, high = np.percentile(values, [25, 50, 75])
        return cls(median=float(median), low=float(low), high=float(high))

    def text(self, scale: float = 1.0, digits: int = 0) -> str:
        """As ``median (quartile to quartile)``, each times ``scale``."""
        median, low, high = (
            f"{value * scale:,.{digits}f}" for value in (self.median, self.low, self.high)
        )
        return f"{median} ({low} to {high})"


class Timing(_Frozen):
    """One answer of one system.

    Args:
        system: Who answered.
        question: Its number.
        repeat: Which time it was asked.
        first_token: Seconds from the raw text to the first token.
        answer: Seconds from the raw text to the whole answer.
        parts: Seconds that each part took; together they are ``answer``.
    """

    system: str
    question: int
    repeat: int
    first_token: float
    answer: float
    parts: dict[str, float]


class SystemLatency(_Frozen):
    """A system, over all questions and repeats.

    Args:
        system: Its name.
        first_token: Seconds from the raw text to the first token.
        answer: Seconds from the raw text to the whole answer.
        tokens_per_second: Of the answer, after its first token.
        parts: Seconds that each part takes.
        weight_bytes: Of all models (and the fuser) that it needs.
        peak_bytes: Memory beyond what was in use before, at most, on the longest question.
        wire_bytes: What sharer and receiver would send each other for a question, were they on
            two machines; None for one model.
    """

    system: str
    first_token: Spread
    answer: Spread
    tokens_per_second: Spread
    parts: dict[str, Spread]
    weight_bytes: int
    peak_bytes: int
    wire_bytes: Spread | None


class Ratio(_Frozen):
    """How much longer one system takes than another, on the same questions.

    Args:
        system: The one.
        to: The other.
        moment: When the clock is stopped.
        ratio: Median over questions and repeats; questions are resampled, and their repeats.
    """

    system: str
    to: str
    moment: Moment
    ratio: Interval


class LatencyReport(_Frozen):
    """What `c2c_search.evaluation.latency.measure.measure` found.

    Args:
        device: Where the models ran, with its name where it has one.
        dtypes: Of the models' weights and of prompt caches.
        threads: CPU threads that torch may use.
        memory: What ``peak_bytes`` counts.
        questions: Number of questions.
        repeats: How often each was asked.
        warmup: Rounds before that, not counted.
        new_tokens: Tokens of every answer.
        relay_tokens: Tokens that the sharer writes in text relay.
        draft_tokens: Tokens that it drafts for C2C; None where it drafts nothing.
        refresh: Answer tokens after which the sharer reads on for C2C; None where it does not.
        prompt_tokens: Of the receiver's prompts.
        prefills: How C2C's two prefills share the machine, in words, and for how many questions;
            empty where it was not timed.
        systems: Each system's numbers.
        ratios: C2C against the others that were timed.
        timings: Every answer that was timed.
    """

    device: str
    dtypes: str
    threads: int
    memory: str
    questions: int
    repeats: int
    warmup: int
    new_tokens: int
    relay_tokens: int
    draft_tokens: int | None = None
    refresh: int | None = None
    prompt_tokens: Spread
    prefills: dict[str, int]
    systems: tuple[SystemLatency, ...]
    ratios: tuple[Ratio, ...]
    timings: tuple[Timing, ...]

    def of(self, system: str) -> SystemLatency:
        """One system's numbers."""
        return next(each for each in self.systems if each.system == system)

    def markdown(self) -> str:
        """Tables of systems, ratios and parts, and how they were measured."""
        lines = [
            "| system | first token, ms | whole answer, ms | tokens/s | weights | peak memory |"
            " on the wire |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for each in self.systems:
            wire = "" if each.wire_bytes is None else size(each.wire_bytes.median)
            lines.append(
                f"| {each.system} | {each.first_token.text(1e3)} | {each.answer.text(1e3)} |"
                f" {each.tokens_per_second.text(digits=1)} | {size(each.weight_bytes)} |"
                f" {size(each.peak_bytes)} | {wire} |"
            )
        if self.ratios:
            level = 100 * (1 - self.ratios[0].ratio.level)
            lines += ["", f"| how many times as long, {level:g} % interval | to the first token |"]
            lines[-1] += " to the whole answer |"
            lines.append("| --- | ---: | ---: |")
            for to in dict.fromkeys(each.to for each in self.ratios):
                found = {each.moment: each for each in self.ratios if each.to == to}
                cells = " | ".join(found[moment].ratio.written(".2f") for moment in MOMENTS)
                lines.append(f"| {found['answer'].system} / {to} | {cells} |")
        lines.append("")
        for each in self.systems:
            parts = ", ".join(
                f"{name} {part.median * 1e3:,.0f}" for name, part in each.parts.items()
            )
            lines.append(f"- {each.system}, parts in ms: {parts}.")
        lines.append(f"- {self._method()}")
        return "\n".join(lines)

    def _method(self) -> str:
        return (
            f"Median (quartiles) of {self.questions} questions asked {self.repeats} times each,"
            f" one at a time (rounds before that, to warm up: {self.warmup}); systems take turns"
            " in rotating order. From raw text, nothing cached; prompts of"
            f" {self.prompt_tokens.text()} tokens, answers of exactly {self.new_tokens} tokens,"
            f" relayed texts of exactly {self.relay_tokens}{self._more()}. On {self.device},"
            f" {self.dtypes}, CPU threads: {self.threads}. A model alone reads its prompt in one"
            f" pass.{self._prefills()} Peak memory: {self.memory}. On the wire: what the fuser"
            " hears of the sharer, or the relayed text in UTF-8."
        )

    def _more(self) -> str:
        """What else the sharer does; it reads its prompt alone where it reads on."""
        if self.refresh is not None:
            return f"; every {self.refresh} tokens of C2C's the sharer reads on"
        if self.draft_tokens is None:
            return ""
        return f", drafts of exactly {self.draft_tokens}, which the sharer reads again as C2C does"

    def _prefills(self) -> str:
        if not self.prefills:
            return ""
        hows = [f"{how} ({count} questions)" for how, count in self.prefills.items()]
        return (
            f" The two prefills of C2C {' or '.join(hows if len(hows) > 1 else self.prefills)};"
            " the prompt's last token is read again on the fused cache."
        )


def ratio(
    timings: Sequence[Timing], system: str, to: str, moment: Moment, *, level: float = 0.05
) -> Ratio:
    """Compare two systems answer by answer: the same question, the same round.

    Questions are resampled, and the repeats of each: repeats of a question are not independent.
    The seed is fixed, so that the same timings give the same interval.

    Args:
        timings: Of both systems, each question equally often.
        system: Whose time is divided.
        to: By whose.
        moment: When the clock is stopped.
        level: The interval covers the truth with probability ``1 - level``.
    """
    times = [
        {
            (each.question, each.repeat): getattr(each, moment)
            for each in timings
            if each.system == who
        }
        for who in (system, to)
    ]
    asked = sorted(times[0])
    questions = len({question for question, _ in asked})
    pairs = np.array([times[0][turn] / times[1][turn] for turn in asked])
    pairs = pairs.reshape(questions, -1)
    repeats = pairs.shape[1]
    generator = np.random.default_rng(0)
    medians = np.empty(_RESAMPLES)
    for draw in range(_RESAMPLES):
        rows = generator.integers(questions, size=(questions, 1))
        medians[draw] = np.median(pairs[rows, generator.integers(repeats, size=pairs.shape)])
    value = float(np.median(pairs))
    low, high = np.quantile(medians, [level / 2, 1 - level / 2])
    interval = Interval(
        value=value, low=min(float(low), value), high=max(float(high), value), level=level
    )
    return Ratio(system=system, to=to, moment=moment, ratio=interval)


def size(count: float) -> str:
    """A number of bytes, as people read it: ``1.4 MB``."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return (
        f"{count:.0f} {_UNITS[unit]}"
        if unit == 0 or count >= 100
        else f"{count:.1f} {_UNITS[unit]}"
    )
