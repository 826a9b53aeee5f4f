"""The catalogue's entries hang together."""

from __future__ import annotations

import re

import pytest

from c2c_search.models.catalogue import CATALOGUE
from c2c_search.models.catalogue import CatalogueModel


@pytest.mark.parametrize("model", CATALOGUE.values(), ids=CATALOGUE)
def test_an_entry_is_pinned_and_whole(model: CatalogueModel) -> None:
    assert CATALOGUE[model.name] is model
    assert re.fullmatch(r"[0-9a-f]{64}", model.gguf_sha256)
    assert any(wheel.parts for wheel in model.wheels)
    assert any(wheel.documents for wheel in model.wheels), "the licence goes along"
    assert model.gguf_size < model.converted_size
    assert model.licence.notice
    assert model.licence.url.startswith("https://")
    hashes = [wheel.sha256 for wheel in model.wheels]
    assert len(set(hashes)) == len(hashes)
    for wheel in model.wheels:
        assert re.fullmatch(r"[0-9a-f]{64}", wheel.sha256)
        name = wheel.distribution.replace("-", "_")
        assert wheel.filename == f"{name}-{wheel.version}-py3-none-any.whl"
        assert wheel.requirement == f"{wheel.distribution}=={wheel.version}"


def test_parts_are_in_order() -> None:
    parts = [part for wheel in CATALOGUE["gemma-3-270m"].wheels for part in wheel.parts]
    assert [part[-2:] for part in parts] == ["00", "01", "02", "03"]
