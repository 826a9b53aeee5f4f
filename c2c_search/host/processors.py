"""How much of the processors this process gets, and how much other programs take."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


_IDLE = 3, 4  # fields of /proc/stat: idle, and waiting for a disk


@dataclass(frozen=True)
class ProcessorTime:
    """Processor seconds since the machine, or the process, was started.

    Args:
        own: Of this process.
        idle: Of processors without work.
        total: Of all processors, at work or not.
    """

    own: float
    idle: float
    total: float

    @classmethod
    def now(cls, root: Path = Path("/")) -> ProcessorTime | None:
        """As it stands; None where the system does not tell.

        Args:
            root: Where ``proc`` lies.
        """
        try:
            first = (root / "proc/stat").read_text(encoding="utf-8").splitlines()[0].split()
            # Guests' time is part of user's already.
            fields = [int(field) / os.sysconf("SC_CLK_TCK") for field in first[1:9]]
        except (OSError, ValueError, IndexError):
            return None
        own = os.times()
        return cls(own.user + own.system, sum(fields[n] for n in _IDLE), sum(fields))

    def others_since(self, before: ProcessorTime) -> float:
        """The share of all processors that other programs took, from 0 to 1."""
        total = self.total - before.total
        if total <= 0:
            return 0.0
        mine = (self.own - before.own) + (self.idle - before.idle)
        return min(max(1 - mine / total, 0.0), 1.0)
