"""``eval``, any systems on any tasks, compared item by item."""

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


def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A champion's folder, a trial's folder, hash, name or STUDY/NAME, or a model "
            "source.",
        ),
    ],
    tasks: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Task names, NAME=PATH, JSONL files; test: the fuser's own test split (default).",
        ),
    ] = None,
    systems: Annotated[
        str | None,
        typer.Option(
            metavar="A,B|all", help="What is compared; by default all that needs no training."
        ),
    ] = None,
    method: Annotated[
        Literal["cloze", "letter", "generate"] | None,
        typer.Option(help="How items are answered, instead of each task's own method."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most items of a task, spread over its groups.")
    ] = None,
    sharer: Annotated[
        str | None, typer.Option(help="Beside a model source: the model that speaks.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar=TEMPLATE, help="Beside a model source: how a question becomes a prompt."
        ),
    ] = None,
    length_normalised: Annotated[
        bool | None,
        typer.Option(
            "--length-normalised/--raw",
            help="Compare options per token, or whole; as the fuser was judged by default.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Trainings of the fuser and of every trained control.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of limits, sampling and the bootstrap.")] = 0,
    temperature: Annotated[float, typer.Option(min=0, help="Of written answers; 0: greedy.")] = 0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1, help="Of sampled answers.")] = 1.0,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a written answer.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions in one pass.")] = 32,
    level: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Level of the intervals.")
    ] = 0.05,
    wished: Annotated[
        float,
        typer.Option(min=0.001, max=1, help="Difference in accuracy that a split should show."),
    ] = 0.05,
    contamination: Annotated[
        Literal["report", "exclude", "refuse"],
        typer.Option(help="What becomes of items that the fuser was trained or selected on."),
    ] = "exclude",
    latency: Annotated[
        bool, typer.Option("--latency", help="Time the first token and the whole answer, too.")
    ] = False,
    lm_eval: Annotated[
        str | None, typer.Option(metavar="A,B", help="Tasks of lm-evaluation-harness.")
    ] = None,
    include_path: Annotated[
        Path | None, typer.Option(help="Folder of further tasks for lm-evaluation-harness.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Study of a trial given by its name.")] = None,
    root: Root = ROOT,
    to: Annotated[
        Path | None, typer.Option(help="Folder to write; ROOT/evaluations/NAME by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record as JSON, not as a table.")
    ] = False,
) -> None:
    """Compare systems on tasks, item by item; the same command goes on where it stopped.

    Works on a champion, on any trial, or on models alone. Writes evaluation.json, evaluation.md
    and every answer, and records a run in MLflow.

    Systems: receiver, sharer, text_relay, text_relay_answer, routing, c2c, c2c_confident,
    few_shot, oracle, no_sharer, deranged, zeroed, noise, random, shut, anchors, self, ridge,
    lora, cartridge.

    Tasks: 2wiki, arc_challenge, arc_easy, boolq, ceval, gpqa, gsm8k, hotpotqa, longbench,
    math500, mmlu_pro, mmlu_redux, musique, openbookqa, qasc, quiz, ropes, squad, translation,
    truthfulqa_mc, winogrande.

    Example:

        $ c2c-search eval champion --systems receiver,text_relay,c2c --limit 300
        ...
        Written to mlruns/evaluations/champion.
    """
    announce(f"Looking for {target}", err=True)
    from c2c_search.evaluator.evaluate import evaluate
    from c2c_search.evaluator.request import Request
    from c2c_search.host.terminal import Console
    from c2c_search.report.evaluation import render

    request = Request(
        target=target,
        tasks=names(tasks, "--tasks"),
        systems=names(systems, "--systems"),
        root=root,
        study=study,
        sharer=sharer,
        template=template_named(template),
        method=method,
        length_normalised=length_normalised,
        limit=limit,
        seeds=seeds,
        seed=seed,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        level=level,
        wished=wished,
        contamination=contamination,
        latency=latency,
        lm_eval=names(lm_eval, "--lm-eval"),
        include_path=include_path,
        to=to,
        command=shlex.join(["c2c-search", *sys.argv[1:]]),
    )
    evaluated = evaluate(request)
    if as_json:
        echo_json(evaluated.record.model_dump_json(indent=1))
        return
    Console().print(render(evaluated.record))
    echo(f"Written to {evaluated.folder}.")
