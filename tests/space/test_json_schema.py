"""The schemas that are published are those of the code, and know what it knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import get_args

import jsonschema
import pytest
import yaml

from c2c_search.config.document import read
from c2c_search.space.json_schema import FileKind
from c2c_search.space.json_schema import json_schema
from c2c_search.space.json_schema import written


ROOT = Path(__file__).parents[2]
SHIPPED = sorted((*ROOT.glob("spaces/*.yaml"), *ROOT.glob("pipelines/*.yaml")))


@pytest.fixture(scope="module")
def check() -> Any:
    made = {
        kind: jsonschema.Draft202012Validator(json_schema(kind)) for kind in get_args(FileKind)
    }
    return lambda kind, data: [error.message for error in made[kind].iter_errors(data)]


@pytest.mark.parametrize("kind", get_args(FileKind))
def test_the_published_schema_is_current(kind: FileKind) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(kind))
    published = ROOT / "docs" / "schemas" / f"{kind}.json"
    again = f"c2c-search schema {kind} --to docs/schemas/{kind}.json"
    assert published.read_text() == written(kind), again


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_shipped_file_fits_and_names_its_schema(check: Any, path: Path) -> None:
    kind = path.parent.name.removesuffix("s")
    assert check(kind, read(path).data) == []
    first = path.read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema=../docs/schemas/{kind}.json"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("trials: 6", "trails: 6", "'trails' was unexpected"),
        ("trials: 6", "trials: 0", "less than the minimum"),
        ("choices: [1, 2, 3, 4]", "choices: [1, 9]", "9 is greater than the maximum of 8"),
        ("fuser.depth:\n", "fuser.dept:\n", "'fuser.dept' was unexpected"),
        ("[none, rms, calibrated]", "[none, rsm]", "'rsm' is not one of"),
        ("[none, layer, head, token, value]", "layer", "'layer' is not valid under any"),
    ],
)
def test_what_an_editor_underlines(check: Any, old: str, new: str, told: str) -> None:
    text = (ROOT / "spaces" / "names.yaml").read_text()
    assert old in text
    # Of a line that is enqueued, too.
    problems = check("space", yaml.safe_load(text.replace(old, new, 1)))
    assert any(told in problem for problem in problems), problems
