"""GPU hours are counted from configurations, without weights, data or a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend
from torch.nn.attention import sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from c2c_search.models.arithmetic import ModelSize
from c2c_search.models.attention_maps import skeleton_of
from c2c_search.models.geometry import geometry
from c2c_search.space.schema import Space
from c2c_search.study.counted_pace import CountedPace
from c2c_search.study.counted_pace import Lengths
from c2c_search.study.gpu_hours import gpu_hours
from c2c_search.system_names import TWIN


SPACES = Path(__file__).parents[2] / "spaces"
CONFIG = {
    "model_type": "qwen3",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 500,
    "tie_word_embeddings": True,
}


def test_reading_is_counted_as_torch_counts_it() -> None:
    size, model = ModelSize.of(CONFIG), skeleton_of(CONFIG).to_empty(device="cpu")
    ids = torch.zeros(1, 32, dtype=torch.long)
    # Of attention's own kernels for CPUs it counts nothing.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(input_ids=ids, use_cache=False)
    # Torch counts what a causal mask hides too.
    hidden = 4 * size.attended * 32 * 16
    assert size.read(32) + size.predict(32) + hidden == counter.get_total_flops()
    assert size.attended == 2 * 4 * geometry(CONFIG).head_dim


def test_untied_embeddings_are_no_maps_of_the_layers() -> None:
    assert ModelSize.of({**CONFIG, "tie_word_embeddings": False}) == ModelSize.of(CONFIG)


def test_a_step_goes_back_through_the_receiver_and_to_the_fuser(planned_space: Space) -> None:
    trial = planned_space.configuration(
        {"pair": "there", "fuser.width": 8, "fuser.token_alignment": "span"}
    )
    size = ModelSize(body=1000, head=100, attended=0)
    pace = CountedPace(
        rate=10.0,
        sizes=dict.fromkeys((trial.pair.receiver, trial.pair.sharer), size),
        lengths=Lengths(prompt=4, response=3, options=2, read=8),
        parameters=lambda _: 50,
    )
    cost = pace.training(trial)
    assert cost.step == pytest.approx(2 * (2 * 3 * 2 * 1100 + 6 * 50 * 4) / 10)  # of two examples
    assert cost.judged == pytest.approx(2 * (2 * 2 * 1100 + 2 * 50 * 4) / 10)
    assert pace.training(trial, TWIN).judged == pytest.approx(cost.judged / 2)
    assert pace.prefill(trial.pair.sharer) == pytest.approx(2 * 1000 / 10)
    assert pace.answer("receiver", trial.pair) == pytest.approx(2 * 2 * 1100 / 10)


def test_the_shipped_space_for_gpus_is_planned_without_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path))
    space, absent = Space.load_without_data(SPACES / "qwen.yaml")
    assert absent
    found = gpu_hours(space, data=False)
    assert found is not None
    plan, caches, hours = found
    assert plan.sizes is not None
    assert plan.sizes.largest > 100_000_000
    assert caches.beyond > 0.9
    by_name = {each.name: each for each in hours.devices}
    a100, h100 = by_name["A100"], by_name["H100"]
    # In proportion to the peaks, but for what models take to load.
    assert a100.one.expected / h100.one.expected == pytest.approx(989 / 312, rel=0.01)
    assert h100.one.low < h100.one.expected < h100.one.high
    assert 1 < h100.one.expected / h100.several.expected <= 8
    told = " ".join(hours.basis)
    for part in ("20% of the peak", "missing data", "494,848 of train", "drafts is not counted"):
        assert part in told
    assert "do not fit the disk's budget" in told


def test_unknown_models_have_no_hours(planned_space: Space) -> None:
    pair = {"receiver": "hf:nobody/a", "sharer": "hf:nobody/b"}
    space = planned_space.model_copy(
        update={"pairs": {"there": type(planned_space.pairs["there"])(**pair)}}
    )
    assert gpu_hours(space) is None
