"""Numbers, times and settings as the view of a running study writes them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping

from c2c_search.host.wording import about
from c2c_search.host.wording import counted
from c2c_search.host.wording import in_words
from c2c_search.report.state import Doing
from c2c_search.report.state import StudyState
from c2c_search.report.time_left import SecondsLeft
from c2c_search.report.time_left import training_left


SPARKS = "▁▂▃▄▅▆▇█"
LEGEND = (
    "matched: accuracy with the right message; deranged: with another item's; "
    "P: matched - deranged; G: matched - receiver alone"
)


def progress(state: StudyState) -> str:
    """How far the search is, how fast, and how long it will still take."""
    counts = ", ".join(f"{state.counts[how]} {how}" for how in ("complete", "pruned", "failed"))
    parts = [f"{state.finished} of {counted(state.trials, 'trial')} ended: {counts}"]
    if (rate := state.trials_an_hour) is not None:
        parts.append(f"{rate:.3g} an hour")
    parts += [budget(name, one.spent, one.limit) for name, one in state.budgets.items()]
    return "; ".join([*parts, *left(state)])


def budget(name: str, spent: float, limit: float) -> str:
    """How much of a limit is spent: ``tokens 1.2 million of 5 million``."""
    if name == "flops":
        return f"FLOP {spent:.3g} of {limit:.3g}"
    if name == "hours":
        return f"hours {spent:.1f} of {limit:g}"
    return f"{name} {in_words(round(spent))} of {in_words(round(limit))}"


def left(state: StudyState) -> list[str]:
    """The time that training will still take; nothing until it is known, or where none is left."""
    span = training_left(state)
    if span is None or span.high <= 0:
        return []
    return [f"training left: {_range(span)}"]


def doing(what: Doing, now: float) -> str:
    """What is done, how much of it, and since when."""
    far = f"{what.done:,}/{what.total:,}" if what.total else ""
    rest = what.seconds_left(now)
    since = f"for {duration(now - what.since)}"
    times = since if rest is None else f"{since}, left about {about(rest)}"
    return " ".join(part for part in (what.stage, what.message, far, f"({times})") if part)


def sparkline(values: Iterable[float]) -> str:
    """Draw values as a row of bars; a value that is not finite is drawn as the highest."""
    values = list(values)
    finite = [value for value in values if abs(value) != float("inf") and value == value]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = high / 2 - low / 2  # the difference itself may be too large for a float
    clipped = (value if value in finite else high for value in values)
    shares = ((value / 2 - low / 2) / span if span > 0 else 0.0 for value in clipped)
    return "".join(SPARKS[round(share * (len(SPARKS) - 1))] for share in shares)


def settings_line(settings: Mapping[str, object]) -> str:
    """Settings on one line, floats short."""
    return ", ".join(f"{name} {_short(value)}" for name, value in settings.items())


def duration(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _range(span: SecondsLeft) -> str:
    low, high = map(about, span)
    if low == high:
        return f"about {low}"
    (number, unit), same = low.split(" ", 1), low.split()[1:] == high.split()[1:]
    return f"{number} to {high}" if same else f"{number} {unit} to {high}"


def _short(value: object) -> str:
    if value is None:
        return "null"  # as the space file says it
    return f"{value:.3g}" if isinstance(value, float) else str(value)
