"""A champion uploaded to a hub of this machine's own, file by file."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from c2c_search.champion.hub import push
from c2c_search.errors import ConfigError
from c2c_search.inference.manifest import CHAMPION_FILES


CHAMPION = Path(__file__).parents[1] / "assets" / "champion_before_the_move" / "champion"
# In a process of its own: the hub's address is read when its library is imported.
_CLIENT = """
import sys
from pathlib import Path
from c2c_search.champion.hub import push
from c2c_search.errors import C2CError
try:
    print(push(Path(sys.argv[1]), sys.argv[2]))
except C2CError as error:
    print(f"{type(error).__name__}: {error}")
"""


class _Hub(BaseHTTPRequestHandler):
    """Takes one repository; another one is somebody else's."""

    made: list[dict[str, Any]]
    files: dict[str, bytes]

    def do_GET(self) -> None:
        self._send({"id": "me/mine", "sha": "c" * 40, "siblings": []})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else self._chunks()
        if "/somebody/" in self.path:
            return self._send({"error": "You may not write here"}, 403)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            if asked.get("organization") != "me":
                return self._send({"error": "You may not write here"}, 403)
            self.made.append(asked)
            return self._send({"url": f"http://{self.headers['Host']}/me/mine"})
        if "/preupload/" in self.path:
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(body)["files"]
            ]
            return self._send({"files": files})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    held = line["value"]
                    self.files[held["path"]] = base64.b64decode(held["content"])
            url = f"http://{self.headers['Host']}/me/mine/commit/{'c' * 40}"
            return self._send({"commitUrl": url, "commitOid": "c" * 40})
        self._send({})

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        return found

    def _send(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    handler = type("Handler", (_Hub,), {"made": [], "files": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_champion_is_uploaded_and_a_refusal_is_told(
    hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")

    def upload(repo: str) -> str:
        command = [sys.executable, "-c", _CLIENT, str(CHAMPION), repo]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout

    assert "commit/" + "c" * 40 in upload("me/mine")
    handler: Any = hub.RequestHandlerClass
    assert [each["visibility"] for each in handler.made] == ["private"]
    assert handler.files.keys() == {*CHAMPION_FILES, "SHA256SUMS"}
    for name in CHAMPION_FILES:
        assert handler.files[name] == (CHAMPION / name).read_bytes()
    refused = upload("somebody/else")
    assert refused.startswith("SourceError: A champion is uploaded to a repository")
    assert "You may not write here" in refused or "403" in refused


@pytest.mark.parametrize("repo", ["mine", "a/b/c", "../x", ""])
def test_a_repository_is_owner_and_name(repo: str) -> None:
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        push(CHAMPION, repo)
