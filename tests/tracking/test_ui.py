from __future__ import annotations

import io
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from c2c_search.errors import C2CError
from c2c_search.errors import StoreError
from c2c_search.tracking import Tracker
from c2c_search.tracking import ui


def test_no_store_to_show(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="must exist"):
        ui.serve(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_taken_port_is_refused_before_anything_starts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui, "_server", lambda *_: pytest.fail("started"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(C2CError, match="another port"):
            ui.serve(root, port=taken.getsockname()[1])


@pytest.mark.parametrize("host", ["no such host", "203.0.113.1"])
def test_an_address_of_another_machine_is_refused(root: Path, host: str) -> None:
    with pytest.raises(C2CError, match="able to listen"):
        ui.serve(root, host=host)


def test_the_links_are_printed_once_it_answers_and_a_signal_ends_it_quietly(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker.open(root, "demo")
    ended = []

    @contextmanager
    def server(root: Path, uri: str, host: str, port: int) -> Iterator[SimpleNamespace]:
        try:
            yield SimpleNamespace(wait=lambda: os.kill(os.getpid(), signal.SIGTERM), poll=None)
        finally:
            ended.append(port)

    monkeypatch.setattr(ui, "_server", server)
    monkeypatch.setattr(ui, "_await_answer", lambda *_: None)
    before = signal.getsignal(signal.SIGTERM)
    console = Console(record=True, width=60, file=io.StringIO())
    ui.serve(root, port=0, console=console)
    assert ended
    link = f"http://127.0.0.1:{ended[0]}/#/experiments/{tracker.experiment_id}/runs"
    assert link in console.export_text()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_server_that_dies_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui.sys, "executable", "/bin/false")
    with pytest.raises(C2CError, match=r"must keep running.*ui\.log"):
        ui.serve(root, port=0, console=Console(file=io.StringIO()))


def test_the_server_is_ended_with_all_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nsleep 60 &\necho $! > child\nwait\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ui.sys, "executable", str(script))
    with ui._server(tmp_path, "sqlite:///x", "127.0.0.1", 5000) as server:
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            time.sleep(0.01)
        child = int((tmp_path / "child").read_text())
    assert server.poll() is not None
    deadline = time.monotonic() + 10
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running(child)


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
