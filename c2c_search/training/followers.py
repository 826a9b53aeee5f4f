"""The other ranks of a trial that trains on several devices, as the first one starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import ExitStack
from contextlib import suppress
from pathlib import Path
from queue import Empty
from queue import SimpleQueue
from typing import TYPE_CHECKING

from c2c_search.errors import ConfigError
from c2c_search.host.children import child_environment
from c2c_search.host.children import python_command
from c2c_search.host.devices import VISIBLE
from c2c_search.host.devices import gpus
from c2c_search.host.files import scratch
from c2c_search.host.threads import THREAD_VARIABLES
from c2c_search.training.protocol import EVENT
from c2c_search.training.protocol import LAST
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed


if TYPE_CHECKING:
    from c2c_search.training.protocol import Pace
    from c2c_search.training.protocol import Train
    from c2c_search.training.protocol import TrainTogether


PROGRAM = "c2c_search.training.follower"
RANKS_VARIABLE = "C2C_SEARCH_RANKS"
LAST_WORDS_SECONDS = 1.0
"""After one rank's end: the others break off, too, and who knows why has said so by then."""


def ranks_for(devices: int, environment: Mapping[str, str]) -> int:
    """How many processes train a trial of so many devices: as many, where they are at hand.

    With fewer GPUs it is the largest number of them that divides the work evenly; on the CPU a
    device is a process.

    Args:
        devices: `TrainingConfig.devices_per_trial`.
        environment: Names the GPUs; C2C_SEARCH_RANKS in it is the most that there may be.

    Raises:
        ConfigError: The environment names no positive whole number.
    """
    most = len(gpus(environment)) or devices
    if text := environment.get(RANKS_VARIABLE):
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise ConfigError(
                f"{RANKS_VARIABLE} must be a whole number above 0.",
                value=text,
                hint="Unset it for as many ranks as training.devices_per_trial says.",
            )
        most = min(most, int(text))
    return max(count for count in range(1, min(devices, most) + 1) if devices % count == 0)


class Followers:
    """Processes that follow this one, rank 0, through its trainings.

    One that ends, or fails by itself, leaves the others waiting for ever: then ``abort`` is
    called, from a thread, with what is known about it. The kernel ends them with this process.

    Args:
        count: Ranks, this one included.
        pipeline: The study's, as JSON.
        cache_dir: As for the worker.
        threads: That this process has by itself; they are divided.
        abort: Ends this process, having told the driver.
    """

    def __init__(
        self,
        count: int,
        pipeline: str,
        cache_dir: str,
        *,
        threads: int,
        abort: Callable[[Failed], None],
    ) -> None:
        self._abort = abort
        self._heard: SimpleQueue[tuple[int, Event | None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._stack = ExitStack()
        self.rendezvous = self._meeting_place()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        for rank in range(1, count):
            self._processes[rank] = self._start(rank, count, pipeline, cache_dir, threads)
        threading.Thread(target=self._watch, daemon=True, name="followers").start()

    def begin(self, request: Train | TrainTogether | Pace) -> None:
        """Let all begin a training."""
        for process in self._processes.values():
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it died: `_watch` tells
                process.stdin.write(request.model_dump_json() + "\n")
                process.stdin.flush()

    def end(self) -> None:
        """Wait until all have ended it."""
        for _ in self._processes:
            self._idle.acquire()

    def close(self) -> None:
        """End all."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._stack.close()

    def _meeting_place(self) -> Path:
        """A file that all ranks can open; on Linux one in memory, of which no kill leaves any."""
        if sys.platform == "linux":
            descriptor = os.memfd_create("ranks")
            self._stack.callback(os.close, descriptor)
            return Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        return self._stack.enter_context(scratch("c2c-search-ranks")) / "rendezvous"

    def _start(
        self, rank: int, count: int, pipeline: str, cache_dir: str, threads: int
    ) -> subprocess.Popen[str]:
        read, write = os.pipe()
        place = (str(rank), str(count), str(self.rendezvous))
        process = subprocess.Popen(
            python_command(
                "-m", PROGRAM, str(write), str(os.getpid()), pipeline, cache_dir, *place
            ),
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno(),
            stderr=sys.stderr.fileno(),
            pass_fds=[write],
            text=True,
            env=follower_environment(os.environ, rank, max(1, threads // count)),
        )
        os.close(write)
        threading.Thread(target=self._hear, args=(rank, read), daemon=True).start()
        return process

    def _hear(self, rank: int, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    self._heard.put((rank, EVENT.validate_json(line)))
        self._heard.put((rank, None))

    def _watch(self) -> None:
        while True:
            rank, event = self._heard.get()
            if isinstance(event, LAST) and not isinstance(event, Failed):
                self._idle.release()
                continue
            time.sleep(LAST_WORDS_SECONDS)
            found = [self._words(rank, event)]
            with suppress(Empty):
                while True:
                    found.append(self._words(*self._heard.get_nowait()))
            # That another rank has gone breaks a rank's connection, which is known for nothing.
            self._abort(min(found, key=_ignorance))

    def _words(self, rank: int, event: Event | None) -> Failed:
        if isinstance(event, Failed):
            return event.model_copy(update={"message": f"rank {rank}: {event.message}"})
        code = self._processes[rank].wait() if event is None else 0
        return Failed(
            failure="transient", message=f"rank {rank} of the trial ended with code {code}"
        )


def _ignorance(failed: Failed) -> int:
    known = {"unknown": 2, "transient": 1}
    return known.get(failed.failure, 0)


def follower_environment(
    environment: Mapping[str, str], rank: int, threads: int
) -> dict[str, str]:
    """Of a rank: a GPU of its own, and its part of the threads."""
    kept = child_environment(environment) | dict.fromkeys(THREAD_VARIABLES, str(threads))
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        kept.pop(name, None)
    if devices := gpus(environment):
        kept[VISIBLE] = devices[rank]
    return kept
