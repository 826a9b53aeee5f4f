"""What the models compute in: who decides, and by which measure."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.host import dtypes
from c2c_search.host.dtypes import VARIABLE
from c2c_search.host.dtypes import bfloat16_gain
from c2c_search.host.dtypes import default_dtype
from c2c_search.host.dtypes import recorded_dtype
from c2c_search.models.loading import load


CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(dtypes, "has_instructions", lambda: None)
    bfloat16_gain.cache_clear()
    yield
    bfloat16_gain.cache_clear()


@pytest.fixture
def gain(monkeypatch):
    """Sets what this CPU gains by bfloat16."""

    def gain(value: float) -> None:
        bfloat16_gain.cache_clear()
        monkeypatch.setattr(dtypes, "_has_kernels", lambda: True)
        monkeypatch.setattr(dtypes, "_measured_gain", lambda: value)

    return gain


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(0.005, "float32"), (1.0, "float32"), (1.29, "float32"), (1.3, "bfloat16"), (8, "bfloat16")],
)
def test_a_cpu_takes_bfloat16_where_it_is_faster_by_a_margin(gain, value, dtype):
    gain(value)
    assert default_dtype(CPU) == getattr(torch, dtype)


def test_without_kernels_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(dtypes, "_has_kernels", lambda: False)
    monkeypatch.setattr(dtypes, "_measured_gain", lambda: pytest.fail("it measures"))
    assert default_dtype(CPU) == torch.float32


@pytest.mark.parametrize("native", [True, False])
def test_a_cpu_that_can_be_asked_is_not_measured(monkeypatch, native):
    monkeypatch.setattr(dtypes, "has_instructions", lambda: native)
    monkeypatch.setattr(dtypes, "_measured_gain", lambda: pytest.fail("it measures"))
    chosen = dtypes.choose_dtype(CPU)
    assert chosen.dtype == (torch.bfloat16 if native else torch.float32)
    assert f"{'has' if native else 'has no'} bfloat16 instructions" in chosen.reason


def test_a_cpu_with_instructions_is_never_slow(monkeypatch):
    monkeypatch.setattr(dtypes, "has_instructions", lambda: True)
    monkeypatch.setattr(dtypes, "_measured_gain", lambda: pytest.fail("it measures"))
    assert not dtypes.is_slow(torch.bfloat16, CPU)


@pytest.mark.parametrize(
    ("machine", "avx512", "amx", "expected"),
    [
        ("x86_64", True, False, True),
        ("AMD64", False, True, True),
        ("x86_64", False, False, False),
        ("x86_64", True, None, True),
        ("x86_64", None, False, None),  # a torch that does not know
        ("aarch64", False, False, None),
    ],
)
def test_instructions_are_what_torch_says_of_x86(monkeypatch, machine, avx512, amx, expected):
    monkeypatch.undo()  # the stand-in for the function itself
    monkeypatch.setattr(dtypes, "_has_kernels", lambda: True)
    monkeypatch.setattr(dtypes.platform, "machine", lambda: machine)
    for name, answer in (("_is_avx512_bf16_supported", avx512), ("_is_amx_tile_supported", amx)):
        if answer is None:
            monkeypatch.delattr(torch.cpu, name, raising=False)
        else:
            monkeypatch.setattr(torch.cpu, name, lambda answer=answer: answer, raising=False)
    assert dtypes.has_instructions() is expected
    monkeypatch.setattr(dtypes, "_has_kernels", lambda: False)
    assert dtypes.has_instructions() is False


def test_a_gpu_takes_bfloat16_unmeasured(monkeypatch):
    monkeypatch.setattr(dtypes, "bfloat16_gain", lambda: pytest.fail("it measures"))
    assert default_dtype(GPU) == torch.bfloat16


def test_a_process_measures_once(monkeypatch):
    measured = []
    monkeypatch.setattr(dtypes, "_has_kernels", lambda: True)
    monkeypatch.setattr(dtypes, "_measured_gain", lambda: measured.append(1) or 2.0)
    assert default_dtype(CPU) == default_dtype(CPU) == torch.bfloat16
    assert measured == [1, 1, 1]  # what seems worth it is looked at again


def test_what_seems_faster_once_is_not_taken(monkeypatch):
    gains = iter([2.0, 0.7, 2.0])  # other load slowed float32 for a moment
    monkeypatch.setattr(dtypes, "_has_kernels", lambda: True)
    monkeypatch.setattr(dtypes, "_measured_gain", lambda: next(gains))
    assert default_dtype(CPU) == torch.float32


def test_kernels_are_asked_for(monkeypatch):
    def torch_says(answer: object) -> bool:
        monkeypatch.setattr(torch.ops, "mkldnn", answer)
        return dtypes._has_kernels()

    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    for answer in (True, False):
        supported = SimpleNamespace(_is_mkldnn_bf16_supported=lambda answer=answer: answer)
        assert torch_says(supported) is answer
    # The function is private: a version of torch may come without it.
    assert not torch_says(SimpleNamespace())
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not torch_says(SimpleNamespace(_is_mkldnn_bf16_supported=lambda: True))


@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_user_decides(monkeypatch, device, name):
    monkeypatch.setattr(dtypes, "bfloat16_gain", lambda: pytest.fail("it measures"))
    monkeypatch.setenv(VARIABLE, name)
    assert default_dtype(device) == getattr(torch, name)
    assert dtypes.requested() == name


@pytest.mark.parametrize("name", ["auto", "", " "])
def test_the_user_leaves_it_to_the_machine(monkeypatch, gain, name):
    monkeypatch.setenv(VARIABLE, name)
    gain(2.0)
    assert default_dtype(CPU) == torch.bfloat16


@pytest.mark.parametrize("name", ["float16", "bf16", "BFLOAT16"])
def test_anything_else_is_refused(monkeypatch, name):
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(ConfigError, match=f"float32, bfloat16 and auto.*{name!r}") as error:
        default_dtype(CPU)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("others", [0.0, 3.0])
@pytest.mark.parametrize("gained", [2.0, 0.5, 0.005])
def test_the_gain_is_that_of_undisturbed_turns(monkeypatch, gained, others):
    clock = SimpleNamespace(now=0.0, turns=0)

    def products(dtype: torch.dtype):
        def product() -> None:
            clock.turns += 1
            seconds = 0.002 if dtype == torch.float32 else 0.002 / gained
            clock.now += seconds + (others if clock.turns < 4 else 0)

        return product

    monkeypatch.setattr(dtypes, "_products", products)
    monkeypatch.setattr(dtypes.time, "perf_counter", lambda: clock.now)
    assert dtypes._measured_gain() == pytest.approx(gained)
    # It gives up early where one is slow or the machine is busy, and never before three turns.
    assert clock.turns == 6 if others or gained < 0.1 else clock.turns > 6


def test_measuring_leaves_the_callers_seed_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert bfloat16_gain() >= 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("recorded", "device", "here", "expected"),
    [
        ("bfloat16", CPU, 2.0, "bfloat16"),
        ("bfloat16", CPU, 0.6, "bfloat16"),
        ("bfloat16", CPU, 0.4, "float32"),
        ("float32", CPU, 9.0, "float32"),
        ("bfloat16", GPU, 0.0, "bfloat16"),
        ("float32", GPU, 0.0, "float32"),
        (None, CPU, 9.0, "float32"),
        (None, GPU, 0.0, "bfloat16"),
    ],
)
def test_what_was_measured_is_repeated_where_that_is_not_slow(
    gain, recorded, device, here, expected
):
    gain(here)
    told: list[str] = []
    assert recorded_dtype(recorded, device, told.append) == getattr(torch, expected)
    changed = recorded is not None and recorded != expected
    assert len(told) == changed
    if changed:
        assert "measured in bfloat16 and compute in float32 here, since this" in told[0]


def test_the_user_decides_against_a_record_too(monkeypatch, gain):
    gain(0.0)
    told: list[str] = []
    monkeypatch.setenv(VARIABLE, "bfloat16")
    assert recorded_dtype("bfloat16", CPU, told.append) == torch.bfloat16
    assert not told
    assert recorded_dtype("float32", CPU, told.append) == torch.bfloat16
    assert "as C2C_SEARCH_DTYPE says" in told[0]


def test_a_model_is_loaded_in_it(tiny_pair, tmp_path, gain):
    for here, dtype in ((2.0, torch.bfloat16), (0.4, torch.float32)):
        gain(here)
        loaded = load(tiny_pair.receiver, device="cpu", cache_dir=tmp_path)
        assert loaded.model.dtype == dtype


def test_a_model_that_must_be_slow_is_told(tiny_pair, tmp_path, gain, monkeypatch):
    monkeypatch.setenv(VARIABLE, "bfloat16")
    told: list[str] = []
    for here in (0.4, 2.0):
        gain(here)
        load(tiny_pair.receiver, device="cpu", cache_dir=tmp_path, notify=told.append)
    assert len(told) == 1
    assert "slow on this processor" in told[0]
