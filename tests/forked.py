"""Something that ends its process, run in a copy of the test's own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable


SECONDS = 240.0  # a busy machine may take a minute


def exit_code(run: Callable[[], object]) -> int:
    """Exit code of a copy of this process that runs something; 0 if it does not end the process.

    A copy has the locks of this process's other threads, but not the threads: one that waits for
    such a lock would wait for ever, and is killed. Nothing of the copy comes back into pytest.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    until = time.monotonic() + SECONDS
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError(f"the copy has not ended in {SECONDS:.0f} s")
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])
