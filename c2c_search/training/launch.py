"""The driver's end of the worker process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.host.children import child_environment
from c2c_search.host.children import python_command
from c2c_search.host.devices import WHOLE
from c2c_search.host.devices import Share
from c2c_search.host.dtypes import VARIABLE
from c2c_search.host.memory_shortage import MemoryWatch
from c2c_search.training.protocol import EVENT
from c2c_search.training.protocol import LAST
from c2c_search.training.protocol import Answer
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Join
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Request
from c2c_search.training.protocol import Train
from c2c_search.training.watchdog import Lines
from c2c_search.training.watchdog import Patience
from c2c_search.training.watchdog import SilenceError


if TYPE_CHECKING:
    from types import TracebackType

    from c2c_search.config.pipeline import Pipeline


PROGRAM = "c2c_search.training.worker"
_GRACE_SECONDS = 5.0


class Worker:
    """One worker process, started at the first request and again after it died.

    A context manager: the process is ended on the way out, and the kernel ends it if the driver
    is killed.

    Args:
        pipeline: The study's pipeline.
        log_file: Where the process's own output goes.
        cache_dir: Where models and prompt caches are kept; the user's cache folder by default.
        dtype: What the models compute in. None leaves the choice to the process (see
            `host.dtypes`), and keeps to it when the process is started again.
        share: Its part of the machine; all of it by default.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        log_file: Path,
        cache_dir: Path | None = None,
        dtype: str | None = None,
        share: Share = WHOLE,
    ) -> None:
        self.pipeline = pipeline
        self.log_file = log_file
        self.cache_dir = cache_dir
        self.dtype = dtype
        self.share = share
        self._process: subprocess.Popen[str] | None = None
        self._events: Lines | None = None
        self._patience = Patience()
        self._memory = MemoryWatch()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process; a trial in it goes on from its last checkpoint another time."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, self._events):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # a request that the dead process never read
                    continue

    def interrupt(self) -> None:
        """From any thread, end the process: what was asked of it fails in a way that may pass."""
        if (process := self._process) is not None:
            process.terminate()

    def answer(self, go_on: bool) -> None:
        """The word after a rung: go on, or stop."""
        self._send(Answer(go_on=go_on))

    def join(self, trials: Sequence[Train]) -> None:
        """The word after a trial's end in a group: who joins it."""
        self._send(Join(trials=tuple(trials)))

    def ask(self, request: Request) -> Iterator[Event]:
        """Send a request and yield what comes of it, up to one of `LAST`.

        After every rung of a training but its last, call `answer`; in a `TrainTogether` that is
        for the trial whose rung came, and `join` is to be called after each trial's end. A process
        that is silent for too long (`Patience`) hangs: it is killed, and the request has failed in
        a way that may pass.
        """
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        self._send(request)
        assert self._events is not None
        try:
            for line in self._events:
                event = EVENT.validate_json(line)
                if isinstance(event, Prepared):
                    self.dtype = event.dtype
                if isinstance(event, Failed) and self.pipeline.training.devices_per_trial > 1:
                    self.close()  # a group of ranks does not outlive a failure
                yield event
                if isinstance(event, LAST):
                    return
        except SilenceError as error:
            yield self._hung(error)
        else:
            yield self._died()

    def _hung(self, error: SilenceError) -> Failed:
        assert self._process is not None
        self._process.kill()
        self.close()
        return Failed(
            failure="transient",
            message=f"the worker process gave {error} and was ended; its last words are in "
            f"{self.log_file}",
        )

    def _died(self) -> Failed:
        """What the end of the process means: lack of memory only where there is evidence of it.

        Whoever else killed it, the request goes on from its checkpoint in a new process.
        """
        assert self._process is not None
        code, peak = _wait(self._process)
        self.close()
        short = code == -signal.SIGKILL and self._memory.was_short(peak)
        return Failed(
            failure="out_of_memory" if short else "transient",
            message=f"the worker process ended with code {code}"
            + (" (killed for lack of memory)" if short else "")
            + f"; its last words are in {self.log_file}",
        )

    def _send(self, request: Request) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request.model_dump_json() + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # it died: the end of its events tells
            return

    def _start(self) -> None:
        read, write = os.pipe()
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        command = python_command(
            "-m",
            PROGRAM,
            str(write),
            str(os.getpid()),
            self.pipeline.model_dump_json(),
            str(self.cache_dir or ""),
        )
        self._memory = MemoryWatch()
        # A session of its own: Ctrl-C at the terminal reaches the driver alone, which decides.
        with self.log_file.open("a") as log:
            self._process = _lasting(
                partial(
                    subprocess.Popen[str],
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=[write],
                    start_new_session=True,
                    text=True,
                    env=_environment(self.dtype, self.share),
                )
            )
        os.close(write)
        self._events = Lines(read, self._patience)


def _lasting(
    start: Callable[[], subprocess.Popen[str]],
) -> subprocess.Popen[str]:
    """Start a process in a thread that lasts as long as this process.

    The kernel ends a worker with the thread that started it (`process.die_with_parent`).
    """
    if threading.current_thread() is threading.main_thread():
        return start()
    return _starter().submit(start).result()


@cache
def _starter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="starter")


def _wait(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Wait for a process's end: its code, negative for a signal, and its most bytes held."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return process.returncode, unit * usage.ru_maxrss


def _environment(dtype: str | None, share: Share) -> dict[str, str]:
    """The driver's environment without what a launcher or a tracker left in it.

    Threads must be told before torch is loaded: it makes them when it first needs them.
    """
    dropped = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "MLFLOW_RUN_ID"}
    dropped |= {"C2C_SEARCH_OPTUNA_URL", "RAY_AUTH_TOKEN"}  # secrets that it has no use for
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    if dtype is not None:
        kept[VARIABLE] = dtype
    own = {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    return child_environment(kept) | own | share.environment(kept)
