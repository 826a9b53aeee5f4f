from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.errors import ConfigError
from c2c_search.space.schema import Space


def test_every_wrong_source_is_told(space_file: Path) -> None:
    text = space_file.read_text().replace('"path:a"', '"pypi:nothing"', 1)
    space_file.write_text(text.replace('sharer: "path:a"', 'sharer: "elsewhere:x"'))
    with pytest.raises(ConfigError, match="2 problems") as error:
        Space.load(space_file)
    assert "pairs.there.receiver" in str(error.value)
    assert "pairs.back.sharer" in str(error.value)


def test_the_budget_can_be_overruled(space_file: Path) -> None:
    assert Space.load(space_file).search.trials == 5
    assert Space.load(space_file, 9).search.trials == 9


def test_what_may_change_is_not_part_of_the_identity(space_file: Path) -> None:
    before = Space.load(space_file)
    text = space_file.read_text().replace("trials: 5", "trials: 6")
    space_file.write_text(text.replace("pruner: halving", "pruner: none"))
    after = Space.load(space_file)
    assert after.identity() == before.identity()
    assert after.space_hash() == before.space_hash()


@pytest.mark.parametrize(
    ("old", "new"),
    [("int: [1, 8]", "int: [1, 4]"), ("seed: 0", "seed: 1"), ("path:b", "path:c")],
)
def test_identity_and_hash_change_together(space_file: Path, old: str, new: str) -> None:
    before = Space.load(space_file)
    space_file.write_text(space_file.read_text().replace(old, new))
    after = Space.load(space_file)
    assert after.identity() != before.identity()
    assert after.space_hash() != before.space_hash()
