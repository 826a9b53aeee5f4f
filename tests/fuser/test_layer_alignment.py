"""Layer alignments, against hand-made maps and the published ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.fuser import layer_alignment
from c2c_search.fuser.layer_alignment import LAYER_ALIGNMENTS
from c2c_search.fuser.layer_alignment import linear_cka
from c2c_search.fuser.layer_alignment import similarity


@pytest.mark.parametrize(
    ("name", "receiver", "sharer", "count", "expected"),
    [
        ("terminal", 4, 3, 1, [[0], [0], [1], [2]]),
        ("terminal", 2, 5, 1, [[3], [4]]),
        ("terminal", 2, 5, 2, [[3, 2], [4, 3]]),
        ("proportional", 3, 7, 1, [[0], [3], [6]]),
        ("proportional", 3, 2, 4, [[0, 1], [0, 1], [1, 0]]),
        ("learned", 3, 5, 3, [[0, 1, 2], [2, 1, 3], [4, 3, 2]]),
    ],
)
def test_known_maps(name, receiver, sharer, count, expected):
    assert LAYER_ALIGNMENTS[name].align(receiver, sharer, count, None) == expected


@given(
    st.sampled_from(["terminal", "proportional", "learned"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 5),
)
def test_every_receiver_layer_hears_existing_layers(name, receiver, sharer, window):
    sources = LAYER_ALIGNMENTS[name].align(receiver, sharer, window, None)
    assert len(sources) == receiver
    assert len({len(layer) for layer in sources}) == 1
    for layer in sources:
        assert len(set(layer)) == len(layer)
        assert all(0 <= source < sharer for source in layer)
    firsts = [layer[0] for layer in sources]
    assert firsts == sorted(firsts)
    assert firsts[-1] == sharer - 1


def test_similarity_finds_the_layers_it_was_made_from(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    receiver = torch.randn(3, 200, 6, generator=generator)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    sharer = torch.stack([receiver[2], receiver[0], receiver[1]]) @ rotation * 4 + 1
    cka = linear_cka(lambda: [(receiver, sharer)])
    assert similarity(3, 3, 1, cka) == [[1], [2], [0]]
    assert [len(sources) for sources in similarity(3, 3, 4, cka)] == [3, 3, 3]
    assert cka.max() == pytest.approx(1.0, abs=1e-4)
    parts = list(zip(receiver.split(30, dim=1), sharer.split(30, dim=1), strict=True))
    torch.testing.assert_close(linear_cka(lambda: parts), cka)
    monkeypatch.setattr(layer_alignment, "_LARGEST_MATRIX", 1)  # one receiver layer at a time
    torch.testing.assert_close(linear_cka(lambda: parts), cka)


def test_similarity_says_what_it_needs():
    with pytest.raises(ValueError, match="calibration prompts"):
        similarity(3, 3, 1, None)
