from __future__ import annotations

import datetime
from typing import Annotated
from typing import Literal

import pytest
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field

from c2c_search.config.document import parse
from c2c_search.config.problems import build
from c2c_search.config.problems import in_order
from c2c_search.config.problems import validate
from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.errors import suggestion


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = Field(1, ge=1)
    width: int = Field(1, alias="wide")


class _Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    plain: _Inner = _Inner()
    perhaps: _Inner | None = None
    by_name: dict[str, _Inner] = {}
    many: tuple[_Inner, ...] = ()


class _Listed(BaseModel):
    some: tuple[Literal["a"], ...] = Field(min_length=1)


class _Counted(BaseModel):
    count: Annotated[int, Field(ge=1)] | Literal["auto"] = 1


def _problems(text: str, model: type[BaseModel] = _Outer) -> list[str]:
    return [str(problem) for problem in validate(model, parse(text, "a.yaml"))[1]]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("plain: {dept: 1}", "9 plain.dept"),
        ("perhaps: {dept: 1}", "11 perhaps.dept"),
        ("by_name: {x: {dept: 1}}", "15 by_name.x.dept"),
        ("many: [{dept: 1}]", "9 many[0].dept"),
    ],
)
def test_an_unknown_key_gets_its_nearest_name_anywhere(text: str, where: str) -> None:
    expected = f"a.yaml:1:{where}: There is no key `dept` here. Did you mean `depth`?"
    assert _problems(text) == [expected]


def test_an_unknown_key_that_is_near_nothing_gets_all_names() -> None:
    assert _problems("plain: {zzz: 1}")[0].endswith("Valid: depth, wide.")


def test_problems_come_from_top_to_bottom() -> None:
    found = _problems("zzz: 1\nmany: 3\nplain:\n  depth: 0\nby_name: []\n")
    assert found == [
        "a.yaml:1:1 zzz: There is no key `zzz` here. Valid: by_name, many, perhaps, plain.",
        "a.yaml:2:1 many: Must be a list. Got 3.",
        "a.yaml:4:3 plain.depth: Must be greater than or equal to 1. Got 0.",
        "a.yaml:5:1 by_name: Must be a mapping of keys to values. Got [].",
    ]


def test_duplicates_and_wrong_values_are_reported_together() -> None:
    assert len(_problems("plain: {depth: 0}\nmany: []\nmany: []\n")) == 2


def test_build_returns_the_model_or_raises_all() -> None:
    assert build(_Outer, parse("plain: {depth: 2}", "a.yaml")).plain.depth == 2
    with pytest.raises(ConfigError, match="2 problems:") as caught:
        build(_Outer, parse("plain: {depth: x, zzz: 1}", "a.yaml"))
    assert caught.value.exit_code == 2


def test_build_refuses_a_valid_model_with_a_duplicate_key() -> None:
    with pytest.raises(ConfigError, match="stands here already"):
        build(_Outer, parse("many: []\nmany: []\n", "a.yaml"))


def test_problems_without_a_line_come_first() -> None:
    first, second = Problem("a.yaml:2:1 x", "Rule."), Problem("a.yaml", "Rule.")
    assert in_order([first, second]) == [second, first]


def test_a_long_list_of_names_is_cut() -> None:
    assert suggestion("?", [f"name{index:02}" for index in range(40)]).endswith("name29, ....")


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ("[1]", "8 some[0]: Must be 'a'. Got 1."),
        ("[]", "1 some: Must have at least 1 item, not 0."),
    ],
    ids=["wrong", "none"],
)
def test_a_list_is_not_too_short_for_what_is_wrong_in_it(members: str, told: str) -> None:
    (problem,) = _problems(f"some: {members}", _Listed)
    assert problem.startswith(f"a.yaml:1:{told}")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "null"),
        ({"a": None, "b": [True, (False, 0, 1.5)]}, "{'a': null, 'b': [true, [false, 0, 1.5]]}"),
        (datetime.date(2026, 7, 31), "2026-07-31"),
        ("None", "'None'"),
    ],
)
def test_values_are_told_as_yaml_writes_them(value: object, told: str) -> None:
    assert str(ConfigError("Must be so.", value=value)) == f"Must be so. Got {told}."


def test_a_value_that_is_deep_or_long_is_cut() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert str(ConfigError("Must be so.", value=deep)).endswith("[...]" + "]" * 39 + ".")
    assert len(str(ConfigError("Must be so.", value=[True] * 10**6))) < 1100


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("0", "Must be greater than or equal to 1, or 'auto'. Got 0."),
        ("aut", "Must be a valid integer, or 'auto'. Got 'aut'. Did you mean `auto`?"),
        ("'3'", "Must be a valid integer, or 'auto'. Got '3'. Write it in digits, without"),
        ("[2]", "Must be a valid integer, or 'auto'. Got [2]."),
    ],
)
def test_a_value_of_none_of_several_kinds_is_one_problem(value: str, told: str) -> None:
    (problem,) = _problems(f"count: {value}", _Counted)
    assert problem.startswith(f"a.yaml:1:1 count: {told}")
