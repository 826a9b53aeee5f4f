"""A study's report, put together: the verdict first, then what it rests on."""

from __future__ import annotations

import shlex
from typing import Literal

from c2c_search.evaluation.statistics import Interval
from c2c_search.host.wording import counted
from c2c_search.report.page import Page
from c2c_search.report.page import Section
from c2c_search.study import judged_sections
from c2c_search.study import search_sections
from c2c_search.study.findings import Findings
from c2c_search.study.layer_section import layers


def study_page(found: Findings) -> Page:
    """Everything that a report of a study says."""
    return Page(
        title=f"Study {found.row.called}",
        verdict=verdict_sentence(found),
        outcome=_outcome(found),
        facts=_facts(found),
        sections=[
            judged_sections.message(found),
            judged_sections.systems(found),
            search_sections.search(found),
            search_sections.learning(found),
            search_sections.importance(found),
            layers(found),
            judged_sections.changed(found),
            search_sections.costs(found),
            search_sections.failures(found),
            next_steps(found),
            reproduce(found),
        ],
    )


def verdict_sentence(found: Findings) -> str:
    """What follows, in one sentence with its interval."""
    leading = found.leading
    if leading is None:
        return _not_judged(found)
    said = f"{leading.name} answers {_percent(leading.accuracy)} of {leading.items} "
    said += f"{leading.split} items rightly"
    near = judged_sections.nearest(leading)
    if near is not None:
        control, difference = near
        points = difference.written("+.1f", 100)
        level = 100 * (1 - difference.level)
        said += (
            f", {points} points ({level:.4g} % interval) against {control}, which comes nearest"
        )
    if leading.leads:
        return f"{said}."
    missed = [one.control for one in leading.others if not one.beaten]
    if missed:
        return f"{said}; it is not proven better than {', '.join(missed)}."
    if leading.harmful:
        return f"{said}; it is not shown to do no harm on {', '.join(leading.harmful)}."
    if leading.passed:
        return f"{said}; it is not proven better than the champion before it."
    return f"{said}; too little of its gain comes from what is said."


def next_steps(found: Findings) -> Section:
    """What to try next, each with its reason."""
    name, counts = found.row.called, found.row.counts
    text = []
    if found.row.driver in ("running", "stopping"):
        text.append("The study still runs: make this report again when it has ended.")
    complete = counts.get("complete", 0)
    if counts.get("failed", 0) > complete:
        text.append("More trials failed than ended: put right first what is told under failures.")
    if found.explanation is None:
        text.append(
            f"{counted(complete, 'trial')} ran to their end; from 10 on `c2c-search explain "
            f"{shlex.quote(name)}` says which dimensions mattered. Raise search.trials in the "
            "space and run the study again: it goes on."
        )
    elif not found.explanation.diff:
        text.append("No range needs widening, and no dimension can surely be frozen.")
    text += _lacks(found)
    code = "" if found.explanation is None else found.explanation.diff
    return Section("next", "What to try next", text, code=code)


def reproduce(found: Findings) -> Section:
    """The commands that repeat what is told here."""
    name, root = shlex.quote(found.row.called), shlex.quote(str(found.root))
    lines = []
    if found.artifacts is not None:
        lines += [
            "# the very files of the study, as its run kept them",
            f"cp {shlex.quote(str(found.artifacts))}/*.yaml .",
            "# goes on with the study, or begins it anew under another root",
            f"c2c-search study --space space.yaml --root {root}",
        ]
    best = found.best
    if best is not None and best.hash is not None:
        trial = found.root / "trials" / found.row.name / best.hash / "trial.yaml"
        lines += [f"# {best.name} alone", f"c2c-search trial run {shlex.quote(str(trial))}"]
    if found.row.champion is not None:
        lines.append(f"c2c-search verify {shlex.quote(found.row.champion)}")
    lines += [
        f"c2c-search study show {name} --root {root}",
        f"c2c-search report {name} --root {root} --to report.html",
    ]
    data = found.identity.get("data", {})
    text = [
        f"Seed {found.identity.get('seed', 0)}, data {data.get('source', 'of its pipeline')}; "
        "equal configurations give equal trials."
    ]
    return Section("reproduce", "How to reproduce", text, code="\n".join(lines))


def _not_judged(found: Findings) -> str:
    row, best = found.row, found.row.best
    ended = sum(row.counts.get(state, 0) for state in ("complete", "pruned", "failed"))
    trials = counted(ended, "trial") if row.budget is None else f"{ended} of {row.budget} trials"
    have = "has" if trials == "1 trial" else "have"
    state = "The study runs" if row.driver in ("running", "stopping") else "The study has stopped"
    unjudged = "and the test split has judged nothing yet"
    if not ended:
        return f"{state}, no trial has run to its end, {unjudged}."
    said = f"{state}, {trials} {have} ended, {unjudged}"
    if best is None or best.objective is None:
        kept = " within its bounds" if found.bounds else ""
        return f"{said}; none has run to its end{kept}."
    reached = f"{found.objective} {best.objective:+.3f} on validation"
    spread = _spread(found)
    return f"{said}; the best so far is {best.name} with {reached}{spread}."


def _spread(found: Findings) -> str:
    """The interval of the best accuracy on validation is not kept; its blocks' spread is."""
    best = found.best
    ended = None if best is None else found.trained.get(best.hash or "")
    if ended is None or len(ended.blocks) < 2:
        return ""
    low, high = min(ended.blocks), max(ended.blocks)
    return f" (between {low:+.3f} and {high:+.3f} in {len(ended.blocks)} parts of it)"


def _outcome(found: Findings) -> Literal["champion", "none", "open"]:
    if found.leading is None:
        return "open"
    return "champion" if found.leading.leads else "none"


def _facts(found: Findings) -> list[tuple[str, str]]:
    row = found.row
    facts = [
        ("trials", ", ".join(f"{how} {state}" for state, how in row.counts.items()) or "none"),
        ("pairs", _pairs(found)),
        ("objectives of the search", ", ".join(found.identity.get("objectives", ())))
        if "objectives" in found.identity
        else ("objective of the search", found.objective),
    ]
    if row.champion is not None:
        facts.append(("champion", row.champion))
    started = [each.started for each in found.trials if each.started]
    ended = [each.ended for each in found.trials if each.ended]
    if started:
        facts.append(("first trial began", min(started)[:19].replace("T", " ")))
    if ended:
        facts.append(("last trial ended", max(ended)[:19].replace("T", " ")))
    return facts


def _pairs(found: Findings) -> str:
    pairs = found.identity.get("pairs", {})
    told = [f"{each['receiver']} <- {each['sharer']}" for each in pairs.values()]
    return "; ".join(told) or "unknown"


def _lacks(found: Findings) -> list[str]:
    """What a study without a champion can do about each thing that it lacks."""
    leading = found.leading
    if leading is None or leading.leads:
        return []
    text = []
    for one in leading.others:
        if one.beaten:
            continue
        detectable = one.detectable
        told = f"{leading.name} is not proven better than {one.control}"
        if detectable is not None and 0 < one.difference.value < detectable:
            told += f", though ahead by {100 * one.difference.value:.1f} points: this test split "
            told += f"finds differences from about {100 * detectable:.1f} points on, so more "
            told += "test items would tell"
        elif one.difference.value <= 0:
            ahead = -100 * one.difference.value
            told += f", which is {f'{ahead:.1f} points ahead' if ahead else 'as good'}"
            told += ": widen the space, or train for longer"
        text.append(f"{told}.")
    return text


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
