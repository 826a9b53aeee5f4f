"""`import-rosetta` and `export`: every option arrives, and every mistake is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.champion import export
from c2c_search.champion import imported
from c2c_search.champion import inspection
from c2c_search.cli.options import template_named
from c2c_search.errors import ConfigError
from c2c_search.tokenization.templates import RoleTemplates


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """What the commands ask of the champion room, which does not do it."""
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def record(name: str) -> Callable[..., None]:
        return lambda *values, **options: calls.append((name, values, options))

    monkeypatch.setattr(imported, "import_rosetta", record("import"))
    monkeypatch.setattr(export, "export", record("c2c"))
    monkeypatch.setattr(export, "export_rosetta", record("rosetta"))
    return calls


def test_import_passes_its_options(cli: Cli, calls: list[Any]) -> None:
    models = ("--receiver", "hf:a/b", "--sharer", "path:c")
    status, out, _ = cli("import-rosetta", "final", *models, "--to", "champion")
    assert status == 0
    assert "nothing was measured" in out
    options = {"receiver": "hf:a/b", "sharer": "path:c", "sharer_index": None}
    options |= {"template": "plain", "replace": False}
    assert calls == [("import", (Path("final"), Path("champion")), options)]
    more = ("--sharer-index", "2", "--template", "chat", "--replace")
    assert cli("import-rosetta", "final", *models, "--to", "champion", *more)[0] == 0
    roles = ("--template", "receiver=chat,sharer=plain")
    assert cli("import-rosetta", "final", *models, "--to", "champion", *roles)[0] == 0
    assert calls[2][2]["template"] == RoleTemplates(receiver="chat", sharer="plain")
    assert calls[1][2] == options | {"sharer_index": 2, "template": "chat", "replace": True}


@pytest.mark.parametrize(
    "template",
    ["", "receiver=chat", "receiver=chat,receiver=plain,sharer=chat", "receiver=chat,sharer=x"],
)
def test_a_template_is_one_or_one_for_each_role(template: str) -> None:
    with pytest.raises(ConfigError, match="must be plain or chat, or name one for each role"):
        template_named(template)


def test_import_needs_both_models_and_a_place(cli: Cli) -> None:
    status, _, err = cli("import-rosetta", "final", "--receiver", "hf:a/b")
    assert status == 2
    assert "--sharer" in err or "--to" in err
    status, _, err = cli(
        "import-rosetta", "x", "--receiver", "a", "--sharer", "b", "--to", "c", "--template", "odd"
    )
    assert status == 2
    assert "chat" in err


def test_import_tells_what_is_no_checkpoint(cli: Cli, tmp_path: Path) -> None:
    models = ("--receiver", "path:a", "--sharer", "path:b")
    status, _, err = cli("import-rosetta", str(tmp_path), *models, "--to", str(tmp_path / "to"))
    assert status == 2
    assert err.startswith("Error: ")
    assert "projector_config.json" in err


@pytest.mark.parametrize("layout", ["c2c", "rosetta"])
def test_export_takes_a_champions_folder(cli: Cli, calls: list[Any], layout: str) -> None:
    status, out, _ = cli("export", "--from", "mine", "--to", "there", "--format", layout)
    assert status == 0
    assert "there" in out
    options = {"replace": False} | ({"sign_with": None} if layout == "c2c" else {})
    assert calls == [(layout, (Path("mine"), Path("there")), options)]


def test_export_takes_a_studys_champion_in_either_layout(
    cli: Cli, calls: list[Any], tmp_path: Path
) -> None:
    folder = tmp_path / "champions" / "tiny"
    folder.mkdir(parents=True)
    place = ("--to", "there", "--root", str(tmp_path), "--study", "tiny")
    assert cli("export", *place)[0] == 0
    assert cli("export", *place, "--format", "rosetta", "--replace")[0] == 0
    assert calls == [
        ("c2c", (folder, Path("there")), {"replace": False, "sign_with": None}),
        ("rosetta", (folder, Path("there")), {"replace": True}),
    ]


def test_export_takes_a_study_or_a_folder(cli: Cli, calls: list[Any]) -> None:
    status, _, err = cli("export", "--to", "there", "--study", "tiny", "--from", "mine")
    assert status == 2
    assert "--study tiny --from mine" in err
    assert "Leave one of them out" in err
    assert calls == []
    status, _, err = cli("export", "--to", "there", "--format", "onnx")
    assert status == 2
    assert "rosetta" in err


def test_export_signs_a_champion_and_no_checkpoint(cli: Cli, calls: list[Any]) -> None:
    taken = ("export", "--from", "mine", "--to", "there", "--sign", "key.pem")
    assert cli(*taken)[0] == 0
    assert calls == [
        ("c2c", (Path("mine"), Path("there")), {"replace": False, "sign_with": Path("key.pem")})
    ]
    status, _, err = cli(*taken, "--format", "rosetta")
    assert status == 2
    assert "has no sums to sign" in err


def test_verify_says_what_it_checked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def inspect(*given: Any, **more: Any) -> list[tuple[str, str]]:
        asked.append((given, more))
        return [("sums", "4 files are as they were"), ("signature", "none")]

    monkeypatch.setattr(inspection, "inspect_champion", inspect)
    status, out, _ = cli("verify", "there", "--key", "mine.pub", "--files-only")
    assert status == 0
    assert asked == [((Path("there"), Path("mine.pub")), {"ask": False})]
    assert out == "sums       4 files are as they were.\nsignature  none.\n"
