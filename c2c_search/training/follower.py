"""The process of a rank that follows the first one; see `training.followers`."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from c2c_search.training.process import die_with_parent
from c2c_search.training.process import keep_freed_memory
from c2c_search.training.protocol import LAST
from c2c_search.training.protocol import Event
from c2c_search.training.worker import Server
from c2c_search.training.worker import describe


def main() -> None:
    """Follow trainings until standard input closes."""
    descriptor, parent, pipeline, cache_dir, rank, count, rendezvous = sys.argv[1:8]
    die_with_parent(int(parent))
    keep_freed_memory()
    from c2c_search.training.ranks import Ranks
    from c2c_search.training.ranks import belong_to

    belong_to(Ranks(int(rank), int(count), Path(rendezvous)))
    events = os.fdopen(int(descriptor), "w", buffering=1, encoding="utf-8")
    FollowingServer(sys.stdin, events, pipeline, cache_dir).serve()


class FollowingServer(Server):
    """Does what the first rank is asked, and says no more than how it ended."""

    def serve(self) -> None:
        """Train one thing after the other; the first failure is the end of the group."""
        while (request := self._read()) is not None:
            try:
                self.emit(self._answer(request))
            except Exception as error:
                traceback.print_exc()
                self.emit(describe(error))
                os._exit(1)  # the group's connections would be waited for

    def emit(self, event: Event) -> None:
        """Send the last event of a request."""
        if isinstance(event, LAST):
            super().emit(event)


if __name__ == "__main__":
    main()
