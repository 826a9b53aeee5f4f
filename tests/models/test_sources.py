"""Model sources: what is understood, and what is said about the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.errors import SourceError
from c2c_search.models.catalogue import CATALOGUE
from c2c_search.models.sources import SCHEMES
from c2c_search.models.sources import GgufSource
from c2c_search.models.sources import HubSource
from c2c_search.models.sources import PathSource
from c2c_search.models.sources import PypiSource
from c2c_search.models.sources import parse_source
from c2c_search.models.sources import short_name
from c2c_search.models.sources import short_names


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pypi:gemma-3-270m", PypiSource("gemma-3-270m")),
        ("hf:Qwen/Qwen3-0.6B", HubSource("Qwen/Qwen3-0.6B")),
        ("hf:Qwen/Qwen3-0.6B@main", HubSource("Qwen/Qwen3-0.6B", "main")),
        ("hf:gpt2@refs/pr/1", HubSource("gpt2", "refs/pr/1")),
        ("path:models/mine", PathSource(Path("models/mine"))),
        ("path:~/mine", PathSource(Path.home() / "mine")),
        ("gguf:/m/a:b.gguf", GgufSource(Path("/m/a:b.gguf"))),
    ],
)
def test_every_scheme(text: str, source: object) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("smollm2-135m-instruct", "pypi:smollm2-135m-instruct"),
        ("pypi:SmolLM2-135M", "pypi:smollm2-135m-instruct"),
        ("pypi:gemma-270m", "pypi:gemma-3-270m"),
        ("pypy:gemma-3-270m", "pypi:gemma-3-270m"),
        ("HF:Qwen/Qwen3-0.6B", "hf:Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "hf:Qwen/Qwen3-0.6B"),
        ("./mine", "path:./mine"),
        ("~/mine/model.gguf", "gguf:~/mine/model.gguf"),
    ],
)
def test_an_error_names_the_nearest_source(text: str, meant: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_source(text)
    assert f"Did you mean '{meant}'?" in str(caught.value)
    assert all(name in str(caught.value) for name in CATALOGUE)


@pytest.mark.parametrize(
    "text", ["", "x", "gpt-5", "http://a/b", "pypi:", "hf:", "path:", "gguf:"]
)
def test_an_error_lists_schemes_and_catalogue(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_source(text)
    scheme = text.partition(":")[0]
    shown = [SCHEMES[scheme]] if scheme in SCHEMES else SCHEMES.values()
    assert all(form in str(caught.value) for form in shown)
    assert all(name in str(caught.value) for name in CATALOGUE)


@pytest.mark.parametrize(
    "text", ["hf:a/b/c", "hf:a b", "hf:-a/b", "hf:a/b@", "hf:a@b@c", "hf:a/b@x y"]
)
def test_a_hub_source_needs_a_repository(text: str) -> None:
    with pytest.raises(SourceError, match="hf:Qwen"):
        parse_source(text)


@settings(deadline=None)
@given(st.text(max_size=30), st.sampled_from(["", *(f"{scheme}:" for scheme in SCHEMES)]))
def test_any_text_is_a_source_that_reads_back_or_a_source_error(text: str, prefix: str) -> None:
    try:
        source = parse_source(prefix + text)
    except SourceError:
        return
    assert parse_source(str(source)) == source


def test_reading_sources_imports_nothing_heavy() -> None:
    check = (
        "import sys, c2c_search.models.sources, c2c_search.models.loading;"
        "heavy = {'torch', 'transformers', 'numpy', 'huggingface_hub'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("pypi:gemma-3-270m", "gemma-3-270m"),
        ("hf:Qwen/Qwen3-0.6B@main", "Qwen/Qwen3-0.6B@main"),
        ("path:/home/me/models/tiny/", "tiny"),
        ("path:.", "."),
        ("path:/", "/"),
        ("gguf:/m/a:b.gguf", "a:b.gguf"),
    ],
)
def test_a_table_has_room_for_the_name_alone(source: str, name: str) -> None:
    assert short_name(source) == name


def test_models_of_one_name_get_as_much_of_their_paths_as_it_takes() -> None:
    sources = ["path:/x/run/a", "path:/y/run/a", "path:/y/b", "pypi:gemma-3-270m"]
    assert list(short_names(sources).values()) == ["x/run/a", "y/run/a", "b", "gemma-3-270m"]


PARTS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map("/".join)


@given(st.lists(PARTS.map("path:/{}".format) | PARTS.map("gguf:{}".format), unique=True))
def test_no_two_models_share_a_short_name(sources: list[str]) -> None:
    names = short_names(sources)
    assert names.keys() == set(sources)
    assert len(set(names.values())) == len(sources)
