"""``cache``, the prompt caches and drafts on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Annotated

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import Json
from c2c_search.cli.options import confirm
from c2c_search.cli.verbosity import VERBOSITY


if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence
    from pathlib import Path

    from c2c_search.prompt_cache.maintenance import Contents
    from c2c_search.prompt_cache.maintenance import Kept
    from c2c_search.prompt_cache.maintenance import Verified


app = typer.Typer(
    help="Prompt caches and drafts on the disk: list, clear, verify.", no_args_is_help=True
)

_KEY = 8  # digits of a key that are shown
_HEADS = ("key", "prompts", "tokens", "size", "holds", "last used", "state")
_NUMBERS = ("prompts", "tokens", "size")


@app.command("ls")
def list_(
    json: Json = False,
) -> None:
    """List all prompt caches and drafts by model, the last used first, and what they may take.

    Example:

        $ c2c-search cache ls
          key      prompts  tokens     size holds    last used        state
        pypi:gemma-3-270m
          9d86770c     550  10,456 192.7 MB bfloat16 2026-11-30 15:18 in use
        ...
    """
    from c2c_search.models.cache_dir import cache_errors
    from c2c_search.prompt_cache.maintenance import contents

    store = _store()
    with cache_errors(store):
        found = contents(store)
    if json:
        echo_json(_json(found))
    else:
        _table(found)


@app.command()
def clear(
    model: Annotated[
        str | None, typer.Option(help="Only those of a model, as `cache ls` names it.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Only those not used for so long, e.g. 30d.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Only the least recently used, until the rest takes this, e.g. 20GB."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove prompt caches and drafts that no running process uses; they are made again.

    Example:

        $ c2c-search cache clear --model pypi:gemma-3-270m --yes
        Removed 3 lists; 192.7 MB freed.
    """
    import time

    from c2c_search.models.cache_dir import cache_errors
    from c2c_search.prompt_cache import maintenance
    from c2c_search.prompt_cache.budget import read_size
    from c2c_search.prompt_cache.budget import size_text

    store = _store()
    with cache_errors(store):
        found = maintenance.contents(store)
    chosen = maintenance.choose(
        found,
        now=time.time(),
        model=model,
        older_than=older_than,
        down_to=None if budget is None else read_size(budget),
    )
    if not chosen:
        echo("There is nothing to clear.")
        return
    size = size_text(sum(each.size for each in chosen))
    if not yes:
        confirm(f"Remove {_lists(len(chosen))}, {size}?")
    with cache_errors(found.directory):
        cleared = maintenance.clear(found, chosen)
    freed = size_text(sum(each.size for each in cleared.removed))
    echo(f"Removed {_lists(len(cleared.removed))}; {freed} freed.")
    for each in cleared.in_use:
        echo(f"Kept {each.key[:_KEY]} ({each.model}): a running process uses it.", err=True)
    if cleared.in_use:
        raise typer.Exit(2)


