"""``status``, ``stop`` and ``study ls|show|rm|export``: studies as their stores know them."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Json
from c2c_search.cli.options import Root
from c2c_search.cli.options import Storage
from c2c_search.cli.options import TrackingUri
from c2c_search.cli.options import confirm
from c2c_search.cli.options import tell
from c2c_search.cli.options import tell_version


if TYPE_CHECKING:
    from collections.abc import Sequence

    from c2c_search.study.noted_phase import Phase
    from c2c_search.study.overview import StudyRow
    from c2c_search.study.overview import TrialRow

Name = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="Name of the study; of its versions the newest's."),
]
MaybeName = Annotated[
    str | None, typer.Argument(metavar="[STUDY]", help="Name of the study; all when left out.")
]


def status(
    study: MaybeName = None,
    root: Root = ROOT,
    storage: Storage = None,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Show what studies do now, from any shell: who drives them, what trains, what is best.

    Example:

        $ c2c-search status
        private: not running; 3 of 3 trials (2 complete, 1 pruned); best 0.1050
        (trial-000)
    """
    rows = _rows(root, study, storage, tracking_uri, steps=True)
    if json:
        echo_json(dumps([row.model_dump(mode="json") for row in rows]))
        return
    for row in rows:
        echo(f"{row.called}: {_driven(row)}; {_counts(row)}; {_best(row)}{_overhead(row)}")
        if row.spent:
            echo(f"  {_spent(row)}")
        if row.phase is not None:
            echo(f"  {_phase(row.phase)}")
        for trial in row.now:
            echo(f"  {trial.name}: {_far(trial)}, {_settings(trial)}")


def stop(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="The one that is driven, if left out.")
    ] = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="At once, as by Ctrl-C: trials go on from their checkpoints."),
    ] = False,
    root: Root = ROOT,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Stop a study when the trials that train now have ended; the same command goes on with it.

    Example:

        $ c2c-search stop private
        private stops after trial-002.
    """
    from c2c_search.study.upkeep import stop

    row = stop(root, study, now=now, url=storage)
    tell_version(study, row.name)
    if json:
        echo_json(dumps({"study": row.name, "process": row.process, "now": now}))
    elif now:
        echo(f"{row.called} stops now.")
    else:
        running = ", ".join(trial.name for trial in row.now) or "what it does"
        echo(f"{row.called} stops after {running}.")


def list_(root: Root = ROOT, storage: Storage = None, json: Json = False) -> None:
    """List all studies under the root, or in a database.

    Example:

        $ c2c-search study ls
        study    driver  trials                            best
        private  none    3 of 3 trials (2 complete, ...)   best 0.1050 (trial-000)
    """
    from rich.table import Table

    from c2c_search.host.terminal import Console

    rows = _rows(root, None, storage)
    if json:
        echo_json(dumps([row.model_dump(mode="json") for row in rows]))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("study", "driver", "trials", "best", "champion"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row.called, row.driver, _counts(row), _best(row), row.champion or "none")
    Console(highlight=False).print(table)


def show(
    study: Name,
    root: Root = ROOT,
    storage: Storage = None,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Show a study and all its trials.

    Example:

        $ c2c-search study show private
        private: not running; 3 of 3 trials (2 complete, 1 pruned); best 0.1050
        trial      state     objective  step  settings
        trial-000  complete  0.1050     1200  injection side, rank null, ...
    """
    (row,) = _rows(root, study, storage, tracking_uri, steps=True)
    trials = trials_of(study, root, storage)[1]
    if json:
        echo_json(dumps(_tidy(row, trials)))
        return
    echo(f"{row.called}: {_driven(row)}; {_counts(row)}; {_best(row)}{_overhead(row)}")
    print_trials(trials)


