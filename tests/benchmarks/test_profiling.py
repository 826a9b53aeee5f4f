"""A profile counts every second to the innermost part, and leaves no trace."""

from __future__ import annotations

import pytest
import torch


class Work:
    def outer(self):
        return self.inner() + 1

    def inner(self):
        weight = torch.ones(3, requires_grad=True)
        weight.sum().backward()
        torch.optim.SGD([weight]).step()
        return 1


class Fails:
    def run(self):
        raise KeyError("inside")


class Listener:
    def push(self, name):
        pass

    def pop(self):
        pass


def test_parts_are_told_apart(program):
    profiling = program("profiling")
    untouched = dict(vars(Work))
    methods = {"outer": (Work, "outer"), "inner": (Work, "inner"), "unused": (Fails, "run")}
    found = profiling.profile(lambda: Work().outer(), methods, torch.device("cpu"))
    parts = {line.name: line for line in found.parts}
    assert set(parts) == {"outer", "inner", profiling.OPTIMIZER, profiling.REST}
    assert all(line.calls == 1 for line in parts.values())
    assert sum(line.share for line in parts.values()) == pytest.approx(1)
    assert sum(line.seconds for line in parts.values()) == pytest.approx(found.seconds)
    assert not {"outer", "inner"} & {line.name for line in found.operators}
    assert dict(vars(Work)) == untouched
    assert "inner" in found.in_words()


def test_methods_come_back_after_an_error(program):
    untouched, methods = dict(vars(Fails)), {"it": (Fails, "run")}
    with program("profiling")._watched(methods, Listener()), pytest.raises(KeyError):
        Fails().run()
    assert dict(vars(Fails)) == untouched
