from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from c2c_search import plugins
from c2c_search.errors import ConfigError
from c2c_search.plugins import ALLOWED
from c2c_search.plugins import Register
from c2c_search.plugins import foreign_file


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register[Callable[[], str]]:
    """A register of its own, with one built-in plug-in that is not imported yet."""
    fresh: Register[Callable[[], str]] = Register("kind", {"one": "built_in_kinds"})
    monkeypatch.setitem(sys.modules, "the_register", type(sys)("the_register"))
    sys.modules["the_register"].register = fresh
    plugins._import_entry_points.cache_clear()
    yield fresh
    plugins._import_entry_points.cache_clear()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes an importable module with functions that are plug-ins of the names given."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(module: str, *names: str, head: str = "") -> None:
        lines = ["from the_register import register", head]
        for name in names:
            lines.append(f"def {name}(): return {name!r}")
            lines.append(f"register.add({name!r}, {name}, {name})")
        lines.append("def undecorated(): pass")
        (tmp_path / f"{module}.py").write_text("\n".join(lines) + "\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    write("built_in_kinds", "one")
    return write


def test_a_built_in_name_is_checked_without_its_module(register, module) -> None:
    assert register.check("one") == "one"
    assert "built_in_kinds" not in sys.modules
    assert register["one"]() == "one"


def test_an_unknown_name_is_told_with_the_nearest(register, module) -> None:
    with pytest.raises(ConfigError, match=r"no such kind.*'onee'.*`one`"):
        register["onee"]
    with pytest.raises(ValueError, match="Did you mean `one`"):
        register.check("onee")
    assert "onee" not in register


def test_a_dotted_path_names_a_plug_in(register, module) -> None:
    module("mine", "two")
    assert register.check("mine.two") == "mine.two"
    assert register["mine.two"]() == "two"
    assert register.names() == ["one", "two"]


def test_where_one_is_written_is_told(register, module) -> None:
    module("mine", "two")
    assert register.module("one") == "built_in_kinds"
    assert "built_in_kinds" not in sys.modules
    assert register.module("mine.two") == register.module("two") == "mine"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("mine.undecorated", "decorator of a kind"),
        ("mine.nothing", "decorator of a kind"),
        ("nowhere.two", "must be importable.*ModuleNotFoundError"),
    ],
)
def test_what_is_no_plug_in_is_refused(register, module, path, says) -> None:
    module("mine", "two")
    with pytest.raises(ConfigError, match=says):
        register[path]


def test_a_module_that_fails_is_told(register, module) -> None:
    module("broken", head="1 / 0")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        register["broken.two"]


def test_a_foreign_file_imports_nothing_unasked(register, module, monkeypatch, tmp_path) -> None:
    trace = tmp_path / "imported"
    module("theirs", "two", head=f"open({str(trace)!r}, 'w').close()")
    with foreign_file(), pytest.raises(ConfigError, match=f"{ALLOWED}=theirs"):
        register["theirs.two"]
    assert not trace.exists()
    monkeypatch.setenv(ALLOWED, "others, theirs")
    with foreign_file():
        assert register["theirs.two"]() == "two"


def test_names_are_not_shared(register, module) -> None:
    module("mine", "two")
    module("other", "two")
    register["mine.two"]
    with pytest.raises(ConfigError, match="name of its own"):
        register["other.two"]
    module("thief", "one")
    with pytest.raises(ConfigError, match="name of its own"):
        register["thief.one"]


def test_a_module_imported_anew_registers_the_same(register, module) -> None:
    module("mine", "two")
    first = register["mine.two"]
    module("mine", "two")
    assert register["mine.two"] is not first


def test_entry_points_bring_names(register, module, monkeypatch) -> None:
    module("packaged", "three")
    found = [EntryPoint("packaged", "packaged", plugins.ENTRY_POINTS)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)
    assert register.check("three") == "three"
    assert list(register) == ["one", "three"]
    assert len(register) == 2


def test_a_broken_entry_point_is_told(register, module, monkeypatch) -> None:
    found = [EntryPoint("gone", "nowhere_at_all", plugins.ENTRY_POINTS)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)
    with pytest.raises(ConfigError, match=r"gone: nowhere_at_all.*Repair or uninstall"):
        register["three"]