def rm(
    study: Name,
    root: Root = ROOT,
    storage: Storage = None,
    tracking_uri: TrackingUri = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove a study: its trials, files and runs. A champion's package and versions stay.

    Example:

        $ c2c-search study rm private --yes
        private is removed.
    """
    from c2c_search.study.upkeep import remove

    (row,) = _rows(root, study, storage)
    if not yes:
        confirm(f"Remove study {row.called} with {_counts(row)}?")
    remove(root, study, url=storage, tracking_uri=tracking_uri)
    if json:
        echo_json(dumps({"removed": row.name}))
    else:
        echo(f"{row.called} is removed.")


def export(
    study: Name,
    to: Annotated[
        Path | None,
        typer.Option(
            help="File to write: FILE.zip holds all of the study, for `study import`; any other "
            "name what `study show --json` prints.",
            show_default="standard output",
        ),
    ] = None,
    root: Root = ROOT,
    storage: Storage = None,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Write a study and all its trials as JSON, or the whole of it as an archive.

    An archive FILE.zip holds trials, runs, fusers, checkpoints and the champion's package, of
    the versions before this one too; models and data files it does not hold.

    Example:

        $ c2c-search study export private --to private.zip
        private is in private.zip.
    """
    from c2c_search.errors import ConfigError
    from c2c_search.host.files import disk_errors
    from c2c_search.host.files import write_text

    (row,) = _rows(root, study, storage)
    if to is not None and to.exists() and not to.is_file():
        raise ConfigError(
            "A study is written into a file.",
            value=str(to),
            hint="Name another path, or leave --to out for standard output.",
        )
    written = [row.called]
    if to is not None and to.suffix == ".zip":
        from c2c_search.study.archive import write_archive

        tell(f"Writing {to}")
        written = write_archive(root, row.called, to, url=storage, tracking_uri=tracking_uri)
    else:
        text = dumps(_tidy(row, trials_of(study, root, storage)[1]))
        if to is None:
            echo_json(text)
            return
        with disk_errors(to):
            write_text(to, text + "\n")
    if json:
        echo_json(dumps({"study": row.name, "file": str(to)}))
    else:
        echo(f"{', '.join(written)} {'is' if len(written) == 1 else 'are'} in {to}.")


def dumps(content: object) -> str:
    """JSON as the commands print it."""
    return json_.dumps(content, indent=1, ensure_ascii=False)


def trials_of(study: str, root: Path, storage: str | None) -> tuple[str, list[TrialRow]]:
    """The name of the study that is meant, and its trials, with what was measured after them."""
    from c2c_search.host.home import expanded
    from c2c_search.study import overview
    from c2c_search.study.layout import StudyFiles

    opened = overview.load(overview.open_existing(root, storage), study)
    files = StudyFiles(expanded(root).resolve(), opened.study_name)
    return opened.study_name, overview.trial_rows(opened, files)


def print_trials(trials: Sequence[TrialRow]) -> None:
    """Print a table of trials."""
    from rich.table import Table

    from c2c_search.host.terminal import Console

    table = Table(box=None, pad_edge=False)
    costs = [_costs(trial) for trial in trials]
    of_some = ("costs",) if any(costs) else ()
    for heading in ("trial", "state", "objective", "step", *of_some, "settings"):
        table.add_column(heading, overflow="fold")
    for trial, cost in zip(trials, costs, strict=True):
        known = "" if trial.objective is None else f"{trial.objective:.4f}"
        step = str(max(trial.rungs, default=""))
        more = (cost,) if of_some else ()
        table.add_row(trial.name, trial.state, known, step, *more, _settings(trial))
    Console(highlight=False).print(table)


def _rows(
    root: Path,
    study: str | None,
    storage: str | None,
    tracking_uri: str | None = None,
    *,
    steps: bool = False,
) -> list[StudyRow]:
    from c2c_search.study import overview

    opened = overview.open_existing(root, storage)
    found = overview.studies(opened, study)
    if study is not None:
        tell_version(study, found[0].study_name)
    return [
        overview.study_row(root, each, steps=steps, tracking_uri=tracking_uri) for each in found
    ]


def _tidy(row: StudyRow, trials: Sequence[TrialRow]) -> dict[str, object]:
    return {
        "study": row.model_dump(mode="json"),
        "trials": [trial.model_dump(mode="json") for trial in trials],
    }


def _driven(row: StudyRow) -> str:
    where = "" if row.process is None else f" (process {row.process})"
    if (row.drivers or 0) > 1:
        where += f", with {row.drivers} drivers in all"
    known = row.drivers is not None
    return {
        "running": f"runs{where}",
        "stopping": f"stops when what has begun has ended{where}",
        "elsewhere": f"driven from elsewhere{where}"
        if known
        else "driven on another machine, or left by it",
        "none": "not running",
    }[row.driver]


def _counts(row: StudyRow) -> str:
    done = sum(row.counts.get(state, 0) for state in ("complete", "pruned", "failed"))
    of = "" if row.budget is None else f" of {row.budget}"
    parts = ", ".join(f"{count} {state}" for state, count in row.counts.items())
    return f"{done}{of} trials" + (f" ({parts})" if parts else "")


def _spent(row: StudyRow) -> str:
    from c2c_search.report.live_words import budget

    return "; ".join(budget(name, *each) for name, each in row.spent.items())


def _phase(phase: Phase) -> str:
    import time

    from c2c_search.report.live_words import duration

    far = f"{phase.done:,}/{phase.total:,}" if phase.total else ""
    since = f"for {duration(max(0.0, time.time() - phase.noted))}"
    words = " ".join(part for part in (phase.stage, phase.message, far) if part)
    return f"{words}, {since}"


def _best(row: StudyRow) -> str:
    if row.best is None:
        return "none within bounds yet" if row.counts.get("complete") else "no best yet"
    return f"best {row.best.objective:.4f} ({row.best.name})"


def _overhead(row: StudyRow) -> str:
    return "" if row.overhead is None else f"; overhead {100 * row.overhead:.1f} %"


def _far(trial: TrialRow) -> str:
    step = max(trial.step or 0, *trial.rungs, 0)
    reached = "" if trial.objective is None else f", {trial.objective:.4f} at its last rung"
    return f"step {step}{reached}"


def _costs(trial: TrialRow) -> str:
    units = {"latency_ms": "ms", "peak_memory_mb": "MB"}
    known = trial.measures
    return ", ".join(f"{known[name]:.4g} {unit}" for name, unit in units.items() if name in known)


def _settings(trial: TrialRow) -> str:
    from c2c_search.report.live_words import settings_line

    return settings_line({name.rpartition(".")[2]: each for name, each in trial.params.items()})
