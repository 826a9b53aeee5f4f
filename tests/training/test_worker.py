"""What the worker makes of an exception decides what the driver does about it."""

from __future__ import annotations

import errno

import pytest
import torch
from jinja2 import TemplateError

from c2c_search.errors import DataError
from c2c_search.errors import StoreError
from c2c_search.training.divergence import DivergedError
from c2c_search.training.worker import describe


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (DivergedError("the loss is nan"), "diverged"),
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