@app.command()
def verify(
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove damaged shards, to be computed again.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Hash all models again too, whatever their times say.")
    ] = False,
) -> None:
    """Compare every byte with the checksums taken when it was written.

    Exit status 2: something is damaged, and was not removed.

    Example:

        $ c2c-search cache verify
        760 shards, 22.2 GB: all as written.
    """
    from rich.progress import Progress

    from c2c_search.host.terminal import Console
    from c2c_search.models.cache_dir import cache_errors
    from c2c_search.prompt_cache.maintenance import verify as verify_all

    store = _store()
    with (
        cache_errors(store),
        Progress(console=Console(stderr=True, quiet=VERBOSITY.quiet), transient=True) as bar,
    ):
        task = bar.add_task("verifying", total=None)
        found = verify_all(
            store,
            delete=delete,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    _report(found, delete=delete)
    left = any(not damage.removed for damage in found.damaged)
    if (deep and not _models(delete=delete)) or left:
        raise typer.Exit(2)


@app.callback()
def _group() -> None:
    pass


def _store() -> Path:
    from c2c_search.models.cache_dir import default_cache_dir
    from c2c_search.prompt_cache.entries import FOLDER

    return default_cache_dir() / FOLDER


def _json(found: Contents) -> str:
    import json
    from dataclasses import asdict

    summary = {"directory": str(found.directory), "size": found.size, "budget": found.budget}
    return json.dumps({**summary, "kept": [asdict(each) for each in found.kept]}, indent=2)


def _table(found: Contents) -> None:
    from c2c_search.host.terminal import Console
    from c2c_search.prompt_cache.budget import size_text

    console = Console(highlight=False)
    caches = sum(each.kind == "caches" for each in found.kept)
    for line in _lines(found.kept):
        console.print(line, soft_wrap=True)
    console.print(
        f"{_lists(caches)}, {size_text(found.size)} of a budget of "
        f"{size_text(found.budget)}, in {found.directory}",
        soft_wrap=True,
    )
    if drafts := len(found.kept) - caches:
        told = f"drafts to {_lists(drafts)}, {size_text(found.size_of_drafts)} beside it"
        console.print(told, soft_wrap=True)
    if any(each.state == "unreadable" for each in found.kept):
        console.print("What is unreadable comes from an earlier version: clear it.")


def _lines(kept: Sequence[Kept]) -> Iterator[str]:
    """What is kept, below the name of its model: names are long, and are not to be cut."""
    table = [_HEADS, *map(_cells, kept)] if kept else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if head in _NUMBERS else cell.ljust(width)
            for cell, width, head in zip(cells, widths, _HEADS, strict=True)
        )
        return f"  {' '.join(padded)}".rstrip()

    if kept:
        yield line(_HEADS)
    for model in dict.fromkeys(each.model for each in kept):
        yield model or "of a model that cannot be told"
        for each in kept:
            if each.model == model:
                yield line(_cells(each))


def _cells(each: Kept) -> tuple[str, ...]:
    from datetime import datetime

    from c2c_search.prompt_cache.budget import size_text

    return (
        each.key[:_KEY],
        f"{each.prompts:,}",
        f"{each.tokens:,}",
        size_text(each.size),
        each.dtype or each.kind,
        datetime.fromtimestamp(each.last_used).strftime("%Y-%m-%d %H:%M"),
        "in use" if each.in_use else each.state,
    )


def _report(found: Verified, *, delete: bool) -> None:
    from c2c_search.prompt_cache.budget import size_text

    for damage in found.damaged:
        ended = "removed" if damage.removed else ("in use, kept" if delete else "kept")
        where = f"{damage.key[:_KEY]} ({damage.model}), {damage.part} {damage.shard}"
        echo(f"{where}: {damage.what}; {ended}")
    for key in found.unreadable:
        echo(f"{key[:_KEY]}: of an earlier version, never read")
    looked_at = f"{found.shards:,} shards, {size_text(found.size)}"
    if not found.damaged:
        echo(f"{looked_at}: all as written.")
        return
    echo(f"{looked_at}: {len(found.damaged)} damaged.")
    if not delete:
        echo("Remove them with --delete; they are computed again when needed.")


def _models(*, delete: bool) -> bool:
    """Hash every known model again; whether none is other than its record says, or is left so."""
    from rich.progress import Progress

    from c2c_search.host.terminal import Console
    from c2c_search.models.audit import audit
    from c2c_search.models.cache_dir import default_cache_dir

    audited = []
    with Progress(console=Console(stderr=True, quiet=VERBOSITY.quiet), transient=True) as bar:
        task = bar.add_task("hashing models", total=None)
        for each in audit(
            default_cache_dir(),
            lambda stage, done, total, message: bar.update(task, completed=done, total=total),
        ):
            audited.append(each)
            if each.wrong and delete:
                each.record.unlink()
    wrong = [each for each in audited if each.wrong]
    for each in wrong:
        ended = "its record is removed" if delete else "kept"
        echo(f"{each.model}: {each.wrong}; {ended}")
    echo(f"{len(audited):,} models hashed again: {len(wrong) or 'none'} damaged.")
    if wrong and not delete:
        echo("Remove their records with --delete; they are hashed, or fetched, anew. What was")
        echo("computed with them, `cache clear --model` removes.")
    return delete or not wrong


def _lists(count: int) -> str:
    return f"{count:,} list of prompts" if count == 1 else f"{count:,} lists of prompts"
