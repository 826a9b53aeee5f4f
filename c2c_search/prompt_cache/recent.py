"""What was read last, kept within so many bytes, whoever read it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any


class RecentlyRead:
    """Values of several owners; those that were used longest ago go first.

    Several threads may use it at once.

    Args:
        most_bytes: Of all values together; one that is larger is not kept.
    """

    def __init__(self, most_bytes: float = math.inf) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        """Kept now."""
        self._kept: OrderedDict[tuple[Hashable, Hashable], tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, owner: Hashable, key: Hashable) -> Any:
        """A value, which counts as used now; None if it is not kept."""
        with self._lock:
            if (owner, key) not in self._kept:
                return None
            self._kept.move_to_end((owner, key))
            return self._kept[owner, key][0]

    def of(self, owner: Hashable) -> list[tuple[Any, Any]]:
        """Keys and values of an owner, those used last in front."""
        with self._lock:
            kept = reversed(self._kept.items())
            return [(key, value) for (whose, key), (value, _) in kept if whose == owner]

    def put(self, owner: Hashable, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of so many bytes, in the place of others where there is no room."""
        self.drop(owner, key)
        if size > self.most_bytes:
            return
        with self._lock:
            self._kept[owner, key] = value, size
            self.bytes += size
            while self.bytes > self.most_bytes:
                _, (_, freed) = self._kept.popitem(last=False)
                self.bytes -= freed

    def drop(self, owner: Hashable, key: Hashable) -> None:
        """Forget a value, if it is kept."""
        with self._lock:
            _, freed = self._kept.pop((owner, key), (None, 0))
            self.bytes -= freed
