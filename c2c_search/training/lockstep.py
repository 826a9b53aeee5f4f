"""Several trials in lockstep, whose fused caches the receiver reads at once.

Fusers are small, and a step's batch often is: much of a step is reading the receiver's weights
(CPU) or launching its kernels (GPU), which is paid once for all trials of a group. Everything else
is each trial's own: its configuration, seed, random numbers, batches, engine, rungs and
checkpoints. Its numbers are those that it has alone, up to rounding.

A trial that has ended leaves its place to another one, which joins the others where they stand:
each is at a step of its own, of as many as it has.

A group stands and falls as one. If the loss of one trial is no number, or the memory does not
suffice, nothing of that step is kept, and the exception ends the group: whoever asked for it lets
its trials go on in smaller groups, each from its checkpoint, until the one at fault fails alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.host.free_memory import free_memory
from c2c_search.training.process import release_memory
from c2c_search.training.protocol import Join
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Paced
from c2c_search.training.protocol import Train
from c2c_search.training.randomness import random_state
from c2c_search.training.randomness import set_random_state
from c2c_search.training.ranks import own_ranks
from c2c_search.training.step import LossRequest
from c2c_search.training.step import ReceiverStep
from c2c_search.training.step import losses_at_once


if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from c2c_search.training.fuser_training import FuserTraining
    from c2c_search.training.protocol import Event
    from c2c_search.training.protocol import Pace
    from c2c_search.training.protocol import Trained


Make = Callable[["Train", Callable[["Event"], None]], "FuserTraining"]
"""Makes a trial ready to run, which goes on from its checkpoint; told where its events go."""


def train_together(
    trials: Sequence[Train],
    make: Make,
    emit: Callable[[Event], None],
    joining: Callable[[], Sequence[Train]],
) -> None:
    """Train trials in lockstep until each has ended or is pruned, and so those that join them.

    Args:
        trials: Those that begin together.
        make: Makes each.
        emit: Called with every event, in an `OfTrial`.
        joining: Asked for those that join, as soon as a trial has ended; on the first rank alone.

    Raises:
        DivergedError: A loss became infinite or NaN, not necessarily of the trial at fault.
    """
    members: dict[int, _Member] = {}
    indices = count()
    starting = list(trials)
    try:
        while starting or members:
            for train in starting:
                index = next(indices)
                members[index] = _Member(partial(make, train, partial(_tell, emit, index)))
            starting = []
            for index in [index for index, each in members.items() if each.ended is not None]:
                _tell(emit, index, _ended(members.pop(index)))
                starting += _joining(joining)
            if starting:
                release_memory()  # of those in whose place they begin
            elif members:
                _one_pass(list(members.values()))
    finally:
        for member in members.values():
            member.close()


def measure_pace(request: Pace, make: Make, device: torch.device) -> Paced:
    """Measure what equal trials in lockstep take; nothing is kept of them.

    Args:
        request: Which trial, and how many of it.
        make: Makes each.
        device: Where they train.

    Raises:
        DivergedError: A loss became infinite or NaN.
    """
    with tempfile.TemporaryDirectory(prefix="c2c-search-pace-") as folder:
        trials = [
            Train(config=request.config, directory=str(Path(folder) / str(number)))
            for number in range(request.together)
        ]
        before = free_memory(device)
        try:
            seconds = pass_seconds(trials, make)
            left = free_memory(device)
        finally:
            release_memory()
    return Paced(seconds=seconds, taken=max(0, before - left), free=left)


def pass_seconds(trials: Sequence[Train], make: Make) -> float:
    """Seconds of a pass of trials in lockstep, up to their last step, which is not taken.

    Args:
        trials: Equal ones, of three steps at least.
        make: Makes each.

    Raises:
        DivergedError: A loss became infinite or NaN.
    """
    members: list[_Member] = []
    try:
        for train in trials:
            members.append(_Member(partial(make, train, lambda event: None)))
        training = trials[0].config.training
        # In the first ones the device makes itself ready: kernels for shapes that are new to it.
        untimed = (training.steps - 1) // 2 * training.passes
        for _ in range(untimed):
            _one_pass(members)
        timed = (training.steps - 1) * training.passes - untimed
        begun = _now()
        for _ in range(timed):
            _one_pass(members)
        return (_now() - begun) / timed
    finally:
        for member in members:
            member.close()


def _now() -> float:
    """When all that was asked of the device is done."""
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


def _tell(emit: Callable[[Event], None], index: int, event: Event) -> None:
    emit(OfTrial(index=index, event=event))


def _joining(joining: Callable[[], Sequence[Train]]) -> tuple[Train, ...]:
    """Who joins, on all ranks."""
    told = own_ranks().share(lambda: Join(trials=tuple(joining())).model_dump_json())
    return Join.model_validate_json(told).trials


def _ended(member: _Member) -> Trained:
    assert member.ended is not None
    return member.ended


class _Member:
    """A trial of a group, run up to where it wants a loss."""

    def __init__(self, start: Callable[[], FuserTraining]) -> None:
        self._random = _RandomStream()
        self.request: LossRequest | None = None
        self.ended: Trained | None = None
        with self._random.drawn_from():
            self._run = start()
        self._steps = self._run.steps()
        self._turn(lambda: next(self._steps))

    def take(self) -> LossRequest:
        """What it wants, which it keeps no longer."""
        request, self.request = self.request, None
        assert request is not None
        return request

    def loss(self) -> torch.Tensor:
        """The loss that it wants, by itself; a fuser that hears the response draws noise then."""
        with self._random.drawn_from():
            return self.take().loss()

    def go_on(self, loss: torch.Tensor, seconds: float) -> None:
        """Give it the loss that it wanted, and its share of the time that this took."""
        self._run.waited += time.perf_counter() - self._waits_since - seconds
        self._turn(lambda: self._steps.send(loss))

    def close(self) -> None:
        """End it where it stands."""
        self._steps.close()

    def _turn(self, step: Callable[[], LossRequest]) -> None:
        with self._random.drawn_from():
            try:
                self.request = step()
            except StopIteration as end:
                self.request, self.ended = None, end.value
        self._waits_since = time.perf_counter()


class _RandomStream:
    """Random state of one trial: what others draw in between does not change its numbers."""

    def __init__(self) -> None:
        self._state: dict[str, torch.Tensor] | None = None

    @contextmanager
    def drawn_from(self) -> Iterator[None]:
        before = random_state()
        if self._state is not None:
            set_random_state(self._state)
        try:
            yield
        finally:
            self._state = random_state()
            set_random_state(before)


def _one_pass(members: Sequence[_Member]) -> None:
    """Compute the losses that all members want, then let each take its step."""
    losses_of: list[tuple[_Member, torch.Tensor, float]] = []
    for together in _passes(members):
        begun = time.perf_counter()
        losses = _losses(together)
        share = (time.perf_counter() - begun) / len(together)
        losses_of += [(member, loss, share) for member, loss in zip(together, losses, strict=True)]
    for member, loss, share in losses_of:
        member.go_on(loss, share)


def _passes(members: Sequence[_Member]) -> list[list[_Member]]:
    """Members whose batches one receiver can read at once; the others each by themselves."""
    passes: dict[int, list[_Member]] = {}
    for member in members:
        reader: object = member
        if isinstance(member.request, ReceiverStep) and member.request.shareable:
            reader = member.request.model
        passes.setdefault(id(reader), []).append(member)
    return list(passes.values())


def _losses(together: Sequence[_Member]) -> list[torch.Tensor]:
    if len(together) == 1:
        return [together[0].loss()]
    requests = [member.take() for member in together]
    return losses_at_once([each for each in requests if isinstance(each, ReceiverStep)])
