"""Closed-form maps, against numpy and against what they promise."""

from __future__ import annotations

import pytest
import torch

from c2c_search.fuser import ridge
from c2c_search.fuser.calibration_part import CalibrationPart
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.moments import Moments
from c2c_search.testing.pairs import RECEIVER
from c2c_search.testing.pairs import SHARER
from c2c_search.testing.pairs import caches


def moments(inputs, targets, parts: int = 1) -> Moments:
    found = Moments()
    for part in zip(inputs.chunk(parts, dim=1), targets.chunk(parts, dim=1), strict=True):
        found.add(*part)
    return found


def fit(inputs, targets, penalty):
    return ridge.fit(moments(inputs, targets), penalty)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    inputs = 3 + torch.randn(2, 200, 5, generator=generator)
    noise = 0.1 * torch.randn(2, 200, 4, generator=generator)
    return inputs, inputs @ torch.randn(2, 5, 4, generator=generator) - 1 + noise


def test_without_penalty_it_is_least_squares(data):
    inputs, targets = data
    weight, bias = fit(inputs, targets, 1e-12)
    design = torch.cat([inputs, torch.ones(2, 200, 1)], dim=2)
    expected = torch.linalg.lstsq(design, targets).solution
    torch.testing.assert_close(torch.cat([weight, bias], dim=1), expected, atol=1e-3, rtol=1e-3)


def test_a_penalty_shrinks_towards_the_mean(data):
    inputs, targets = data
    norms = []
    for penalty in (1e-3, 1.0, 1e6):
        weight, bias = fit(inputs, targets, penalty)
        norms.append(float(weight.norm()))
        # The intercept is not penalised: the mean is always met.
        told = (inputs @ weight + bias).mean(dim=1)
        torch.testing.assert_close(told, targets.mean(dim=1), atol=1e-3, rtol=1e-3)
    assert norms[0] > norms[1] > norms[2]
    assert norms[2] < 1e-3


def test_features_that_say_nothing_are_no_error():
    weight, bias = fit(torch.zeros(1, 10, 3), torch.ones(1, 10, 2), 0.1)
    assert torch.equal(weight, torch.zeros(1, 3, 2))
    assert torch.equal(bias, torch.ones(1, 1, 2))


@pytest.mark.parametrize("rank", [1, 2, 4, 7])
def test_factors_are_the_best_of_their_rank(data, rank):
    inputs, targets = data
    weight, _ = fit(inputs, targets, 1e-9)
    into, out_of = ridge.factorise(weight, moments(inputs, targets), rank)
    assert into.shape == (2, 5, rank)
    assert out_of.shape == (2, rank, 4)
    centred = inputs - inputs.mean(dim=1, keepdim=True)
    fitted = centred @ weight
    values = torch.linalg.svdvals(fitted)
    # Eckart and Young: what is missed is what lies in the other singular values.
    missed = (fitted - centred @ into @ out_of).square().sum(dim=(1, 2))
    torch.testing.assert_close(missed, values[:, rank:].square().sum(dim=1), atol=1e-2, rtol=1e-3)


