"""Who trains beside whom: places are filled again, and what fails comes down to one."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import pytest

from c2c_search.study.lockstep_groups import Begun
from c2c_search.study.lockstep_groups import LockstepGroups
from c2c_search.study.trainer import TrainingRequest
from c2c_search.study.trainer import key_of
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainedTogether
from c2c_search.training.protocol import TrainTogether
from tests.training.protocol_examples import TRIAL
from tests.training.protocol_examples import trained


@dataclass
class FakeTrainer:
    """Trains by numbers, which are seeds; so many passes each, and all that happens is told.

    Args:
        passes: Of a training, by its number; one of those not named.
        failing: Those whose group falls, and which fail alone.
        failure: Of these.
        busy: Those that another worker trains.
    """

    passes: dict[int, int] = field(default_factory=dict)
    failing: set[int] = field(default_factory=set)
    failure: Any = "diverged"
    busy: set[int] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    known: dict[str, Trained] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)
    joining: tuple[Train, ...] | None = None
    left: dict[int, int] = field(default_factory=dict)

    def ready(self) -> FakeTrainer:
        return self

    view = property(ready)

    def note(self, message: str) -> None:
        self.told.append(message.split(":")[0])

    def progress(self, event: Event) -> None:
        """Of nobody here."""

    def events(self, events: Iterator[Event]) -> Iterator[Event]:
        return events

    def ask(self, request: TrainTogether) -> Iterator[Event]:
        running = dict(enumerate(one.config.seed for one in request.trials))
        begun = len(running)
        while running:
            self.told.append("+".join(map(str, running.values())))
            if bad := self.failing & {*running.values()}:
                yield Failed(failure=self.failure, message=f"{bad}")
                return
            for index, number in list(running.items()):
                self.left[number] = self.left.get(number, self.passes.get(number, 1)) - 1
                if self.left[number] <= 0:
                    del running[index]
                    yield OfTrial(index=index, event=trained(number))
                    assert self.joining is not None
                    for one in self.joining:
                        running[begun], begun = one.config.seed, begun + 1
                    self.joining = None
        yield TrainedTogether()

    def join(self, trials: Sequence[Train]) -> None:
        self.joining = tuple(trials)

    def train(self, training: TrainingRequest) -> Trained | Failed:
        number = training.train.config.seed
        self.told.append(f"{number} alone")
        if number in self.failing:
            return Failed(failure=self.failure, message="")
        return self.finished(training.train) or self.keep(trained(number), training.train)

    def keep(self, ended: Trained, train: Train) -> Trained:
        self.known[key_of(train)] = ended
        return ended

    def finished(self, train: Train) -> Trained | None:
        return self.known.get(key_of(train))

    def claim(self, keys: set[str]) -> bool:
        if not self.claimed.isdisjoint(keys) or keys & {key_of(train_of(n)) for n in self.busy}:
            return False
        self.claimed |= keys
        return True

    def release(self, keys: set[str]) -> None:
        self.claimed -= keys


def train_of(number: int) -> Train:
    return Train(config=TRIAL.model_copy(update={"seed": number}), directory="")


def run(trainer: Any, places: int, numbers: Sequence[int]) -> list[str]:
    """Train these in their order; how each ended, in the order of their ends."""
    ends: list[str] = []
    coming = iter(numbers)

    def following() -> Begun | None:
        if (number := next(coming, None)) is None:
            return None
        request = TrainingRequest(train_of(number), trainer)
        return Begun(request, lambda how: ends.append(f"{number} {how.type}"))

    LockstepGroups(trainer, places, following).run()
    assert not trainer.claimed
    return ends


def test_a_place_that_becomes_free_is_filled_again() -> None:
    trainer = FakeTrainer(passes={1: 4, 2: 1, 3: 2, 4: 1})
    ends = run(trainer, 2, [1, 2, 3, 4])
    assert trainer.told == ["1+2", "1+3", "1+3", "1+4"]
    assert ends == [f"{n} trained" for n in (2, 3, 1, 4)]


@pytest.mark.parametrize(("places", "numbers"), [(1, [1, 2]), (4, [1])])
def test_one_is_no_group(places: int, numbers: list[int]) -> None:
    trainer = FakeTrainer()
    run(trainer, places, numbers)
    assert trainer.told == [f"{number} alone" for number in numbers]


def test_a_group_that_falls_goes_on_in_halves_and_is_then_filled_again() -> None:
    trainer = FakeTrainer(failing={2}, passes=dict.fromkeys((1, 3, 4, 5), 2))
    ends = run(trainer, 4, [1, 2, 3, 4, 5, 6])
    assert trainer.told == [
        "1+2+3+4",
        "Trials that trained together go on 2 at once",
        "1+2",
        "Trials that trained together go on alone",
        "1 alone",
        "2 alone",
        "3+4",  # beside which nobody stands until they have ended
        "3+4",
        "5+6",
        "5",
    ]
    assert ends == [
        "1 trained",
        "2 failed",
        "3 trained",
        "4 trained",
        "6 trained",
        "5 trained",
    ]


def test_a_group_too_large_for_the_memory_is_not_tried_again() -> None:
    trainer = FakeTrainer(failing={1}, failure="out_of_memory")
    run(trainer, 4, range(1, 9))
    groups = [told for told in trainer.told if "+" in told]
    assert groups == ["1+2+3+4", "1+2"]  # then it stands for any two
    assert trainer.told[-1] == "8 alone"


def test_the_same_training_twice_is_done_once() -> None:
    trainer = FakeTrainer(passes={1: 3})
    ends = run(trainer, 2, [1, 1, 2, 3, 3])
    assert trainer.told == ["1+2", "1+3", "1"]
    assert ends == [f"{n} trained" for n in (2, 3, 3, 1, 1)]


def test_what_another_worker_trains_is_waited_for_by_nobody_in_the_group() -> None:
    trainer = FakeTrainer(busy={1}, passes={2: 2})
    ends = run(trainer, 2, [1, 2, 3])
    assert trainer.told == ["2+3", "2", "1 alone"]
    assert ends == ["3 trained", "2 trained", "1 trained"]
