"""The site's reference pages, made of the models and commands themselves at every build."""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any

import typer
from mkdocs.structure.files import File

from c2c_search.cli.app import app
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.trial import TrialConfig
from c2c_search.space.declaration import SpaceFile


if TYPE_CHECKING:
    import click
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page


MODELS = {
    "space": (
        SpaceFile,
        "The space file",
        "What is searched: `c2c-search study --space FILE`. `spaces/names.yaml` explains every "
        "dimension and its price.",
    ),
    "pipeline": (
        Pipeline,
        "The pipeline file",
        "How every trial is trained, judged and proven. A space names its pipeline; "
        "`pipelines/quickstart.yaml` explains every setting.",
    ),
    "trial": (
        TrialConfig,
        "The trial",
        "One fuser's whole configuration, `trial.yaml` of every run. A space's dimensions are its "
        "fields by their dotted names, `fuser.rank` or `training.learning_rate`.",
    ),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs with the files of the site; adds the reference."""
    for name, (model, title, opening) in MODELS.items():
        text = "\n".join([f"# {title}", "", opening, "", *of_model(model.model_json_schema())])
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    text = "\n".join(["# Commands", "", *of_commands()])
    files.append(File.generated(config, "reference/commands.md", content=text))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Called by mkdocs with a page as it is written; names what the theme leaves unnamed."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def of_model(schema: dict[str, Any]) -> Iterator[str]:
    """Every section of a schema as a table of its fields, the sections within after it."""
    yield from _section(schema, schema["$defs"], "", set())


def _section(
    schema: dict[str, Any], parts: dict[str, Any], path: str, done: set[str]
) -> Iterator[str]:
    if path:
        yield from ("", f"## `{path}`", "")
        if told := schema.get("description"):
            yield from (escaped(told.split("\n\n")[0]), "")
    yield from ("| field | values | default | |", "|---|---|---|---|")
    inner = []
    for name, field in schema.get("properties", {}).items():
        within = _referred(field)
        given = "required" if name in schema.get("required", ()) else _shown(field.get("default"))
        if within and parts[within].get("properties"):
            inner.append((f"{path}.{name}".lstrip("."), within))
            given = "see below"
        told = escaped(field.get("description", ""))
        yield f"| `{name}` | {_values(field, parts)} | {given} | {told} |"
    for within_path, within in inner:
        if within not in done:
            done.add(within)
            yield from _section(parts[within], parts, within_path, done)


def _referred(field: dict[str, Any]) -> str | None:
    """The part of the schema that a field is, or may be."""
    for one in (field, field.get("items", {}), *field.get("anyOf", ())):
        if "$ref" in one:
            return str(one["$ref"]).rsplit("/", 1)[-1]
    return None


def _values(field: dict[str, Any], parts: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_values(one, parts) for one in field["anyOf"]))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        part = parts[str(field["$ref"]).rsplit("/", 1)[-1]]
        return "section" if "properties" in part else _values(part, parts)
    if "const" in field:
        return f"`{field['const']}`"
    kind = str(field.get("type", "anything"))
    if kind == "array":
        return f"list of {_values(field['items'], parts)}" if field.get("items") else "list"
    bounds = {"minimum": "≥ ", "exclusiveMinimum": "> ", "maximum": "≤ ", "exclusiveMaximum": "< "}
    told = [f"{sign}{field[name]}" for name, sign in bounds.items() if name in field]
    return ", ".join([kind, *told])


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) < 60 else "see the file"


def escaped(text: str) -> str:
    """Words of ours as a cell of a table; code in them stays code."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def of_commands() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield from _command(typer.main.get_command(app), "c2c-search")


def _command(command: click.Command, name: str) -> Iterator[str]:
    within = getattr(command, "commands", {})
    if within:
        for part, inner in within.items():
            yield from _command(inner, f"{name} {part}")
        return
    yield from ("", f"## `{name}`", "")
    for paragraph in (command.help or "").split("\n\n"):
        if paragraph.startswith(" "):
            yield from ("```console", textwrap.dedent(paragraph), "```", "")
        else:
            yield from (escaped(paragraph), "")
    if not command.params:
        return
    yield from ("| | default | |", "|---|---|---|")
    for parameter in command.params:
        flags = ", ".join(f"`{one}`" for one in (*parameter.opts, *parameter.secondary_opts))
        told = escaped(getattr(parameter, "help", None) or "")
        given = parameter.default
        shown = "" if given in (None, False, ()) or callable(given) else f"`{given}`"
        yield f"| {flags} | {escaped(shown)} | {told} |"
