"""The parts of a study's report that tell of its search, which validation judges."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from collections.abc import Sequence

from c2c_search.host.wording import about
from c2c_search.host.wording import counted
from c2c_search.report.leaderboard import count
from c2c_search.report.page import Chart
from c2c_search.report.page import Grid
from c2c_search.report.page import Section
from c2c_search.report.page import Series
from c2c_search.space.pareto import front
from c2c_search.study.findings import Findings
from c2c_search.study.overhead import overhead_of
from c2c_search.study.overview import TrialRow


_MARKS = {"complete": "circle", "pruned": "circle-open", "running": "diamond-open"}
_DASHES = {"complete": "solid", "pruned": "dot", "running": "dash"}
_RING = 16.0  # pixels, around a point
_AXES = 12  # of the parallel coordinates, at most


def search(found: Findings) -> Section:
    """Every trial, how the search went on, and where the best ones lie."""
    charts = [*_message_chart(found), *_pareto_chart(found), *_progress_charts(found)]
    charts += _parallel_chart(found)
    return Section("search", "The search", _search_text(found), [_trials(found)], charts)


def learning(found: Findings) -> Section:
    """What each trial reached at each rung, and which were stopped there."""
    curves = [each for each in found.trials if each.rungs]
    if not curves:
        return Section("learning", "Learning curves")
    series = [
        Series(
            f"{each.name}, {each.state}",
            list(each.rungs),
            list(each.rungs.values()),
            "line",
            labels=[f"{each.name} ({each.state}): {value:+.3f}" for value in each.rungs.values()],
            mark=_MARKS.get(each.state, "cross"),
            dash=_DASHES.get(each.state, "dash"),
            strong=found.best is not None and each.name == found.best.name,
        )
        for each in curves
    ]
    pruned = sum(each.state == "pruned" for each in curves)
    about = f"{found.objective} at every rung of {counted(len(curves), 'trial')}; {pruned} of "
    about += "them were pruned (dotted). The thick line is the best."
    chart = Chart(
        "Learning curves", about, "training steps", f"{found.objective} on validation", series
    )
    return Section("learning", "Learning curves", charts=[chart])


def importance(found: Findings) -> Section:
    """Which dimensions mattered, with intervals."""
    explanation = found.explanation
    if explanation is None:
        return Section("importance", "What mattered")
    rows = [
        (
            each.name,
            *("-" if one is None else str(one) for one in (each.ped_anova, each.fanova)),
            _short(each.best) if each.applied else "-",
            f"{each.border} end" if each.border else "",
        )
        for each in explanation.dimensions
    ]
    known = [each for each in explanation.dimensions if each.ped_anova is not None]
    shares = [(each.name, each.ped_anova) for each in reversed(known) if each.ped_anova]
    series = Series(
        "",
        [one.value for _, one in shares],
        [name for name, _ in shares],
        "bars",
        labels=[f"{name}: {one}" for name, one in shares],
        low=[one.low for _, one in shares],
        high=[one.high for _, one in shares],
    )
    about = "Share of each dimension by PED-ANOVA, with 90 % intervals over resampled trials."
    height = 120 + 26 * len(shares)
    charts = [Chart("Importance", about, "share", "", [series], height=height)] if shares else []
    text = [f"It rests on {counted(explanation.complete, 'trial')} that ran to their end."]
    if explanation.indicative:
        text.append("Indicative only: importances want at least 50 such trials.")
    heads = ("dimension", "PED-ANOVA", "fANOVA", "best", "best trials lie at its")
    grid = Grid("Importance of each dimension, with 90 % intervals", heads, rows)
    return Section("importance", "What mattered", text, [grid], charts)


def costs(found: Findings) -> Section:
    """What trials took."""
    rows, seconds = [], []
    for trial in found.trials:
        if (ended := found.trained.get(trial.hash or "")) is None:
            continue
        spent = sum(ended.seconds.values())
        seconds.append((trial.name, spent))
        parts = ", ".join(f"{part} {took:.0f} s" for part, took in ended.seconds.items())
        rows.append((trial.name, f"{spent:.0f} s", parts, f"{ended.bytes / 1e6:.1f} MB"))
    if not rows:
        return Section("costs", "What trials took")
    grid = Grid("Wall time of each trial", ("trial", "in all", "parts", "fuser"), rows)
    total = sum(spent for _, spent in seconds)
    text = [
        f"In all {about(total)} of trials. How fast an answer comes is measured by "
        f"`c2c-search eval ... --latency`; its report has the bars."
    ]
    if (overhead := overhead_of(found.trials)) is not None:
        text.append(f"Overhead: {overhead}")
    return Section("costs", "What trials took", text, [grid])


def failures(found: Findings) -> Section:
    """What failed and why, and what was pruned."""
    failed = [each for each in found.trials if each.state in ("failed", "interrupted")]
    if not failed:
        return Section("failures", "What failed")
    rows = [
        (each.name, each.state, each.failure or "", each.message or "", str(each.attempts))
        for each in failed
    ]
    heads = ("trial", "state", "class", "reason", "attempts")
    text = ["Pruned trials ended in order and are not among these. `c2c-search trial retry` "]
    text[0] += "queues a failed one again; an interrupted one goes on with the study."
    return Section("failures", "What failed", text, [Grid("Trials that failed", heads, rows)])


def pairing_gain(trial: TrialRow) -> float | None:
    """P of a trial on validation; None where its deranged accuracy was not measured."""
    if trial.accuracy is None or trial.deranged is None:
        return None
    return trial.accuracy - trial.deranged


def number(value: float | None, spec: str = ".3f") -> str:
    """A number as tables write it; a dash where there is none."""
    return "-" if value is None else format(value, spec)


def _search_text(found: Findings) -> list[str]:
    states = ", ".join(f"{how} {state}" for state, how in found.row.counts.items())
    text = [f"{counted(len(found.trials), 'trial')}: {states or 'none yet'}. "]
    text[0] += f"The search maximises {found.objective} on validation."
    if (front := found.front) is not None:
        text[0] = text[0].removesuffix(".") + ", beside other objectives."
        text.append(str(front))
    if found.trials and not any(each.deranged is not None for each in found.trials):
        text.append("A_D was not measured of any trial, so that P is not known.")
    return text


def _trials(found: Findings) -> Grid:
    ranked = sorted(
        found.trials,
        key=lambda each: (
            not each.beyond,
            -math.inf if each.objective is None else each.objective,
        ),
        reverse=True,
    )
    heads = ("trial", "state", found.objective, "A_M", "A_D", "A_R", "P", "G", "size", "settings")
    rows = [tuple(_cells(found, each)) for each in ranked]
    return Grid("Every trial on validation, the best first", heads, rows)


def _cells(found: Findings, trial: TrialRow) -> Iterator[str]:
    receiver = found.receivers.get(trial.name)
    gain = None if receiver is None or trial.accuracy is None else trial.accuracy - receiver
    state = f"beyond {', '.join(trial.beyond)}" if trial.beyond else trial.state
    yield from (trial.name, state, number(trial.objective, "+.3f"))
    yield from (number(trial.accuracy), number(trial.deranged), number(receiver))
    yield from (number(pairing_gain(trial), "+.3f"), number(gain, "+.3f"))
    yield count(trial.parameters)
    yield ", ".join(
        f"{name.rpartition('.')[2]} {_short(value)}" for name, value in trial.params.items()
    )


def _by_state(
    trials: Sequence[TrialRow], points: Sequence[tuple[float, float]], names: Sequence[str]
) -> list[Series]:
    """One series a state, each with a mark of its own."""
    states = dict.fromkeys(each.state for each in trials)
    series = []
    for state in states:
        chosen = [index for index, each in enumerate(trials) if each.state == state]
        series.append(
            Series(
                state,
                [points[index][0] for index in chosen],
                [points[index][1] for index in chosen],
                labels=[names[index] for index in chosen],
                mark=_MARKS.get(state, "cross"),
            )
        )
    return series


def _message_chart(found: Findings) -> list[Chart]:
    """Pairing gain against accuracy, with the Pareto front."""
    known = [(one, one.accuracy, pairing_gain(one)) for one in found.trials]
    sure = [(one, a, p) for one, a, p in known if a is not None and p is not None]
    if not sure:
        return []
    points = [(a, p) for _, a, p in sure]
    names = [f"{one.name}: A_M {a:.3f}, P {p:+.3f}" for one, a, p in sure]
    trials = [one for one, _, _ in sure]
    line, on_front = _front(trials, points, 1)
    series = [*_by_state(trials, points, names), line]
    about = "To the right: answers more rightly. Above: more of it is communication (P = A_M - "
    about += f"A_D). On the front: {on_front}."
    return [
        Chart(
            "Pairing gain against accuracy",
            about,
            "A_M, accuracy with the right message",
            "P, pairing gain",
            series,
        )
    ]


def _pareto_chart(found: Findings) -> list[Chart]:
    """Size against what the search maximises, with the Pareto front."""
    sure = [
        (one, float(one.parameters), one.objective)
        for one in found.trials
        if one.parameters and one.objective is not None
    ]
    if not sure:
        return []
    points = [(size, worth) for _, size, worth in sure]
    names = [f"{one.name}: {count(one.parameters)}, {worth:+.3f}" for one, _, worth in sure]
    trials = [one for one, _, _ in sure]
    line, on_front = _front(trials, points, -1)
    series = [*_by_state(trials, points, names), line]
    about = "To the left: smaller. Above: better. On the front, where nothing smaller is as good: "
    about += f"{on_front}."
    if (of_search := found.front) is not None:
        chosen = [number for number, each in enumerate(sure) if each[0].name in of_search.trials]
        series.append(
            Series(
                "front of all objectives",
                [points[number][0] for number in chosen],
                [points[number][1] for number in chosen],
                labels=[names[number] for number in chosen],
                mark="diamond-open",
                sizes=[_RING] * len(chosen),
                strong=True,
            )
        )
        about += f" Ringed: the front of {', '.join(of_search.objectives)}."
    title = f"Size against {found.objective}"
    y = f"{found.objective} on validation"
    return [Chart(title, about, "parameters of the fuser", y, series, log_x=True)]


def _front(
    trials: Sequence[TrialRow], points: Sequence[tuple[float, float]], sign: int
) -> tuple[Series, str]:
    """The Pareto front of points as a line, and the trials on it.

    Args:
        trials: Of the points.
        points: Of which great y are better.
        sign: 1 where great x are better too, -1 where small ones are.
    """
    found = sorted(front([(sign * x, y) for x, y in points]), key=lambda index: points[index])
    line = [points[index] for index in found]
    series = Series(
        "Pareto front", [x for x, _ in line], [y for _, y in line], "line", dash="dash"
    )
    return series, ", ".join(trials[index].name for index in sorted(found))


def _progress_charts(found: Findings) -> Iterator[Chart]:
    """The best so far, over trials and over time."""
    ended = [
        each
        for each in found.trials
        if each.state == "complete" and not each.beyond and each.objective is not None
    ]
    if not ended:
        return
    every = [each for each in found.trials if each.objective is not None]
    indices = {each.name: index + 1 for index, each in enumerate(found.trials)}
    y = f"best {found.objective} so far"
    yield Chart(
        "Best so far, over trials",
        f"It ends at {_best(ended):+.3f}. Marks are single trials.",
        "trials begun",
        y,
        [
            _so_far([(float(indices[each.name]), each) for each in ended], len(indices)),
            *_by_state(
                every,
                [(float(indices[each.name]), each.objective or 0.0) for each in every],
                [f"{each.name}: {each.objective:+.3f}" for each in every],
            ),
        ],
    )
    moments = [(_moment(each.ended), each) for each in ended if each.ended]
    begun = [_moment(each.started) for each in found.trials if each.started]
    if moments and begun:
        since = min(begun)
        hours = sorted(((when - since) / 3600, each) for when, each in moments)
        over = [(_moment(each.ended) - since) / 3600 for each in found.trials if each.ended]
        told = f"It is at {_best(ended):+.3f} after {about(3600 * max(over))}."
        x = "hours since the first trial began"
        yield Chart("Best so far, over time", told, x, y, [_so_far(hours, max(over))])


def _so_far(ended: Sequence[tuple[float, TrialRow]], last: float) -> Series:
    """Stairs: a best stays the best until a better one, or until the last trial."""
    x: list[float] = []
    values: list[float] = []
    names: list[str] = []
    for when, each in ended:
        if values:
            x, values, names = [*x, when], [*values, values[-1]], [*names, names[-1]]
        best = max([each.objective or 0.0, *values])
        name = f"{each.name}: {each.objective:+.3f}"
        x, values, names = [*x, when], [*values, best], [*names, name]
    x, values, names = [*x, last], [*values, values[-1]], [*names, names[-1]]
    return Series("best so far", x, values, "line", labels=names, strong=True)


def _best(trials: Sequence[TrialRow]) -> float:
    return max(each.objective or 0.0 for each in trials)


def _moment(text: str | None) -> float:
    return datetime.datetime.fromisoformat(text or "").timestamp()


def _parallel_chart(found: Findings) -> list[Chart]:
    """A line for every trial through its settings, up to what it reached."""
    trials = [each for each in found.trials if each.objective is not None]
    names = list(dict.fromkeys(name for each in trials for name in each.params))
    varied = [name for name in names if len({str(each.params.get(name)) for each in trials}) > 1]
    if len(trials) < 2 or not varied:
        return []
    varied = varied[:_AXES]
    heights = [_heights([each.params.get(name, _UNSET) for each in trials]) for name in varied]
    heights.append(_heights([each.objective for each in trials]))
    best = found.row.best or max(trials, key=lambda each: each.objective or 0.0)
    series = []
    for index, each in enumerate(trials):
        told = [f"{name} {_short(each.params.get(name, _UNSET))}" for name in varied]
        told.append(f"{found.objective} {each.objective:+.3f}")
        strong = each.name == best.name
        series.append(
            Series(
                each.name,
                list(range(len(told))),
                [column[index] for column in heights],
                "line",
                labels=[f"{each.name}: {one}" for one in told],
                dash="solid" if strong else _DASHES.get(each.state, "dash"),
                strong=strong,
            )
        )
    ticks = [name.rpartition(".")[2].replace("_", " ") for name in varied] + [found.objective]
    about = f"A line is a trial; the thick one is the best, {best.name}: "
    about += ", ".join(f"{name} {_short(best.params.get(name, _UNSET))}" for name in varied) + "."
    title = "Parallel coordinates"
    return [Chart(title, about, "", "low to high", series, False, tuple(enumerate(ticks)), 460)]


_UNSET = "not set"


def _heights(values: Sequence[object]) -> list[float]:
    """Numbers between the lowest and the highest; names at equal distances."""
    numbers = [each for each in values if isinstance(each, int | float)]
    if len(numbers) == len(values) and len(set(numbers)) > 1:
        low, high = min(numbers), max(numbers)
        return [(each - low) / (high - low) for each in numbers]
    names = sorted({str(each) for each in values})
    apart = max(1, len(names) - 1)
    return [names.index(str(each)) / apart for each in values]


def _short(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
