"""A token alignment from outside the package, and what a configuration needs to know of one."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import copy
from pathlib import Path

import pytest
from pydantic import ValidationError

from c2c_search.fuser.config import FuserConfig
from c2c_search.testing.tokenizers import family
from c2c_search.tokenization.alignments import TOKEN_ALIGNMENTS
from c2c_search.tokenization.alignments import first_token
from c2c_search.tokenization.alignments import longest_token
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.token_alignment import encode
from c2c_search.tokenization.token_alignment import one_to_one


# All that one takes: a file, and its dotted path in YAML.
MINE = """
from c2c_search.tokenization.alignments import token_alignment
from c2c_search.tokenization.one_to_one import synthesize

def last(lengths):
    return len(lengths) - 1

@token_alignment("last", reference="this test", response=last)
def last_piece(receivers, sharers, receiver, sharer):
    return synthesize(receivers, sharers, receiver, sharer, last)
"""

TESTS = """
from c2c_search.testing import TokenAlignmentConformance

class TestMine(TokenAlignmentConformance):
    plugin = "PLUGIN"
"""


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets what a test registers."""
    for name in ("_entries", "_names", "_plugins"):
        monkeypatch.setattr(TOKEN_ALIGNMENTS, name, copy(getattr(TOKEN_ALIGNMENTS, name)))


@pytest.mark.usefixtures("register")
def test_one_from_outside_is_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_alignments.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = "my_alignments.last_piece"
    assert FuserConfig(token_alignment=path).token_alignment == path
    receiver, sharer = family("words"), family("bytes")
    ids = receiver.convert_tokens_to_ids(["country"])
    pieces = sharer("country").input_ids
    assert len(pieces) > 1
    assert one_to_one(ids, receiver, sharer, path) == pieces[-1:]
    assert pieces[-1] in encode(asked("country"), "plain", receiver, sharer, path).sharer_ids


def test_one_from_outside_is_put_through_the_suite(tmp_path: Path) -> None:
    (tmp_path / "other_alignments.py").write_text(MINE)
    (tmp_path / "test_mine.py").write_text(TESTS.replace("PLUGIN", "other_alignments.last_piece"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["spann", "no_such_module.alignment", "os.path.join"])
def test_what_is_none_is_refused_by_a_configuration(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        FuserConfig(token_alignment=name)


def test_a_configuration_is_checked_without_the_tokenizers() -> None:
    code = (
        "import sys; from c2c_search.fuser.config import FuserConfig;"
        "[FuserConfig(token_alignment=name) for name in ('span', 'first', 'longest')];"
        "assert not {'numpy', 'torch', 'transformers'} & sys.modules.keys(), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_one_says_where_it_comes_from() -> None:
    assert all(entry.reference for entry in TOKEN_ALIGNMENTS.values())
    assert {name: entry.response for name, entry in TOKEN_ALIGNMENTS.items()} == {
        "span": longest_token,
        "first": first_token,
        "longest": longest_token,
    }
