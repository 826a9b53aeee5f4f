"""What a study will do, as a page for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from c2c_search.host.wording import counted
from c2c_search.host.wording import in_words
from c2c_search.prompt_cache.budget import size_text
from c2c_search.report import forecast_table
from c2c_search.report.leaderboard import count
from c2c_search.space.forecast import CachePlan
from c2c_search.space.forecast import Forecast
from c2c_search.space.forecast import GpuHours
from c2c_search.space.fuser_sizes import FuserSizes
from c2c_search.space.plan import MemoryPlan
from c2c_search.space.plan import Plan


_BAR = 24  # characters of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉"


def render(
    study: str,
    plan: Plan,
    *,
    caches: CachePlan | None = None,
    forecast: Forecast | None = None,
    gpus: GpuHours | None = None,
) -> RenderableType:
    """Draw a plan.

    Args:
        study: Name of the study.
        plan: Of its space.
        caches: The prompt caches that it reads; None if they cannot be told.
        forecast: How long it takes; None if that cannot be told.
        gpus: How long it takes on GPUs; None if that cannot be told.
    """
    dimensions = Table(title=f"study {study}", title_justify="left")
    for heading in ("dimension", "values", "when"):
        dimensions.add_column(heading, overflow="fold")
    for each in plan.dimensions:
        dimensions.add_row(Text(each.name), Text(each.values), Text(each.when))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    for what, value in _facts(plan).items():
        facts.add_row(what, value)
    if caches is not None:
        facts.add_row("prompt caches", _caches(caches))
    parts: list[RenderableType] = [dimensions, "", facts]
    if plan.sizes is not None and len(plan.sizes.histogram) > 1:
        parts += ["", _histogram(plan.sizes)]
    if forecast is not None:
        parts += ["", forecast_table.render(forecast)]
    if gpus is not None:
        parts += ["", forecast_table.render_gpus(gpus)]
    return Group(*parts)


def _histogram(sizes: FuserSizes) -> Table:
    """Candidates by size, a bar each."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim")
    table.add_column()
    table.add_column(justify="right")
    largest = max(each.share for each in sizes.histogram)
    for each in sizes.histogram:
        eighths = round(8 * _BAR * each.share / largest)
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        table.add_row(f"{count(each.least)} to {count(each.most)}", bar, f"{each.share:.0%}")
    return table


def _caches(caches: CachePlan) -> str:
    prompts = sum(each.prompts for each in caches.lists)
    text = f"{size_text(caches.size)} of {counted(prompts, 'prompt')}"
    if caches.stored:
        text += f", {size_text(caches.stored)} of it there already"
    if caches.beyond:
        text += (
            f"; {size_text(caches.budget)} fit the budget, and the rest is computed whenever it "
            "is read"
        )
    return text


def _facts(plan: Plan) -> dict[str, str]:
    endless = "endless (there is a range of numbers)"
    facts = {
        "different trials": endless if plan.configurations is None else f"{plan.configurations:,}",
        "trials of this study": _trials(plan),
    }
    if plan.stages:
        facts["stages of a trial"] = plan.stages
    for rung in plan.rungs:
        facts[f"reach step {rung.step}"] = f"about {rung.trials:.0f}"
    facts["steps of the trials"] = f"about {plan.expected_steps:,} (at most {plan.most_steps:,})"
    if plan.tokens is not None and plan.flops is not None:
        facts["tokens of the trials"] = f"about {in_words(plan.tokens)}"
        facts["operations of the trials"] = f"about {plan.flops:.2g} FLOP"
    facts["steps of the twins"] = f"{plan.twin_steps:,}"
    for title, steps in plan.control_steps.items():
        facts[f"steps of {title}"] = f"{steps:,}"
    if plan.reference_steps:
        facts["steps of the pairs' references"] = f"{plan.reference_steps:,}"
    facts["steps in all"] = f"about {plan.total_steps:,}"
    facts["finalists"] = f"{plan.finalists}, measured once on the test split"
    if plan.controls:
        facts["must beat"] = ", ".join(["every model alone", *plan.controls])
    if plan.sizes is None:
        facts["parameters"] = "known once the models are there: add --fetch"
    else:
        sizes = plan.sizes
        facts["parameters"] = (
            f"{count(sizes.smallest)} to {count(sizes.largest)}, median {count(sizes.median)}"
        )
        if sizes.fitting < 1:
            facts["within the limits"] = (
                f"{sizes.fitting:.0%} of the candidates; no others are tried"
            )
        for name, share in sizes.refused.items():
            facts[f"beyond limits.{name}"] = f"{share:.0%} of the candidates"
    if plan.memory is not None:
        facts["memory of a trial"] = _memory(plan.memory)
    if plan.messages is not None:
        least, most = (size_text(size) for size in (plan.messages.least, plan.messages.most))
        facts["a message"] = least if least == most else f"{least} to {most}"
    if plan.drafts is not None:
        drafts = plan.drafts
        facts["drafts, once"] = (
            f"{drafts.prompts:,} of at most {drafts.tokens:,} tokens, in at most "
            f"{drafts.passes:,} passes of a sharer over a batch; their caches take at most "
            f"{size_text(drafts.stored)} for each length"
        )
    return facts


def _trials(plan: Plan) -> str:
    if not plan.ended_by:
        return f"{plan.trials:,}"
    return f"about {plan.trials:,}, by which search.{plan.ended_by} are spent"


def _memory(memory: MemoryPlan) -> str:
    most = sum(memory.most.values())
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in memory.most.items())
    text = f"{memory.least / 1e9:.2f} to {most / 1e9:.2f} GB at its peak ({parts})"
    if memory.limit is not None and most > memory.limit * 1e9:
        text += f"; beyond {memory.limit:g} GB none is tried"
    return text
