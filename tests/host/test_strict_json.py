"""A JSON file has one meaning, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.errors import IntegrityError
from c2c_search.host import strict_json
from c2c_search.host.strict_json import content_sha256
from c2c_search.host.strict_json import read_object


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, null, {"b": "é"}]}')
    assert read_object(tmp_path / "a.json") == {"a": [1, 2.5, None, {"b": "é"}]}
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "b.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": {"b": 1, "b": 2}}',
        '{"a":' * 99_999,
        f'{{"a": {"9" * 5000}}}',
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"a\.json must be a JSON object.*The way out"):
        read_object(tmp_path / "a.json", hint="The way out.")


def test_neither_other_bytes_nor_too_many_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(IntegrityError, match="utf-8"):
        read_object(tmp_path / "a.json")
    monkeypatch.setattr(strict_json, "LARGEST", 5)
    with pytest.raises(IntegrityError, match="more than 5 bytes"):
        read_object(tmp_path / "a.json")


def test_a_hash_is_of_the_content() -> None:
    assert content_sha256({"a": 1, "b": [1.0]}) == content_sha256({"b": [1.0], "a": 1})
    assert content_sha256({"a": 1}) != content_sha256({"a": 1.0})
    with pytest.raises(ValueError, match="JSON compliant"):
        content_sha256({"a": float("nan")})
