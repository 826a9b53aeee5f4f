from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.errors import IntegrityError
from c2c_search.training.remote import parcel


def write(folder: Path, content: dict[str, str]) -> None:
    for path, text in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def read(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*.*")}


def test_only_what_changed_travels_and_what_is_gone_goes(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write(here, {"a.txt": "untouched", "checkpoints/step-1/x.bin": "1", parcel.POINTER: "1"})
    first, sums = parcel.pack(here, {})
    parcel.unpack(first, there)
    assert read(there) == read(here)
    assert parcel.sums_of(there) == sums
    (here / "checkpoints/step-1/x.bin").unlink()
    write(here, {"checkpoints/step-2/x.bin": "2", parcel.POINTER: "2"})
    second, sums = parcel.pack(here, sums)
    assert b"untouched" not in second
    parcel.unpack(second, there)
    assert read(there) == read(here)
    assert not (there / "checkpoints/step-1").exists()
    assert parcel.pack(here, sums) == (b"", sums)


def test_a_missing_folder_is_an_empty_parcel(tmp_path: Path) -> None:
    assert parcel.pack(tmp_path / "none", {}) == (b"", {})
    parcel.unpack(b"", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b"secret", b"secreT", "not those that were packed"),
        (b"secret", b"secretly", "longer than it says"),
        (b"secret", b"sec", "not those that were packed"),
        (b'"a.txt"', b'"../a.txt"', "leave the folder"),
        (b'"a.txt"', b'"/a.txt"', "leave the folder"),
        (b'"gone":[]', b'"gone":["../../x"]', "leave the folder"),
        (b'{"files"', b'{"filez"', "first line"),
    ],
)
def test_what_is_not_as_it_was_packed_is_refused_before_anything_is_written(
    tmp_path: Path, before: bytes, after: bytes, reason: str
) -> None:
    write(tmp_path / "here", {"a.txt": "secret"})
    packed, _ = parcel.pack(tmp_path / "here", {})
    assert before in packed
    with pytest.raises(IntegrityError, match=reason):
        parcel.unpack(packed.replace(before, after), tmp_path / "there")
    assert not (tmp_path / "there").exists()
