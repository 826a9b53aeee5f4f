"""Trainings of one worker in lockstep, whose places are filled again as they become free.

A group may fall for one of its trainings (`training.lockstep`). Those that have not ended then go
on from their checkpoints in groups of half the size, down to one: only what fails alone has
failed. Once a group was too large for the memory, no other of this worker is as large.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from c2c_search.study.trainer import TrainerClient
from c2c_search.study.trainer import TrainingRequest
from c2c_search.study.trainer import WorkerProcess
from c2c_search.study.trainer import key_of
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainTogether


class Begun(NamedTuple):
    """A training that is to be done.

    Args:
        training: What the worker is asked, and who hears of it.
        end: Called with how it ended, as soon as it has.
    """

    training: TrainingRequest
    end: Callable[[Trained | Failed], None]


@dataclass(eq=False)
class _Member:
    """A training that has not ended.

    Args:
        begun: The training.
        most: How many may train together where it does.
    """

    begun: Begun
    most: int

    @property
    def train(self) -> Train:
        return self.begun.training.train

    @property
    def key(self) -> str:
        return key_of(self.train)


class LockstepGroups:
    """One worker's trainings, so many at once.

    Args:
        trainer: Of the worker.
        places: Trainings at once.
        following: Gives the next training; None if there is none now.
    """

    def __init__(
        self, trainer: TrainerClient, places: int, following: Callable[[], Begun | None]
    ) -> None:
        self._trainer = trainer
        self._places = places
        self._following = following
        self._waiting: deque[_Member] = deque()
        self._group: dict[int, _Member] = {}  # by their indices in `protocol.OfTrial`
        self._elsewhere: list[_Member] = []  # whose training another one does
        self._numbered = 0

    def run(self) -> None:
        """Train until there is no next training, and all have ended."""
        while self._fill():
            if 1 in (self._places, self._waiting[0].most, len(self._waiting)):
                begun = self._waiting.popleft().begun
                begun.end(self._trainer.train(begun.training))
            else:
                self._in_lockstep()

    def _fill(self) -> bool:
        """Have as many trainings wait as there are places; whether any does."""
        while len(self._waiting) < self._places and (member := self._next()) is not None:
            self._waiting.append(member)
        return bool(self._waiting)

    def _next(self) -> _Member | None:
        begun = self._following()
        return None if begun is None else _Member(begun, self._places)

    def _in_lockstep(self) -> None:
        process, last, self._numbered = self._trainer.ready(), None, 0
        try:
            if trials := self._joining():
                for last in self._trainer.events(process.ask(TrainTogether(trials=trials))):
                    self._hear(last, process)
        finally:
            self._trainer.release({member.key for member in self._group.values()})
        if isinstance(last, Failed):
            self._fall(last)
        while self._elsewhere:
            begun = self._elsewhere.pop(0).begun
            begun.end(self._trainer.train(begun.training))

    def _hear(self, event: Event, process: WorkerProcess) -> None:
        if not isinstance(event, OfTrial):
            self._trainer.progress(event)
            return
        member = self._group[event.index]
        if not isinstance(event.event, Trained):
            self._trainer.hear(event.event, member.begun.training, process)
            return
        ended = self._trainer.keep(event.event, member.train)
        del self._group[event.index]
        self._trainer.release({member.key})
        member.begun.end(ended)
        self._end_known()
        process.join(self._joining())

    def _joining(self) -> tuple[Train, ...]:
        """Give the group's free places to those that can begin now."""
        joined: list[Train] = []
        while (member := self._candidate()) is not None:
            if (known := self._trainer.finished(member.train)) is not None:
                member.begun.end(known)
            elif not self._trainer.claim({member.key}):
                self._elsewhere.append(member)
            else:
                self._group[self._numbered] = member
                self._numbered += 1
                joined.append(member.train)
        return tuple(joined)

    def _candidate(self) -> _Member | None:
        """Who is to have a free place. Nobody goes before one that waits for a smaller group."""
        count = len(self._group)
        if count >= min([self._places, *(member.most for member in self._group.values())]):
            return None
        if not self._waiting:
            return self._next()
        return self._waiting.popleft() if count < self._waiting[0].most else None

    def _end_known(self) -> None:
        """End those whose training another one has done meanwhile."""
        for member in list(self._elsewhere):
            if (known := self._trainer.finished(member.train)) is not None:
                self._elsewhere.remove(member)
                member.begun.end(known)

    def _fall(self, failed: Failed) -> None:
        """Let those that have not ended wait for smaller groups."""
        rest = list(self._group.values())
        self._group.clear()
        most = max(1, len(rest) // 2)
        for member in rest:
            member.most = most
        self._waiting.extendleft(reversed(rest))
        if failed.failure == "out_of_memory" and len(rest) > 1:
            self._places = most
        how = "alone" if most == 1 else f"{most} at once"
        self._trainer.view.note(f"Trials that trained together go on {how}: {failed.message}")
