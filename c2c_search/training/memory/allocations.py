"""How many bytes of tensors are alive at the peak of what runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Counts the tensors of one device that are made within it, forward and backward.

    A tensor counts from the operation that makes it until nothing holds its storage any more;
    views count nothing. What an operation claims and gives back inside itself is not seen.

    Args:
        device: Type of the device, e.g. ``cuda``; tensors without content count as others do.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._device = device
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        given = {storage._cdata for storage in self._storages((args, kwargs))}
        made = func(*args, **kwargs)
        for storage in self._storages(made):
            if storage._cdata not in given and storage._cdata not in self._known:
                self._count(storage)
        return made

    def _storages(self, tree: Any) -> list[torch.UntypedStorage]:
        return [
            leaf.untyped_storage()
            for leaf in tree_leaves(tree)
            if isinstance(leaf, torch.Tensor) and leaf.device.type == self._device
        ]

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()

        def gone(_: object) -> None:
            self.live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)
