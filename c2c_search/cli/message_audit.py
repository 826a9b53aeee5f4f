"""``audit``, whether any fuser listens to its sharer, on one page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated
from typing import Literal

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import ROOT
from c2c_search.cli.options import TEMPLATE
from c2c_search.cli.options import Root
from c2c_search.cli.options import announce
from c2c_search.cli.options import names
from c2c_search.cli.options import template_named
from c2c_search.errors import ConfigError


def audit(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DIR|CHECKPOINT",
            help="A champion's or a trial's folder, or a checkpoint of the published C2C code.",
        ),
    ],
    task: Annotated[
        str | None,
        typer.Option(help="What it is asked, as in eval; its own test split by default."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSONL rows that it is asked instead.")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Other tasks: is the receiver harmed there?"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most items of a task, spread over its groups.")
    ] = None,
    receiver: Annotated[
        str | None, typer.Option(help="Of a published checkpoint: the model that answers.")
    ] = None,
    sharer: Annotated[
        str | None, typer.Option(help="Of a published checkpoint: the model that shares.")
    ] = None,
    sharer_index: Annotated[
        int | None,
        typer.Option(min=0, help="Which sharer of the checkpoint, if it holds several."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar=TEMPLATE, help="Of a published checkpoint: how a question becomes a prompt."
        ),
    ] = None,
    level: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Chance of a wrong finding.")
    ] = 0.05,
    margin: Annotated[
        float, typer.Option(min=0.01, max=99, help="Points that count as no harm.")
    ] = 2.0,
    wished: Annotated[
        float, typer.Option(min=0.1, max=99, help="Points that the items should show.")
    ] = 5.0,
    seed: Annotated[int, typer.Option(help="Of limits, permutations and the bootstrap.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions in one pass.")] = 32,
    contamination: Annotated[
        Literal["report", "exclude", "refuse"],
        typer.Option(help="What becomes of items that the fuser was trained or selected on."),
    ] = "exclude",
    root: Root = ROOT,
    to: Annotated[
        Path | None, typer.Option(help="Folder to write; ROOT/audits/NAME by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record as JSON, not as a page.")
    ] = False,
) -> None:
    """Say of a fuser whether it listens, adapts without listening, or does harm.

    It answers with the right message and with other items', beside its models alone and the
    controls that can be built for it. Writes audit.json and audit.md; the same command goes on
    where it stopped.

    Example:

        $ c2c-search audit champion --limit 300
        ...
        Written to mlruns/audits/champion.
    """
    if task is not None and data is not None:
        raise ConfigError(
            "An audit is of one task: --task or --data.",
            value=f"--task {task} --data {data}",
            hint="Leave one of them out; --tasks names others, for harm.",
        )
    announce(f"Looking for {target}", err=True)
    from c2c_search.evaluator.message_audit import AuditRequest
    from c2c_search.evaluator.message_audit import audit
    from c2c_search.host.terminal import Console
    from c2c_search.report.message_audit import render

    audited = audit(
        AuditRequest(
            target=target,
            task=task if data is None else str(data),
            elsewhere=names(tasks, "--tasks"),
            receiver=receiver,
            sharer=sharer,
            sharer_index=sharer_index,
            template=template_named(template),
            root=root,
            limit=limit,
            level=level,
            margin=margin / 100,
            wished=wished / 100,
            seed=seed,
            batch_size=batch_size,
            contamination=contamination,
            to=to,
            command=shlex.join(["c2c-search", *sys.argv[1:]]),
        )
    )
    if as_json:
        echo_json(audited.record.model_dump_json(indent=1))
        return
    Console().print(render(audited.record))
    echo(f"Written to {audited.folder}.")
