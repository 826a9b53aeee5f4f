"""Champions' folders loaded, and served until the process is told to end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import ConfigError
from c2c_search.host.names import fit
from c2c_search.inference.documents import sharer_context
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.model import C2CModel
from c2c_search.server.serving import ServedChampion
from c2c_search.tokenization.templates import asked_about


try:
    import prometheus_client  # noqa: F401
    import uvicorn
    from fastapi import FastAPI  # noqa: F401
except ImportError as error:
    raise ConfigError(
        "Serving needs packages that are not installed.",
        value=error.name,
        hint="Install them with: pip install 'c2c-search[serve]'",
    ) from error


if TYPE_CHECKING:
    from c2c_search.inference.manifest import Manifest
    from c2c_search.server.limits import ServerLimits


_EXAMPLES = 8  # on the page
# oneDNN keeps a kernel for each shape that it has met, by default 1,024 of 0.3 MB or more: prompts
# of ever new lengths would take as much memory again as small models do. torch keeps as many more
# (LRU_CACHE_CAPACITY), also those that oneDNN has given up; without, it finds oneDNN's as fast.
_KERNELS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256", "LRU_CACHE_CAPACITY": "1"}
_GRACE_SECONDS = 20  # for answers that are being written when the server is told to end


def run(
    folders: Sequence[Path],
    *,
    host: str,
    port: int,
    limits: ServerLimits,
    api_key: str | None,
    local: bool,
) -> None:
    """Serve champions until the process is told to end; answers that are being written go on.

    Args:
        folders: Of the champions.
        host: Address to listen on.
        port: Port; 0: any free one.
        limits: What is taken on.
        api_key: What clients must show.
        local: Whether the address is this machine's alone, and nothing else is answered to.

    Raises:
        ConfigError: Two champions have one name, or the address cannot be had.
        IntegrityError: A champion is not as it was measured.
    """
    from c2c_search.server.app import create_app

    for name, count in _KERNELS.items():
        os.environ.setdefault(name, count)
    champions = _loaded(folders)
    hosts = ["localhost", "127.0.0.1", "[::1]", "::1", host] if local else ["*"]
    app = create_app(champions, limits, api_key=api_key, hosts=hosts)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        limit_concurrency=4 * (limits.batch + limits.queue),
    )
    server = uvicorn.Server(config)
    with _listening(config) as socket:
        found = socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        names = ", ".join(app.state.server.systems)
        print(f"http://{shown}:{found}  (page at /, API at /v1)\nmodels: {names}", file=sys.stderr)
        server.run([socket])


def _listening(config: uvicorn.Config) -> Any:
    try:
        return config.bind_socket()
    except SystemExit as error:  # uvicorn's way of saying so
        raise ConfigError(
            "The address must be free.",
            value=f"{config.host}:{config.port}",
            hint="Name another --port, or 0 for any.",
        ) from error


def _loaded(folders: Sequence[Path]) -> list[ServedChampion]:
    manifests = [read_manifest(folder) for folder in folders]
    names = [fit(folder.resolve().name) for folder in folders]
    if len({*names}) < len(names):
        raise ConfigError(
            "Champions that are served together need folders of different names.",
            value=", ".join(names),
            hint="Copy one into a folder of another name.",
        )
    return [
        _champion(name, folder, manifest)
        for name, folder, manifest in zip(names, folders, manifests, strict=True)
    ]


def _champion(name: str, folder: Path, manifest: Manifest) -> ServedChampion:
    model = C2CModel.from_pretrained(folder)
    beside = model.fuser is not None and model.fuser.config.stands_beside
    document = partial(sharer_context, manifest) if beside else None
    return ServedChampion(name, model, document, about(model, manifest))


def _examples(manifest: Manifest) -> list[dict[str, str | None]]:
    """Questions that the champion was asked when it was packaged, and what its sharer read."""
    found = []
    for each in manifest.questions[:_EXAMPLES]:
        read = each.sharer_context
        document = None if read is None else read.removesuffix(asked_about("", each.question))
        found.append({"question": each.question, "document": document})
    return found


def about(model: C2CModel, manifest: Manifest) -> dict[str, Any]:
    """What the page tells of a champion: its models, and how far each layer listens."""
    fuser = model.fuser
    assert fuser is not None
    if fuser.gate is None:
        opened = {"keys": [1.0] * len(fuser.layers), "values": [1.0] * len(fuser.layers)}
    else:
        opened = fuser.gate.open_by_layer()
    return {
        "receiver": manifest.pair.receiver.source,
        "sharer": manifest.pair.sharer.source,
        "injection": fuser.config.injection,
        "message": fuser.config.message,
        "reads_document": fuser.config.stands_beside,
        "contexts_only": fuser.contexts_only,
        "examples": _examples(manifest),
        "receiver_layers": fuser.receiver_shape.layers,
        "layers": [
            {"layer": layer, "sources": sources, "keys": keys, "values": values}
            for layer, sources, keys, values in zip(
                fuser.layers,
                fuser.sources.tolist(),
                opened["keys"],
                opened["values"],
                strict=True,
            )
        ],
    }
