"""``package``, a champion as a stranger installs one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from typing import Literal

import typer

from c2c_search.cli.echo import echo
from c2c_search.errors import ConfigError


Layout = Literal["wheel", "mlflow", "custom_generate", "rosetta", "semantic-router"]


def package(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A champion's folder, exported or not.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="Folder to write.", show_default="dist, or dist/FORMAT")
    ] = None,
    wheel: Annotated[
        bool, typer.Option("--wheel", help="As --format wheel: champion-NAME, for pip.")
    ] = False,
    layout: Annotated[
        Layout | None,
        typer.Option(
            "--format",
            help="mlflow: a model from code; custom_generate: for transformers' generate; "
            "rosetta: the fuser in the published C2C layout; semantic-router: affine maps for "
            "vLLM's semantic router.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What the package is imported as.", show_default="the champion's"),
    ] = None,
    bundle_models: Annotated[
        bool,
        typer.Option("--bundle-models", help="Put both models in; mind their licences."),
    ] = False,
    dockerfile: Annotated[
        bool, typer.Option("--dockerfile", help="Write a Dockerfile beside the wheel.")
    ] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="Upload the champion to OWNER/NAME of the hub."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="A repository that is made is public, not private.")
    ] = False,
) -> None:
    """Package a champion under a name of its own, or for MLflow, transformers or the hub.

    Two such packages and c2c-search live side by side in one environment and one process.

    Example:

        $ c2c-search package champion --wheel --name my-champion
        Wrote dist/champion_my_champion-2026.11.30-py3-none-any.whl. Anywhere:
          pip install 'dist/champion_my_champion-2026.11.30-py3-none-any.whl'
          ...
    """
    if wheel and layout not in (None, "wheel"):
        raise ConfigError(
            "A champion is packaged in one format at a time.",
            value=f"--wheel --format {layout}",
            hint="Leave one of them out.",
        )
    chosen: Layout | None = "wheel" if wheel or dockerfile else layout
    if dockerfile and layout not in (None, "wheel"):
        raise ConfigError("A Dockerfile installs a wheel.", value=f"--format {layout}")
    if chosen is None and push_to_hub is None:
        raise ConfigError(
            "What a champion is packaged as must be named.",
            hint="Say --wheel, --format or --push-to-hub.",
        )
    if chosen in ("rosetta", "semantic-router") and (name or bundle_models):
        raise ConfigError(
            "This format holds a fuser, neither a name nor models.",
            hint="Leave --name and --bundle-models out.",
        )
    if chosen is not None:
        where = to or (Path("dist") if chosen == "wheel" else Path("dist") / chosen)
        _write(chosen, directory, where, name, bundle_models, dockerfile)
    if push_to_hub is not None:
        from c2c_search.champion.hub import push

        url = push(directory, push_to_hub, bundle_models=bundle_models, private=not public)
        echo(f"Uploaded to {url}. Anywhere:\n  C2CModel.from_pretrained('{push_to_hub}')")


def _write(
    layout: Layout, champion: Path, to: Path, name: str | None, bundle: bool, dockerfile: bool
) -> None:
    from c2c_search.champion import formats

    if layout == "wheel":
        _wheel(champion, to, name, bundle, dockerfile)
    elif layout == "mlflow":
        formats.write_mlflow(champion, to, name=name, bundle_models=bundle)
        echo(f"Wrote {to}. Load it with\n  mlflow.pyfunc.load_model('{to}').predict(['...'])")
    elif layout == "custom_generate":
        formats.write_custom_generate(champion, to, name=name, bundle_models=bundle)
        echo(
            f"Wrote {to}. With its receiver:\n"
            f"  receiver.generate(**inputs, custom_generate='{to.absolute()}', "
            "trust_remote_code=True)"
        )
    elif layout == "semantic-router":
        from c2c_search.champion.kv_mapper import write_kv_mapper

        written = write_kv_mapper(champion, to)
        echo(f"Wrote {written}. The router names it as\n  x-vsr-kv-mapper-id: {written.name}")
    else:
        from c2c_search.champion.export import export_rosetta

        export_rosetta(champion, to)
        echo(f"Wrote the fuser to {to}, in the layout of the published C2C code.")


def _wheel(champion: Path, to: Path, name: str | None, bundle: bool, dockerfile: bool) -> None:
    from c2c_search.champion.dockerfile import write_dockerfile
    from c2c_search.champion.vendored import import_name
    from c2c_search.champion.wheel import distribution
    from c2c_search.champion.wheel import needs_gguf
    from c2c_search.champion.wheel import write_wheel
    from c2c_search.inference.manifest import read_manifest

    written = write_wheel(champion, to, name=name, bundle_models=bundle)
    manifest = read_manifest(champion)
    package = import_name(name or manifest.name)
    gguf = needs_gguf(manifest) and not bundle
    extra = "[gguf]" if gguf else ""
    echo(
        f"Wrote {written}. Anywhere:\n"
        f"  pip install '{written}{extra}'\n"
        f"  python -c \"import {package}; print({package}.load().generate('...'))\""
    )
    if dockerfile:
        file = write_dockerfile(written, package, distribution(package), gguf=gguf)
        echo(f"Wrote {file}: docker build -t {distribution(package)} {to}")
