"""This process as one of the ranks that train one trial; alone, it is the only one.

A process is of one group as long as it lives: DeepSpeed keeps what it made for the first. What is
said here goes over the CPU (gloo), so that no rank waits for its GPU to hear it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from c2c_search.training.randomness import random_state
from c2c_search.training.randomness import set_random_state


# Ranks wait for the first one's rungs and for the driver's word. One that is gone is noticed by
# who started it (`followers`), and one that hangs by the driver's watchdog: neither by a limit.
_PATIENCE = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """The place of a process among those that train one trial.

    Args:
        index: Its number, from 0. The first reports and writes; the others follow it.
        count: How many there are.
        rendezvous: The file that they find each other by.
    """

    index: int = 0
    count: int = 1
    rendezvous: Path | None = None

    @property
    def first(self) -> bool:
        """Whether it is the one that reports and writes."""
        return self.index == 0

    def connect(self) -> None:
        """Make the process's group, once: of one without a port, of several by their file.

        Raises:
            RuntimeError: Not all came.
        """
        global _control
        if dist.is_initialized():
            return
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if self.count == 1:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
            return
        assert self.rendezvous is not None
        dist.init_process_group(
            backend,
            store=dist.FileStore(str(self.rendezvous), self.count),
            rank=self.index,
            world_size=self.count,
            timeout=_PATIENCE,
        )
        _control = dist.new_group(range(self.count), timeout=_PATIENCE, backend="gloo")
        # DeepSpeed would make it itself, with a limit of half an hour.
        from deepspeed.utils import groups

        groups._WORLD_GROUP = dist.new_group(range(self.count), timeout=_PATIENCE)

    def share(self, text: Callable[[], str]) -> str:
        """What the first rank says, on all; only there it is asked for."""
        if self.count == 1:
            return text()
        said = text().encode() if self.first else b""
        size = torch.tensor([len(said)])
        dist.broadcast(size, 0, group=_control)
        content = torch.zeros(int(size), dtype=torch.uint8)
        if self.first and said:
            content.copy_(torch.frombuffer(bytearray(said), dtype=torch.uint8))
        dist.broadcast(content, 0, group=_control)
        return bytes(content.tolist()).decode()

    def agree(self, word: Callable[[], bool]) -> bool:
        """The first rank's yes or no, on all; only there it is asked for."""
        if self.count == 1:
            return word()
        said = torch.tensor([int(self.first and word())])
        dist.broadcast(said, 0, group=_control)
        return bool(said)

    def gathered(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """A tensor of every rank, all of one shape, on all ranks."""
        if self.count == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(found, tensor.contiguous(), group=None if tensor.is_cuda else _control)
        return found

    def losses(self, own: torch.Tensor) -> torch.Tensor:
        """The losses of a step's passes, in the order of the passes: `parts` of each rank."""
        return own if self.count == 1 else torch.stack(self.gathered(own), dim=1).flatten()

    def parts(self, passes: int) -> range:
        """Which of a step's passes are this rank's."""
        return range(self.index, passes, self.count)

    def random_states(self) -> dict[str, torch.Tensor]:
        """Of all ranks: the first one's by the kind of device, the others' under their number."""
        found: dict[str, torch.Tensor] = {}
        for kind, state in random_state().items():
            for rank, each in enumerate(self.gathered(state)):
                found[f"rank-{rank}.{kind}" if rank else kind] = each
        return found

    def draw_from(self, states: dict[str, torch.Tensor], seed: int) -> None:
        """Go on drawing random numbers where this rank stood.

        Args:
            states: As `random_states` gave them; of fewer ranks, or none.
            seed: Of a rank that draws for the first time: none may draw another's numbers.
        """
        prefix = "" if self.first else f"rank-{self.index}."
        own = {
            kind: states[f"{prefix}{kind}"] for kind in random_state() if prefix + kind in states
        }
        if "torch" in own:
            set_random_state(own)
        elif not self.first:
            torch.manual_seed(seed + (self.index << 32))


_control: dist.ProcessGroup | None = None
_own = Ranks()


def own_ranks() -> Ranks:
    """This process's place; the only one unless `belong_to` was called."""
    return _own


def belong_to(ranks: Ranks) -> None:
    """Give this process its place, before it trains anything."""
    global _own
    _own = ranks
