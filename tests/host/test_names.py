from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.host.names import LONGEST
from c2c_search.host.names import fit
from c2c_search.host.names import fit_path
from c2c_search.host.names import is_fit


# What looks alike in some store, beside any text at all.
ALIKE = st.text(alphabet="aA-_. /é\u0301eß\u2126ΩC1:", max_size=12)
TEXTS = st.text() | ALIKE | st.sampled_from(["con", "Con.json", "..", "", "x" * 300, "\ud800"])
MLFLOW = re.compile(r"[/\w.\- ]*")  # what MLflow allows in names of metrics, params and tags


def folded(name: str) -> str:
    """As a file system or a database sees it that folds case and accents."""
    return unicodedata.normalize("NFKC", name).casefold()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("high_school_physics", "high_school_physics"),
        ("trial-004 twin", "trial-004 twin"),
        ("Q&A", "Q-A-f0fd4c68e5"),
        ("日本語", "日本語-77710aedc7"),
        ("..", "5ec1f7e700"),
        ("", "e3b0c44298"),
        ("con.json", "con-json-fd2453c327"),
        ("q-f0fd4c68e5", "q-f0fd4c68e5-216d72414e"),
    ],
)
def test_names_can_be_read(text: str, name: str) -> None:
    assert fit(text) == name


@given(st.lists(TEXTS, unique=True, max_size=30))
def test_no_two_texts_share_a_name_in_any_store(texts: list[str]) -> None:
    assert len({folded(fit(text)) for text in texts}) == len(texts)
    assert len({folded(fit_path(text)) for text in texts}) == len(texts)


@given(TEXTS)
def test_a_name_is_one_component_of_a_path_within_bounds(text: str) -> None:
    name = fit(text)
    assert MLFLOW.fullmatch(name)
    assert is_fit(name)
    assert len(name.encode()) <= LONGEST
    assert ".." not in name
    assert "/" not in name
    assert name == name.strip(" .-")
    assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name)
    assert unicodedata.normalize("NFC", name) == name


@given(TEXTS)
def test_a_path_never_climbs(text: str) -> None:
    path = fit_path(text)
    assert all(map(is_fit, path.split("/")))
    assert len(path) <= 200


@given(TEXTS)
def test_what_is_made_fit_again_is_another_name(text: str) -> None:
    # Else a text that looks like a name made here would take its place.
    assert (fit(fit(text)) == text) == (fit(text) == text)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a/b", "a\\b", "a\0", "nul", "NUL.txt", "a\n", "-a"]
)
def test_what_is_no_name(text: str) -> None:
    assert not is_fit(text)


@given(name=TEXTS)
def test_a_name_makes_a_file(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / f"{fit(name)}.json"
    file.write_text(name, encoding="utf-8", errors="surrogatepass")
    assert file.parent == folder
    file.unlink()
    assert Path(file.name).name == file.name
