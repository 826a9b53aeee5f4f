"""A fuser whose receiver is its own sharer is as large as one with a sharer."""

from __future__ import annotations

import pytest

from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.cost import as_large
from c2c_search.fuser.cost import parameters
from c2c_search.fuser.shapes import CacheShape


RECEIVER = CacheShape(layers=3, heads=2, head_dim=8)
SHARERS = {
    "wider": CacheShape(layers=4, heads=4, head_dim=16),
    "narrower": CacheShape(layers=2, heads=1, head_dim=4),
    "alike": CacheShape(layers=3, heads=2, head_dim=8),
}


@pytest.mark.parametrize("sharer", SHARERS.values(), ids=SHARERS)
@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"projector": "c2c", "width": 24}, "width"),
        ({"projector": "joint", "width": 24, "rank": 6}, "width"),
        ({"projector": "linear", "rank": 5}, "rank"),
    ],
    ids=["c2c", "joint", "linear"],
)
def test_no_other_size_is_nearer(fields, changed, sharer):
    config = FuserConfig(sharer="self", **fields)
    wanted = parameters(config, RECEIVER, sharer)
    found = as_large(config, RECEIVER, sharer)
    assert found.model_copy(update={changed: fields[changed]}) == config
    most = RECEIVER.size if changed == "rank" else 200
    off = {
        size: abs(
            parameters(config.model_copy(update={changed: size}), RECEIVER, RECEIVER) - wanted
        )
        for size in range(1, most + 1)
    }
    assert off[getattr(found, changed)] == min(off.values())


def test_between_alike_models_nothing_changes():
    config = FuserConfig(width=24, sharer="self")
    assert as_large(config, RECEIVER, SHARERS["alike"]) == config


@pytest.mark.parametrize("projector", ["linear", "ridge"])
def test_a_map_of_full_rank_stays_as_it_is(projector):
    config = FuserConfig(projector=projector, injection="replace", sharer="self")
    assert as_large(config, RECEIVER, SHARERS["wider"]) == config
