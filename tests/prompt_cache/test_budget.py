"""Sizes as people write them, and whose budget counts."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from c2c_search.errors import ConfigError
from c2c_search.prompt_cache.budget import VARIABLE
from c2c_search.prompt_cache.budget import budget
from c2c_search.prompt_cache.budget import read_size
from c2c_search.prompt_cache.budget import size_text


@pytest.fixture(autouse=True)
def disk(monkeypatch):
    """A disk with 100 GB free."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**11))


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("1.5 tb", 15 * 10**11), ("512MiB", 2**29), ("7", 7), ("3k", 3000)],
)
def test_sizes(text, size):
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "20 gigs", "-1GB", "4iB", "1e9"])
def test_what_is_no_size(text):
    with pytest.raises(ConfigError, match="A size must be"):
        read_size(text)


def test_sizes_for_people():
    assert [size_text(size) for size in (0, 999, 1000, 1.26e9, 2e15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.3 GB",
        "2000.0 TB",
    ]


def test_without_a_budget_half_of_the_free_disk(tmp_path):
    # 100 GB free and 20 GB of caches: the disk could hold 120 GB of them.
    assert budget(tmp_path / "not" / "there", None, 20 * 10**9) == 60 * 10**9


def test_the_environment_overrides_the_pipeline(tmp_path, monkeypatch):
    assert budget(tmp_path, 5 * 10**9, 0) == 5 * 10**9
    monkeypatch.setenv(VARIABLE, "7GB")
    assert budget(tmp_path, 5 * 10**9, 0) == 7 * 10**9
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(ConfigError, match=f"variable {VARIABLE} must be"):
        budget(tmp_path, None, 0)


def test_never_more_than_the_disk_has(tmp_path):
    assert budget(tmp_path, 10**15, 10**9) == 101 * 10**9 - 128 * 2**20
