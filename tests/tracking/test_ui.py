from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
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
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(C2CError, match=r"must keep running.*ui\.log"):
        ui.serve(root, port=0, console=Console(file=io.StringIO()))


def test_the_server_is_ended_with_all_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nsleep 60 &\necho $! > child\nwait\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(script))
    with ui._server(tmp_path, "sqlite:///x", "127.0.0.1", 5000) as server:
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            time.sleep(0.01)
        child = int((tmp_path / "child").read_text())
    assert server.poll() is not None
    deadline = time.monotonic() + 10
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running(child)


def test_the_server_ends_when_the_ui_is_killed(root: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from c2c_search.tracking import ui\n"
        "with ui._server(Path(sys.argv[1]), sys.argv[2], '127.0.0.1', 0) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    time.sleep(100)\n"
    )
    command = [sys.executable, str(program), str(root), f"sqlite:///{root}/mlflow.db"]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    group = int(killed.stdout.readline())
    deadline = time.monotonic() + 60
    while len(members(group)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(members(group)) >= 2
    killed.kill()
    killed.wait()
    while members(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not members(group)


@pytest.mark.parametrize("host", ["", "0", "0x0"])
def test_every_address_is_listened_on_only_when_it_is_said(root: Path, host: str) -> None:
    with pytest.raises(C2CError, match=r"0\.0\.0\.0 or :: lets in everybody"):
        ui.serve(root, host=host)


def test_the_server_imports_nothing_from_the_working_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("mlflow", "uvicorn", "random", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'PWNED')!r}, 'a').write('x')\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    Tracker.open(root, "demo")
    port = ui._free_port("127.0.0.1", 0)
    uri = ui.mlflow_store.open_store(root)
    with ui._server(root, uri, "127.0.0.1", port) as server:
        ui._await_answer(server, f"http://127.0.0.1:{port}", root / ui.LOG)
    assert not (tmp_path / "PWNED").exists()


def members(group: int) -> list[int]:
    """Processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
