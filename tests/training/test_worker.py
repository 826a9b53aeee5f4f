"""What the worker makes of an exception decides what the driver does about it."""

from __future__ import annotations

import errno
import io
import math
import time

import pytest
import torch
from jinja2 import TemplateError

from c2c_search.errors import DataError
from c2c_search.errors import StoreError
from c2c_search.training.divergence import DivergedError
from c2c_search.training.protocol import EVENT
from c2c_search.training.protocol import Join
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import TrainedTogether
from c2c_search.training.protocol import TrainTogether
from c2c_search.training.worker import Server
from c2c_search.training.worker import TimeLimitError
from c2c_search.training.worker import describe
from c2c_search.training.worker import seconds_of
from tests.training.protocol_examples import trained


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (DivergedError("the loss is nan"), "diverged"),
        (TimeLimitError("at step 3"), "timeout"),
        (DataError("Rows must fit."), "invalid"),
        (StoreError("The disk is full."), "fatal"),
        (OSError(errno.ENOSPC, "No space left on device"), "fatal"),
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (ConnectionResetError("Connection reset"), "transient"),
        (OSError(errno.EIO, "Input/output error"), "transient"),
        (RuntimeError("Connection reset"), "unknown"),
        (IndexError("index 48 is out of range"), "invalid"),
        (KeyError("choices"), "invalid"),
        (ValueError("no chat template"), "invalid"),
        (ModuleNotFoundError("No module named 'x'"), "invalid"),
        (AttributeError("'NoneType' object has no attribute 'x'"), "invalid"),
        (ZeroDivisionError("division by zero"), "invalid"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "invalid"),
        (TemplateError("System role not supported"), "invalid"),
        (AssertionError("a bug"), "fatal"),
    ],
)
def test_failures_have_classes(error, failure):
    assert describe(error).failure == failure


def test_what_the_user_can_put_right_keeps_its_words():
    described = describe(DataError("Rows must fit.", value="x", hint="Fix them."))
    assert described.message == "Rows must fit. Got 'x'. Fix them."
    assert described.exit_code == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (IndexError("out of range"), "IndexError: out of range"),
        (TemplateError("System role not supported"), "TemplateError: System role not supported"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_any_other_exception_is_named(error, words):
    assert describe(error).message == words


STEP = Step(step=3, steps=9, loss=1.0, metrics={})


class Stepping:
    """A service that trains for ever, were it not for its limit."""

    def __init__(self, emit):
        self.emit = emit

    def train(self, *args, **options):
        while True:
            self.emit(STEP)

    def train_together(self, *args):
        while True:
            self.emit(OfTrial(index=1, event=STEP))


@pytest.mark.parametrize("together", [False, True])
def test_a_training_ends_with_its_time(trial, together):
    train = Train(config=trial, directory="", seconds=0.05)
    request = TrainTogether(trials=(train, train)) if together else train
    events = io.StringIO()
    server = Server(io.StringIO(request.model_dump_json() + "\n"), events, "", "")
    server._service = Stepping(server.emit)
    server.serve()
    *_, last = map(EVENT.validate_json, events.getvalue().splitlines())
    assert (last.type, last.failure) == ("failed", "timeout")
    assert "by its time limit, at step 3" in last.message


def test_who_joins_a_group_has_its_own_time(trial):
    train = Train(config=trial, directory="", seconds=0.05)
    ended = trained(1)

    class Service(Stepping):
        def train_together(self, trials, go_on, joining):
            self.emit(OfTrial(index=0, event=STEP))
            self.emit(OfTrial(index=0, event=ended))
            assert joining() == (train,)
            time.sleep(0.12)
            self.emit(OfTrial(index=0, event=STEP))  # which has ended
            for index in (1, 2):
                with pytest.raises(TimeLimitError):
                    self.emit(OfTrial(index=index, event=STEP))
            return TrainedTogether()

    asked = [TrainTogether(trials=(train, train)), Join(trials=(train,))]
    lines = "".join(each.model_dump_json() + "\n" for each in asked)
    events = io.StringIO()
    server = Server(io.StringIO(lines), events, "", "")
    server._service = Service(server.emit)
    server.serve()
    *_, last = map(EVENT.validate_json, events.getvalue().splitlines())
    assert last.type == "trained_together"


def test_trainings_together_have_the_sum_of_their_times(trial):
    train = Train(config=trial, directory="", seconds=2.0)
    assert seconds_of(TrainTogether(trials=(train, train))) == 4.0
    unlimited = train.model_copy(update={"seconds": None})
    assert (
        seconds_of(unlimited) == seconds_of(TrainTogether(trials=(train, unlimited))) == math.inf
    )
