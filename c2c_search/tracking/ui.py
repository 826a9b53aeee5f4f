"""The MLflow UI on a store, as one child process that ends with this one."""

from __future__ import annotations

import ipaddress
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING
from urllib.request import urlopen

from c2c_search.errors import C2CError
from c2c_search.errors import StoreError
from c2c_search.host.children import child_environment
from c2c_search.host.children import python_command
from c2c_search.tracking import environment
from c2c_search.tracking import mlflow_store
from c2c_search.tracking import server_guard
from c2c_search.tracking.views import ui_link


if TYPE_CHECKING:
    from c2c_search.host.terminal import Console


START_SECONDS = 120.0
STOP_SECONDS = 10.0
LOG = "ui.log"
EVERY_ADDRESS = ("0.0.0.0", "::")


class _Stop(BaseException):
    """Raised by the signals that end the UI; nothing on the way may take it for an error."""


def serve(
    root: Path, *, host: str = "127.0.0.1", port: int = 5000, console: Console | None = None
) -> None:
    """Serve the MLflow UI on the store under ``root`` until SIGINT or SIGTERM.

    Args:
        root: Folder of the local store, e.g. ``mlruns``.
        host: Address to listen on; only this machine's by default.
        port: Port to listen on.
        console: Where the links go; stdout by default.

    Raises:
        StoreError: There is no store, or it cannot be read.
        C2CError: The port is taken, or the server does not start.
    """
    from c2c_search.host.terminal import Console

    console = console or Console()
    if not (root / mlflow_store.DATABASE).is_file():
        raise StoreError(
            "A tracking store must exist before it can be shown.",
            value=str(root / mlflow_store.DATABASE),
            hint="Run `c2c-search study` first, or name the folder it wrote to.",
        )
    uri = mlflow_store.open_store(root)
    experiments = _experiments(uri)
    port = _free_port(host, port)
    base = f"http://{_reachable(host)}:{port}"
    with _until_signalled(), _server(root, uri, host, port) as server:
        console.print(f"Starting the MLflow UI on {base} (about 10 seconds) ...", highlight=False)
        _await_answer(server, base, root / LOG)
        for name, experiment_id in experiments:
            console.print(f"\n{name}", style="bold", highlight=False)
            for what, charts in (("leaderboard", False), ("charts", True)):
                link = ui_link(base, experiment_id, charts=charts)
                console.print(f"  {what:<12}{link}", soft_wrap=True, highlight=False)
        console.print("\nPress Ctrl-C to stop.", highlight=False)
        server.wait()
        raise _ended(server, root / LOG)


def _experiments(uri: str) -> list[tuple[str, str]]:
    """Name and id of every experiment but MLflow's empty default, the latest first."""
    found = mlflow_store.connect(uri).search_experiments(order_by=["last_update_time DESC"])
    return [(each.name, each.experiment_id) for each in found if each.name != "Default"]


def _free_port(host: str, port: int) -> int:
    """The port, if it can be listened on; a free one for 0.

    Raises:
        C2CError: It cannot; or the address means every address of this machine without saying so.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise C2CError(
                f"The MLflow UI must be able to listen on {host}:{port} ({error}).",
                hint="Name another port with --port.",
            ) from error
        address, found = probe.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified and host not in EVERY_ADDRESS:
        raise C2CError(
            "The address to listen on must be one of this machine's.",
            value=host,
            hint=f"Leave --host out for this machine alone; {' or '.join(EVERY_ADDRESS)} lets in"
            " everybody who reaches this machine.",
        )
    return int(found)


def _reachable(host: str) -> str:
    if host in EVERY_ADDRESS:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


@contextmanager
def _until_signalled() -> Iterator[None]:
    """Leave the block quietly when a signal asks for the end."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stop

    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in asked}
    try:
        yield
    except _Stop:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _server(root: Path, uri: str, host: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment.prepare()
    command = python_command("-m", "mlflow", "server", "--backend-store-uri", uri)
    command += ["--registry-store-uri", uri, "--no-serve-artifacts"]
    command += ["--default-artifact-root", (root.resolve() / mlflow_store.ARTIFACTS).as_uri()]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    # uvicorn puts the working folder on the path of its own accord; this folder is on it already.
    installed = shlex.quote(str(Path(server_guard.__file__).parents[2]))
    command += ["--uvicorn-opts", f"--log-level=warning --app-dir={installed}"]
    with (root / LOG).open("wb") as log:
        # A session of its own: Ctrl-C reaches us alone, and we end the launcher with its worker.
        server = subprocess.Popen(
            python_command(str(Path(server_guard.__file__)), *command),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=child_environment(os.environ),
        )
        try:
            yield server
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the launcher and its worker; the port is free again afterwards."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        try:
            os.killpg(server.pid, number)
            while time.monotonic() < deadline:
                server.poll()
                os.killpg(server.pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return


def _ended(server: subprocess.Popen[bytes], log: Path) -> C2CError:
    return C2CError(
        f"The MLflow server must keep running; it ended with code {server.returncode}.",
        hint=f"See {log} for the reason.",
    )


def _await_answer(server: subprocess.Popen[bytes], base: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise _ended(server, log)
        with suppress(OSError), urlopen(f"{base}/health", timeout=5):
            return
        time.sleep(0.2)
    raise C2CError(
        f"The MLflow server must answer within {START_SECONDS:.0f} seconds.", value=base
    )
