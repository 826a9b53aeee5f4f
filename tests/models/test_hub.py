"""Repositories of the hub, and each way they can fail: no network, gated, unknown."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest


COMMIT = "c0ffee" + "0" * 34
CARD = "---\nlicense: other\nlicense_name: tiny-licence\nlicense_link: https://example.org\n---\n"

# Resolves every source of its arguments and prints what came of it, one JSON line each.
_CLIENT = """
import json, sys
from pathlib import Path
from c2c_search.errors import C2CError
from c2c_search.models.loading import resolve
for source in sys.argv[2:]:
    told, noticed = [], []
    try:
        found = resolve(source, cache_dir=Path(sys.argv[1]), notify=noticed.append,
                        progress=lambda *event: told.append(event))
        line = {"path": str(found.path), "identity": found.identity.model_dump()}
    except C2CError as error:
        line = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps({**line, "told": told, "noticed": noticed}))
"""


class _Hub(BaseHTTPRequestHandler):
    """Three repositories: one as it should be, one gated, one without safetensors."""

    folder: Path

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind, _, rest = self.path.split("?")[0].lstrip("/").removeprefix("api/").partition("/")
        repo = kind if kind != "models" else rest.split("/")[0]
        if self.path.startswith("/api/"):
            self._api(repo, rest)
        else:
            self._file(repo, self.path.rpartition("/")[2])

    def _names(self, repo: str) -> list[str]:
        names = [path.name for path in self.folder.iterdir()]
        kept = [name for name in names if repo != "pickled" or not name.endswith(".safetensors")]
        return [*kept, "pytorch_model.bin", "consolidated.safetensors", "onnx/model.onnx"]

    def _api(self, repo: str, rest: str) -> None:
        if repo == "missing":
            return self._send(b"{}", 404, {"X-Error-Code": "RepoNotFound"})
        if rest.endswith("/revision/nobranch"):
            return self._send(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        sizes = {name: self._size(name) for name in self._names(repo)}
        if "/tree/" in self.path:
            tree = [
                {"type": "file", "path": name, "size": size, "oid": self._oid(name)}
                for name, size in sizes.items()
            ]
            return self._send(json.dumps(tree).encode(), 200)
        siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
        info = {"id": repo, "sha": COMMIT, "siblings": siblings, "private": False}
        return self._send(json.dumps(info).encode(), 200)

    def _file(self, repo: str, name: str) -> None:
        if repo == "gated":
            return self._send(b"", 403, {"X-Error-Code": "GatedRepo"})
        headers = {"ETag": f'"{self._oid(name)}"', "X-Repo-Commit": COMMIT}
        return self._send((self.folder / name).read_bytes(), 200, headers)

    def _size(self, name: str) -> int:
        path = self.folder / name
        return path.stat().st_size if path.exists() else 10**15

    def _oid(self, name: str) -> str:
        return hashlib.sha1(name.encode()).hexdigest()

    def _send(self, content: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tiny_folder: Path, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "served"))
    (folder / "README.md").write_text(CARD)
    _Hub.folder = folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _resolve(hub: ThreadingHTTPServer, cache: Path, *sources: str) -> list[dict[str, Any]]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(cache.parent / "hf"),
        "NO_PROXY": "*",
        "no_proxy": "*",
    }
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, str(cache), *sources],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_hub_online_then_gone(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    found, again, gated, missing, revision, pickled = _resolve(
        hub,
        cache,
        "hf:tiny",
        "hf:tiny",
        "hf:gated",
        "hf:missing",
        "hf:tiny@nobranch",
        "hf:pickled",
    )
    path = Path(found["path"])
    assert sorted(file.name for file in path.iterdir()) == sorted(
        file.name for file in _Hub.folder.iterdir()
    )
    identity = found["identity"]
    assert (identity["source"], identity["revision"]) == ("hf:tiny", COMMIT)
    assert (identity["licence"], identity["licence_url"]) == (
        "tiny-licence",
        "https://example.org",
    )
    assert found["noticed"] == ["hf:tiny: licence tiny-licence (https://example.org)."]
    total = sum(file.stat().st_size for file in _Hub.folder.iterdir())
    downloads = [event for event in found["told"] if event[0] == "download"]
    assert downloads[-1][1:3] == [total, total]
    assert again["identity"] == identity
    assert not again["noticed"]
    assert "accepted its licence" in gated["error"]
    assert "exists and that you may read" in missing["error"]
    assert "branch, tag or commit" in revision["error"]
    assert "must hold safetensors" in pickled["error"]

    hub.shutdown()
    hub.server_close()
    known, elsewhere = _resolve(hub, cache, "hf:tiny", "hf:other")
    assert known["identity"] == identity
    assert "needs the hub" in elsewhere["error"]
    assert "path:DIR" in elsewhere["error"]
    # Fetched by another tool: in the hub's cache, but not in our records.
    (unrecorded,) = _resolve(hub, tmp_path / "other cache", f"hf:tiny@{COMMIT}")
    assert unrecorded["identity"] == {**identity, "source": f"hf:tiny@{COMMIT}"}
