"""What is set before champions are loaded."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from c2c_search.errors import ConfigError
from c2c_search.server import run as running
from c2c_search.server.limits import ServerLimits


def test_kernels_are_bounded_unless_somebody_says_how_many(monkeypatch):
    environment = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}
    monkeypatch.setattr("os.environ", environment)
    monkeypatch.setattr(running, "read_manifest", lambda folder: None)
    local = partial(running.run, host="127.0.0.1", port=0, api_key=None, local=True)
    with pytest.raises(ConfigError, match="different names"):
        local([Path("a"), Path("b/../a")], limits=ServerLimits())
    assert environment == {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7", "LRU_CACHE_CAPACITY": "1"}
