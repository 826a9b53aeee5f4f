"""``plan``, what a study will do and take."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from json import dumps
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import Json
from c2c_search.cli.options import SpaceFile
from c2c_search.cli.options import tell
from c2c_search.cli.options import tell_chats
from c2c_search.errors import ConfigError
from c2c_search.host.children import child_environment
from c2c_search.host.children import python_command
from c2c_search.host.devices import usual_workers


if TYPE_CHECKING:
    from c2c_search.space.forecast import CachePlan
    from c2c_search.space.forecast import Forecast
    from c2c_search.space.plan import Plan
    from c2c_search.space.schema import Space


def plan(
    space: SpaceFile,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure nothing: no time is told, the rest is.")
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch models that are not on this machine.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that will train side by side; as `study` by default."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials in all, instead of the space's own number."),
    ] = None,
    json: Json = False,
) -> None:
    """Show what a study will do and take, before anything is spent.

    How long it takes is measured, in at most two minutes: the study's own worker loads the
    models, prefills, trains and answers on a few rows, and leaves nothing behind.

    Example:

        $ c2c-search plan --space spaces/fuser.yaml
        ...
        prompt caches  7.8 GB of 8,600 prompts
        ...
        phase       least  expected        most
        trials     20 min    35 min         1 h
        in all     40 min       1 h  1 h 30 min
    """
    from c2c_search.space.schema import Space
    from c2c_search.study.readiness import check_ready
    from c2c_search.study.readiness import unready

    loaded, absent = Space.load_without_data(space, trials)
    if not absent:
        check_ready(loaded, space)
    elif problems := unready(loaded, space):
        raise ConfigError.collect([*problems, *absent])
    missing = _missing(loaded)
    if absent or (missing and not fetch):
        _show_uncomputed(loaded, missing, [str(problem) for problem in absent], json)
        return
    tell(f"Reading {space}")
    from c2c_search.study.planning import plan_at_hand

    count = workers or usual_workers(os.environ, loaded.pipeline.training.devices_per_trial)
    planned = plan_at_hand(loaded, workers=count, quick=quick, tell=tell)
    if json:
        found = {"caches": _caches(planned.caches), "time": _time(planned.forecast)}
        _print_json(loaded, planned.plan, found, notices=planned.notices)
        return
    from c2c_search.host.terminal import Console
    from c2c_search.report.planned import render

    page = render(loaded.study, planned.plan, caches=planned.caches, forecast=planned.forecast)
    Console().print(page)
    for notice in planned.notices:
        echo(notice)


def _show_uncomputed(space: Space, missing: list[str], absent: list[str], json: bool) -> None:
    """What is told while models, or data, are not here."""
    from c2c_search.host.terminal import Console
    from c2c_search.report.planned import render
    from c2c_search.space.plan import plan as make_plan
    from c2c_search.study.gpu_hours import gpu_hours

    found = gpu_hours(space, data=not absent)
    made, caches, gpus = (make_plan(space), None, None) if found is None else found
    notices = [f"Missing: {problem}" for problem in absent]
    if missing:
        notices.append(
            f"To fetch: {', '.join(missing)}. With --fetch, or after `c2c-search models pull "
            "MODEL`, memory, disk and time on this machine are told too."
        )
    if json:
        counted = {"caches": _caches(caches), "gpus": None if gpus is None else asdict(gpus)}
        _print_json(space, made, counted, missing=missing, notices=notices)
        return
    tell_chats(space)
    Console().print(render(space.study, made, caches=caches, gpus=gpus))
    for notice in notices:
        echo(notice)


def _missing(space: Space) -> list[str]:
    """Sources of models still to be fetched; a GGUF file is here, if not as a folder."""
    from c2c_search.models.at_hand import folder_at_hand
    from c2c_search.models.sources import GgufSource
    from c2c_search.models.sources import parse_source

    sources = dict.fromkeys(source for pair in space.pairs.values() for _, source in pair)
    return [
        each
        for each in sources
        if folder_at_hand(each) is None and not isinstance(parse_source(each), GgufSource)
    ]


def _time(forecast: Forecast | None) -> dict[str, Any] | None:
    return None if forecast is None else asdict(forecast) | {"total": asdict(forecast.total)}


def _caches(caches: CachePlan | None) -> dict[str, Any] | None:
    if caches is None:
        return None
    return asdict(caches) | {"size": caches.size, "stored": caches.stored}


def _print_json(
    space: Space,
    plan: Plan,
    found: dict[str, Any],
    *,
    missing: Sequence[str] = (),
    notices: Sequence[str] = (),
) -> None:
    content = {
        "study": space.study,
        **asdict(plan),
        "total_steps": plan.total_steps,
        "caches": None,
        "time": None,
        "gpus": None,
        **found,
        "to_fetch": list(missing),
        "notices": list(notices),
    }
    echo_json(dumps(content, indent=1))


def ask_first(space: Path, hours: float, *, trials: int | None, workers: int | None) -> None:
    """Plan a study, and ask before one that is expected to take longer than so many hours.

    Args:
        space: The space file.
        hours: That it may take unasked.
        trials: Instead of the space's own number.
        workers: As for `plan`.

    Raises:
        ConfigError: It is expected to take longer, and there is nobody to answer.
        Abort: The answer is no.
    """
    options = {"--trials": trials, "--workers": workers}
    given = [text for name, of in options.items() if of for text in (name, str(of))]
    command = ("-m", "c2c_search", "plan", "--space", str(space), "--fetch", "--json", *given)
    # A process of its own: what measures holds both models in memory.
    done = subprocess.run(
        python_command(*command),
        stdout=subprocess.PIPE,
        env=child_environment(os.environ),
        check=False,
    )
    if done.returncode:
        raise typer.Exit(done.returncode)
    planned = loads(done.stdout)
    if (time := planned["time"]) is None:
        for notice in planned["notices"]:
            tell(notice)
        raise ConfigError(
            "--max-hours needs a study whose time can be told, and its own work fails here.",
            hint="Mend what is told above, or leave --max-hours out to begin nevertheless.",
        )
    from c2c_search.report.forecast_table import span_text
    from c2c_search.space.forecast import Span

    total = Span(**time["total"])
    if total.expected <= hours * 3600:
        return
    told = f"This study is expected to take {span_text(total)}"
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{told}, and --max-hours allows less.",
            value=hours,
            hint="Allow more, say --yes, or lower `search.trials` or `training.steps`.",
        )
    if not typer.confirm(f"{told}, more than {hours:g} h. Begin?"):
        raise typer.Abort
