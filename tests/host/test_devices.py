"""A machine's devices and cores, divided."""

from __future__ import annotations

import pytest

from c2c_search.host import devices
from c2c_search.host import threads
from c2c_search.host.devices import WHOLE
from c2c_search.host.devices import Share
from c2c_search.host.devices import gpus


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores and four GPUs."""
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    monkeypatch.setattr(devices, "_count", lambda: 4)


def test_each_of_several_has_a_gpu_and_its_part_of_the_cores() -> None:
    told = [Share(index, 4).environment({}) for index in range(4)]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in told] == ["0", "1", "2", "3"]
    assert {each["OMP_NUM_THREADS"] for each in told} == {"2"}


def test_what_each_computes_on_is_told_in_words() -> None:
    assert [Share(index, 2, 2).told({}) for index in range(2)] == ["GPUs 0,1", "GPUs 2,3"]
    assert WHOLE.told({"CUDA_VISIBLE_DEVICES": "1,3"}) == "GPU 1"
    assert Share(1, 2).told({"CUDA_VISIBLE_DEVICES": ""}) == "CPU"


def test_gpus_are_those_that_the_environment_leaves() -> None:
    named = {"CUDA_VISIBLE_DEVICES": "GPU-8f3a, 2"}
    assert gpus(named) == ("GPU-8f3a", "2")
    told = [Share(index, 3).environment(named)["CUDA_VISIBLE_DEVICES"] for index in range(3)]
    assert told == ["GPU-8f3a", "2", "GPU-8f3a"]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_are_none(hidden: str) -> None:
    assert gpus({"CUDA_VISIBLE_DEVICES": hidden}) == ()
    assert "CUDA_VISIBLE_DEVICES" not in Share(1, 2).environment({"CUDA_VISIBLE_DEVICES": hidden})


def test_the_whole_machine_is_left_as_it_is() -> None:
    assert WHOLE.environment({"OMP_NUM_THREADS": "3"}) == {}
    assert WHOLE.environment({}) == {"OMP_NUM_THREADS": "8"}


def test_threads_that_are_set_are_no_more_than_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_count", lambda: 0)
    assert Share(0, 4).environment({"OMP_NUM_THREADS": "8"}) == {"OMP_NUM_THREADS": "2"}
    assert Share(0, 4).environment({"MKL_NUM_THREADS": "1"}) == {"MKL_NUM_THREADS": "1"}
    assert Share(0, 16).environment({}) == {"OMP_NUM_THREADS": "1"}