def test_a_fit_does_not_depend_on_how_many_threads_were_asked_for():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 600, 256, generator=generator)
    targets = torch.randn(60, 600, 32, generator=generator)
    before, (weight, _) = torch.get_num_threads(), fit(inputs, targets, 1e-2)
    torch.set_num_threads(2)
    try:
        again, _ = fit(inputs, targets, 1e-2)
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(weight, again, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 7, 200])
def test_a_fit_does_not_depend_on_how_many_tokens_come_at_a_time(data, parts):
    inputs, targets = data
    inputs = inputs + 1e4  # far from zero, where products alone would have no digits left
    whole, some = moments(inputs, targets), moments(inputs, targets, parts)
    for one, other in zip(ridge.fit(whole, 0.1), ridge.fit(some, 0.1), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    weight, _ = ridge.fit(whole, 0.1)
    for one, other in zip(
        ridge.factorise(weight, whole, 2), ridge.factorise(weight, some, 2), strict=True
    ):
        torch.testing.assert_close(one.abs(), other.abs(), rtol=1e-3, atol=1e-4)  # up to a sign


def naive_weighted(inputs, targets, weights, penalty):
    """Ridge of one head: rows weighed one by one, the intercept solved for beside the weights."""
    inputs, targets, weights = inputs.double(), targets.double(), weights.double()
    mean = (weights[:, None] * inputs).sum(0) / weights.sum()
    centred = inputs - mean
    scale = (weights[:, None] * centred.square()).sum(0).mean()
    root = weights.sqrt()[:, None]
    size = inputs.shape[1]
    design = torch.cat([root * centred, root], dim=1)
    shrunk = torch.cat([(penalty * scale).sqrt() * torch.eye(size), torch.zeros(size, 1)], dim=1)
    rows = torch.cat([design, shrunk.double()])
    wanted = torch.cat([root * targets, torch.zeros(size, targets.shape[1])])
    solution = torch.linalg.lstsq(rows, wanted).solution
    weight = solution[:-1]
    return weight.float(), (solution[-1] - mean @ weight).float()


def weighed(tokens=60, parts=3):
    """Calibration parts of random caches, and of the attention that their tokens receive."""
    receiver, sharer = caches(tokens, seed=5)
    generator = torch.Generator().manual_seed(9)
    attention = torch.rand(RECEIVER.layers, RECEIVER.heads, tokens, generator=generator) ** 4
    cut = [tensor.chunk(parts, dim=2) for tensor in (receiver, sharer, attention)]
    return (receiver, sharer, attention), [
        CalibrationPart(r, s, None, a) for r, s, a in zip(*cut, strict=True)
    ]


@pytest.mark.parametrize("layers", ["last", "0, 2"])
@pytest.mark.parametrize("family", ["ridge", "linear", "joint"])
def test_each_head_has_the_map_of_what_it_attends_to(family, layers):
    (receiver, sharer, attention), parts = weighed()
    config = FuserConfig(
        projector=family,
        initialisation="zero" if family == "ridge" else "ridge",
        injection="replace",
        normalisation="none",
        dynamic_weight=False,
        ridge_penalty=0.3,
        ridge_weighting="attention",
        rank=24 if family == "joint" else None,
        layers=layers,
    )
    fuser = Fuser(config, RECEIVER, SHARER).eval()
    fuser.calibrate(lambda: parts)
    told = fuser(torch.zeros_like(receiver), sharer).unflatten(-1, (RECEIVER.heads, -1))
    for index, layer in enumerate(fuser.layers):
        for head in range(RECEIVER.heads):
            for kind in range(2):
                source = sharer[:, fuser.sources[index, 0]]
                inputs = source[kind] if family != "joint" else torch.cat([*source], dim=-1)
                targets = receiver[kind, layer].unflatten(-1, (RECEIVER.heads, -1))[:, head]
                weight, bias = naive_weighted(inputs, targets, attention[layer, head], 0.3)
                torch.testing.assert_close(
                    told[kind, layer, :, head], inputs @ weight + bias, atol=1e-4, rtol=1e-4
                )


def test_weights_that_are_equal_are_none():
    (receiver, sharer, attention), _ = weighed()
    found = []
    for weighting in ("none", "attention"):
        fields = {"injection": "replace", "ridge_weighting": weighting, "rank": 3}
        config = FuserConfig(projector="linear", initialisation="ridge", **fields)
        fuser = Fuser(config, RECEIVER, SHARER).eval()
        part = CalibrationPart(receiver, sharer, None, torch.full_like(attention, 0.25))
        fuser.calibrate(lambda part=part: [part])
        product = fuser.projector.compress.weight @ fuser.projector.projection.weight
        found.append((product, fuser.projector.projection.bias))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
