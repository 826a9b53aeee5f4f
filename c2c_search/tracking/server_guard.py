"""The program between ``ui`` and its server, which ends the server when ``ui`` is gone.

Run by its path, with the server's command as arguments, in a session of its own. The pipe on
standard input closes however ``ui`` ended, by SIGKILL too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time


STOP_SECONDS = 10.0


def main() -> None:
    """Run a command to its end, or until standard input closes."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    alone = threading.Event()
    threading.Thread(target=_end_with_parent, args=(alone,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: None)  # the child has it too, and is waited for
    code = child.wait()
    if alone.is_set():  # its workers may be slower
        time.sleep(2 * STOP_SECONDS)
    sys.exit(code)


def _end_with_parent(alone: threading.Event) -> None:
    # Not sys.stdin, whose lock would keep the interpreter from ending.
    while os.read(0, 1):
        continue
    alone.set()
    # The group is the server, its workers and this process.
    os.killpg(0, signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
