"""What slots hear: their own prompt alone, by windows at first, and by what is learned."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.pooling import Pool
from c2c_search.fuser.pooling import whole_prompts
from c2c_search.fuser.pooling import window_middles
from c2c_search.testing.pairs import RECEIVER
from c2c_search.testing.pairs import SHARER
from c2c_search.testing.pairs import caches
from c2c_search.testing.pairs import rotations
from c2c_search.testing.pairs import trained


def learned(slots=3, layers=2, size=4):
    pool = Pool(slots, layers, size)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return pool


def test_pooling_is_what_the_formula_says():
    pool, features = learned(), torch.randn(2, 2, 7, 4)
    pooled = pool(features, [5, 2])
    expected = torch.zeros(2, 2, 6, 4)
    for prompt, (first, count) in enumerate([(0, 5), (5, 2)]):
        for layer in range(2):
            for slot in range(3):
                logits = []
                for token in range(count):
                    keys, values = features[:, layer, first + token]
                    query = pool.queries[layer, slot]
                    off = (token + 0.5) / count - pool.centres[layer, 0, slot]
                    width = pool.log_widths[layer, 0, slot].exp()
                    score = query @ torch.cat([keys, values]) / math.sqrt(8)
                    logits.append(score - off**2 / (2 * width**2))
                weights = torch.stack(logits).softmax(dim=0)
                for kind in range(2):
                    tokens = features[kind, layer, first : first + count]
                    expected[kind, layer, 3 * prompt + slot] = weights @ tokens
    torch.testing.assert_close(pooled, expected)


def test_untrained_slots_hear_windows_from_first_to_last():
    pool = Pool(4, 1, 1)
    places = torch.arange(8.0).reshape(1, 1, 8, 1).repeat(2, 1, 1, 1)
    heard = pool(places, [8])[0, 0, :, 0]
    torch.testing.assert_close(heard, torch.tensor([0.78, 2.5, 4.5, 6.22]), atol=0.05, rtol=0)


def test_one_slot_of_one_token_is_that_token():
    features = torch.randn(2, 3, 1, 4)
    torch.testing.assert_close(Pool(5, 3, 4)(features, [1]), features.expand(-1, -1, 5, -1))


def test_a_message_of_nothing_says_nothing():
    pooled = learned()(torch.randn(2, 2, 3, 4), [0, 3, 0])
    assert not pooled[:, :, [0, 1, 2, 6, 7, 8]].any()
    assert pooled[:, :, 3:6].all()


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    slots=st.integers(1, 6),
    data=st.data(),
)
def test_no_prompt_hears_another(lengths, slots, data):
    pool, other = learned(slots), data.draw(st.integers(0, len(lengths) - 1))
    features = torch.randn(2, 2, sum(lengths), 4)
    pooled = pool(features, lengths)
    for mine, own in zip(features.split(lengths, dim=2), pooled.split(slots, dim=2), strict=True):
        torch.testing.assert_close(pool(mine, [mine.shape[2]]), own)
    changed = features.clone()
    changed.split(lengths, dim=2)[other].fill_(math.nan)  # what is masked would multiply by 0
    changed = pool(changed, lengths).split(slots, dim=2)
    for index, (now, before) in enumerate(zip(changed, pooled.split(slots, dim=2), strict=True)):
        if index == other:
            assert now.isnan().all()
        else:
            torch.testing.assert_close(now, before)


def test_an_untrained_fuser_of_a_linear_map_projects_the_windows():
    config = FuserConfig(
        projector="linear",
        injection="append",
        slots=2,
        initialisation="random",
        normalisation="none",
    )
    pooling, whole = (
        Fuser(config, RECEIVER, SHARER),
        Fuser(config.model_copy(update={"slots": None}), RECEIVER, SHARER),
    )
    own = {name: t for name, t in pooling.state_dict().items() if not name.startswith("pool.")}
    whole.load_state_dict(own)
    receiver, sharer = caches(6)
    weights = -((torch.arange(6) + 0.5) / 6 - torch.tensor([[0.25], [0.75]])).square() / 2 * 16
    expected = weights.softmax(dim=1) @ whole(receiver, sharer)
    torch.testing.assert_close(pooling(receiver, sharer), expected)


def test_parts_are_whole_prompts(monkeypatch):
    found = [*whole_prompts([3, 2, 9, 1], 2, 5)]
    assert found == [
        (slice(0, 5), slice(0, 4), [3, 2]),
        (slice(5, 14), slice(4, 6), [9]),
        (slice(14, 15), slice(6, 8), [1]),
    ]
    fuser = trained(FuserConfig(injection="append", slots=2, width=8, keys="unrotated")).eval()
    inputs = (*caches(15), rotations(fuser.config, 15, lengths=[3, 2, 9, 1]), [3, 2, 9, 1])
    with torch.no_grad():
        whole = fuser(*inputs)
        monkeypatch.setattr("c2c_search.fuser.fuser._TOKENS_AT_ONCE", 5)
        torch.testing.assert_close(fuser(*inputs), whole)


@pytest.mark.parametrize(
    ("tokens", "slots", "expected"),
    [(8, 2, [2, 6]), (8, 4, [1, 3, 5, 7]), (1, 3, [0, 0, 0]), (3, 3, [0, 1, 2]), (5, 1, [2])],
)
def test_slots_stand_in_the_middle_of_their_windows(tokens, slots, expected):
    assert window_middles(torch.arange(tokens), slots).tolist() == expected


def test_slots_need_entries_of_their_own():
    for injection in ("residual", "replace"):
        with pytest.raises(ValueError, match="to append or side, or leave slots out"):
            FuserConfig(injection=injection, slots=4)


def test_a_configuration_without_slots_is_what_it_was():
    assert "slots" not in FuserConfig().model_dump()
    assert FuserConfig(injection="append", slots=4).model_dump()["slots"] == 4
