"""``serve``, champions behind an API that clients already speak."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated

import typer

from c2c_search.cli.options import announce
from c2c_search.errors import ConfigError


API_KEY = "C2C_SEARCH_API_KEY"
_SHORTEST_KEY = 16


def serve(
    champions: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Champions' folders.", show_default=False),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs a key.")
    ] = "127.0.0.1",
    batch: Annotated[
        int, typer.Option(min=1, max=1024, help="Answers of a system decoded together.")
    ] = 16,
    queue: Annotated[int, typer.Option(min=0, max=100_000, help="Answers that may wait.")] = 64,
    max_tokens: Annotated[int, typer.Option(min=1, max=100_000, help="Most of an answer.")] = 1024,
    max_context: Annotated[
        int, typer.Option(min=2, max=1_000_000, help="Tokens of a prompt with its answer.")
    ] = 8192,
    cache_mb: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="MB of prompts that are kept.")
    ] = 512,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds an answer may take.")] = 300.0,
) -> None:
    """Serve champions by OpenAI's API, with a page to ask them at /, until Ctrl-C.

    Each is a model of its folder's name; NAME/receiver, NAME/sharer and NAME/text-relay answer
    beside it. C2C_SEARCH_API_KEY holds the key that clients must show.

    Example:

        $ c2c-search serve champion
        http://127.0.0.1:8000  (page at /, API at /v1)
        models: champion, champion/receiver, champion/sharer, champion/text-relay
    """
    key = os.environ.get(API_KEY) or None
    local = _is_local(host)
    if key is None and not local:
        raise ConfigError(
            "A server that others reach needs a key.",
            value=f"--host {host}",
            hint=f"Set {API_KEY} to a secret of {_SHORTEST_KEY} characters, or leave --host out.",
        )
    if key is not None and (
        len(key) < _SHORTEST_KEY or not key.isascii() or not key.isprintable()
    ):
        raise ConfigError(
            f"{API_KEY} must be at least {_SHORTEST_KEY} printable ASCII characters.",
            value=f"{len(key)} characters",
        )
    announce("Loading the champions", err=True)
    from c2c_search.server.limits import ServerLimits
    from c2c_search.server.run import run

    limits = ServerLimits(
        batch=batch,
        queue=queue,
        max_tokens=max_tokens,
        context_tokens=max_context,
        kept_bytes=cache_mb * 2**20,
        seconds=timeout,
    )
    run(champions, host=host, port=port, limits=limits, api_key=key, local=local)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise ConfigError(
            "--host must be an address of this machine.", value=host, hint="For example 0.0.0.0."
        ) from error
