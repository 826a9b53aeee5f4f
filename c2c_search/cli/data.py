"""``data check``, what one's own files hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Literal

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import Json
from c2c_search.cli.options import tell


if TYPE_CHECKING:
    from c2c_search.setup.data_check import DataReport
    from c2c_search.setup.data_check import Lengths
    from c2c_search.tokenization.templates import Role

app = typer.Typer(help="Your own data files.", no_args_is_help=True)

_GROUPS = 8


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSONL to train on.")],
    validation: Annotated[
        list[Path] | None,
        typer.Option(help="JSONL to compare trials on; held out of FILE if left out."),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(help="JSONL to prove a champion on; held out of FILE if left out."),
    ] = None,
    receiver: Annotated[
        str | None, typer.Option(help="Model whose tokenizer is to read the rows.")
    ] = None,
    sharer: Annotated[str | None, typer.Option(help="The same of the one that speaks.")] = None,
    template: Annotated[
        Literal["plain", "chat"], typer.Option(help="How a question becomes a prompt.")
    ] = "plain",
    json: Json = False,
) -> None:
    """Look at JSONL files as a study would: rows, kinds, lengths, duplicates, splits, ties.

    With --receiver and --sharer their tokenizers read the rows, too; their weights are not loaded.
    Exit status 2: a study would refuse the files.

    Example:

        $ c2c-search data check mine.jsonl
        200 rows: 200 multiple choice, in 1 group and 200 clusters
        prompt      24 to 31 characters, median 27, 95 % up to 30
        answer      4 to 9 characters, median 7, 95 % up to 9
        options     right at 1: 53, 2: 47, 3: 52, 4: 48; chance 25.0%
        splits      140 train, 20 validation, 40 test
    """
    tell("Reading " + ", ".join(map(str, files)))
    from c2c_search.setup.data_check import check_data
    from c2c_search.setup.data_check import files_of
    from c2c_search.setup.data_check import tokenize

    named = files_of(
        [str(path) for path in files],
        [str(path) for path in validation or ()],
        [str(path) for path in test or ()],
    )
    sources: dict[Role, str] = {}
    if receiver is not None:
        sources["receiver"] = receiver
    if sharer is not None:
        sources["sharer"] = sharer
    reading = tokenize(sources, template=template) if sources else None
    found = check_data(named, tokenized=reading)
    if json:
        echo_json(found.model_dump_json(indent=1))
    else:
        _print(found)
    if found.problems:
        raise typer.Exit(2)


def _print(found: DataReport) -> None:
    from c2c_search.host.wording import counted

    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.kinds.items())
    groups = counted(len(found.groups), "group")
    echo(
        f"{counted(found.rows, 'row')}: {kinds}, in {groups} and "
        f"{counted(found.clusters, 'cluster')}"
    )
    if len(found.groups) > 1:
        largest = [f"{name} {count:,}" for name, count in list(found.groups.items())[:_GROUPS]]
        more = len(found.groups) - len(largest)
        _line("groups", ", ".join(largest) + (f" and {more} more" if more else ""))
    _line("prompt", f"{_range(found.prompt)} characters{_spread(found.prompt)}")
    _line("answer", f"{_range(found.answer)} characters{_spread(found.answer)}")
    if found.chance is not None:
        positions = ", ".join(f"{at + 1}: {count:,}" for at, count in found.positions.items())
        _line("options", f"right at {positions}; chance {found.chance:.1%}")
    if found.repeated:
        _line("repeated", f"{found.repeated:,} ask what an earlier row asks; kept in one split")
    if found.tied:
        _line("ties", f"{found.tied:,} rows have the same option twice")
    for each in found.tokenized:
        context = "any length" if each.context is None else f"up to {each.context:,}"
        _line(each.role, f"{each.source} (reads {context} tokens)")
        _line("", f"prompt {_range(each.prompt)} tokens{_spread(each.prompt)}")
        _line("", f"answer {_range(each.answer)} tokens{_spread(each.answer)}")
        if each.unknown:
            _line("", f"{each.unknown:,} rows hold characters that it does not know")
        if each.ties:
            shown = ", ".join(each.ties[:3])
            _line("", f"{len(each.ties):,} rows have options of the same tokens: {shown}")
    if found.splits:
        _line("splits", ", ".join(f"{count:,} {name}" for name, count in found.splits.items()))
    for sentence in found.contamination:
        _line("overlap", sentence)
    for notice in found.notices:
        echo(f"Note: {notice}")
    for problem in found.problems:
        echo(f"Problem: {problem}", err=True)


def _line(name: str, text: str) -> None:
    echo(f"{name:<12}{text}")


def _range(lengths: Lengths) -> str:
    if lengths.least == lengths.most:
        return f"{lengths.most:,}"
    return f"{lengths.least:,} to {lengths.most:,}"


def _spread(lengths: Lengths) -> str:
    if lengths.least == lengths.most:
        return ""
    return f", median {lengths.median:,}, 95 % up to {lengths.high:,}"


@app.callback()
def _group() -> None:
    pass
