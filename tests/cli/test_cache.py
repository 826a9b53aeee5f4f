"""``c2c-search cache`` on a store made by hand: no model, no torch."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from c2c_search.cli.cache import _lines
from c2c_search.models.audit import AuditedModel
from c2c_search.prompt_cache import draft_lists
from c2c_search.prompt_cache.draft_lists import DraftLine
from c2c_search.prompt_cache.draft_lists import DraftList
from c2c_search.prompt_cache.entries import FOLDER
from c2c_search.prompt_cache.entries import FORMAT
from c2c_search.prompt_cache.entries import Entry
from c2c_search.prompt_cache.entries import Meta
from c2c_search.prompt_cache.leases import Lease
from c2c_search.prompt_cache.maintenance import Kept


Cli = Callable[..., tuple[int, str, str]]

KEYS = ("a" * 32, "b" * 32)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of two models, of 8 bytes each; the second's were last used in 1970."""
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path))
    monkeypatch.setenv("C2C_SEARCH_CACHE_BUDGET", "1MB")
    for key, model in zip(KEYS, ("hf:one", "hf:two"), strict=True):
        folder = tmp_path / FOLDER / key
        Lease(folder).end()
        meta = Meta(
            format=FORMAT, model=model, dtype="bfloat16", prompts=1, token=(2, 1, 1), shards=(2,)
        )
        entry = Entry(folder, meta)
        entry.write_meta()
        entry.write(0, memoryview(b"12345678"))
    os.utime(tmp_path / FOLDER / KEYS[1] / "use", (1.0, 1.0))
    return tmp_path / FOLDER


@pytest.fixture
def drafts(store: Path) -> DraftList:
    """Drafts of the second model, to 3 prompts, last used in 1970."""
    folder = store.parent / draft_lists.FOLDER / ("c" * 32)
    folder.mkdir(parents=True)
    drafted = DraftList(folder)
    drafted.model = "hf:two"
    lines = [DraftLine.of(0, 4, [[1], [2, 3]]), DraftLine.of(1, 4, [[4, 5]])]
    drafted.journal.write_text("".join(f"{line.model_dump_json()}\n" for line in lines))
    os.utime(drafted.journal, (2.0, 2.0))
    return drafted


def test_ls_shows_drafts_beside_the_budget(cli: Cli, store: Path, drafts: DraftList) -> None:
    _, out, _ = cli("cache", "ls")
    line = next(line for line in out.splitlines() if "cccccccc" in line)
    assert line.split()[1:3] == ["3", "5"]
    assert " drafts " in line
    assert "2 lists of prompts, " in out
    assert "drafts to 1 list of prompts, " in out
    told = json.loads(cli("cache", "ls", "--json")[1])
    assert [each["kind"] for each in told["kept"]] == ["caches", "drafts", "caches"]
    assert told["size"] == sum(e["size"] for e in told["kept"] if e["kind"] == "caches")


def test_drafts_are_cleared_with_their_model(cli: Cli, store: Path, drafts: DraftList) -> None:
    assert cli("cache", "clear", "--budget", "0B", "--model", "hf:one", "--yes")[0] == 0
    assert drafts.journal.exists()
    assert cli("cache", "clear", "--model", "hf:two", "--yes")[0] == 0
    assert not drafts.folder.exists()
    assert not (store / KEYS[1]).exists()


def test_drafts_that_are_being_written_are_kept(cli: Cli, store: Path, drafts: DraftList) -> None:
    with drafts.alone() as alone:
        assert alone
        status, _, err = cli("cache", "clear", "--yes")
    assert status == 2
    assert "Kept cccccccc (hf:two): a running process uses it." in err
    assert drafts.journal.exists()


def test_damaged_drafts_are_found_and_removed(cli: Cli, store: Path, drafts: DraftList) -> None:
    drafts.journal.write_text(drafts.journal.read_text().replace("[4,5]", "[4,6]"))
    status, out, _ = cli("cache", "verify")
    assert status == 2
    assert "cccccccc (hf:two), line 1: not as written; kept" in out
    assert cli("cache", "verify", "--delete")[0] == 0
    assert [line and line.drafts for line in drafts.lines()] == [[[1], [2, 3]]]
    assert cli("cache", "verify")[0] == 0


def test_ls_shows_what_is_there_and_the_budget(cli: Cli, store: Path) -> None:
    status, out, _ = cli("cache", "ls")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["key", "prompts", "tokens"]
    assert lines[1] == "hf:one"
    assert lines[2].split()[:3] == ["aaaaaaaa", "1", "2"]
    assert "bfloat16" in lines[2]
    assert lines[2].endswith("complete")
    assert lines[3] == "hf:two"
    assert "2 lists of prompts, " in out
    assert "of a budget of 1.0 MB" in out


def test_ls_in_json(cli: Cli, store: Path) -> None:
    status, out, _ = cli("cache", "ls", "--json")
    assert status == 0
    told = json.loads(out)
    assert told["budget"] == 10**6
    assert [each["model"] for each in told["kept"]] == ["hf:one", "hf:two"]
    assert told["size"] == sum(each["size"] for each in told["kept"]) > 16


def test_an_empty_store(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "none"))
    assert "0 lists of prompts, 0 B" in cli("cache", "ls")[1]
    assert cli("cache", "clear", "--yes")[:2] == (0, "There is nothing to clear.\n")
    assert cli("cache", "verify")[0] == 0
    assert not (tmp_path / "none").exists()


def test_clear_asks(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    status, out, _ = cli("cache", "clear")
    assert status == 1
    assert "Remove 2 lists of prompts, " in out
    assert sorted(path.name for path in store.iterdir()) == list(KEYS)


def test_clear_without_anybody_to_ask(
    cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    status, _, err = cli("cache", "clear")
    assert status == 2
    assert "Say --yes" in err
    assert sorted(path.name for path in store.iterdir()) == list(KEYS)


@pytest.mark.parametrize("command", ["ls", "clear", "verify"])
def test_a_cache_that_is_a_file(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "file"))
    status, _, err = cli("cache", command)
    assert status == 2
    assert "must be a folder that can be written" in err


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ((), []),
        (("--model", "hf:two"), ["a" * 32]),
        (("--older-than", "30d"), ["a" * 32]),
        (("--budget", "1B"), []),
        (("--budget", "1GB"), list(KEYS)),
    ],
)
def test_clear_removes_what_is_meant(
    cli: Cli, store: Path, options: tuple[str, ...], left: list[str]
) -> None:
    status, out, _ = cli("cache", "clear", "--yes", *options)
    assert status == 0
    assert ("freed" in out) == (len(left) < 2)
    assert sorted(path.name for path in store.iterdir()) == left


def test_clear_leaves_what_is_in_use_and_says_so(cli: Cli, store: Path) -> None:
    lease = Lease(store / KEYS[0])
    status, out, err = cli("cache", "clear", "--yes")
    lease.end()
    assert status == 2
    assert out.startswith("Removed 1 list of prompts; ")
    assert "Kept aaaaaaaa (hf:one): a running process uses it." in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "hf:three"), "hf:one, hf:two"),
        (("--older-than", "soon"), "30d"),
        (("--budget", "some"), "20GB"),
    ],
)
def test_what_clear_does_not_understand(
    cli: Cli, store: Path, options: tuple[str, ...], said: str
) -> None:
    status, _, err = cli("cache", "clear", "--yes", *options)
    assert status == 2
    assert said in err
    assert sorted(path.name for path in store.iterdir()) == list(KEYS)


def test_verify_finds_and_removes_damage(cli: Cli, store: Path) -> None:
    assert cli("cache", "verify")[:2] == (0, "2 shards, 16 B: all as written.\n")
    (store / KEYS[0] / "000000.bin").write_bytes(b"12345679")
    status, out, _ = cli("cache", "verify")
    assert status == 2
    assert "aaaaaaaa (hf:one), shard 0: its checksum does not hold; kept" in out
    assert "1 damaged" in out
    status, out, _ = cli("cache", "verify", "--delete")
    assert status == 0
    assert "removed" in out
    assert cli("cache", "verify")[0] == 0


def test_a_budget_that_is_none(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2C_SEARCH_CACHE_BUDGET", "plenty")
    status, _, err = cli("cache", "ls")
    assert status == 2
    assert "plenty" in err


def test_listing_needs_no_torch(store: Path) -> None:
    code = (
        "import sys; from c2c_search.cli.app import app\n"
        "try: app(['cache', 'ls'])\n"
        "except SystemExit: print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_clear_where_nothing_can_be_removed_says_the_way_out(
    cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(self: Path, target: Path) -> Path:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refusing)
    status, _, err = cli("cache", "clear", "--yes")
    assert status == 2
    assert "set C2C_SEARCH_CACHE" in err


def test_a_deep_check_hashes_models_too(
    cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = tmp_path / "record.json"
    record.write_text("{}")
    found = [AuditedModel("path:a", record, "other weights"), AuditedModel("path:b", record)]
    monkeypatch.setattr("c2c_search.models.audit.audit", lambda *_: iter(found))
    assert cli("cache", "verify")[0] == 0
    status, out, _ = cli("cache", "verify", "--deep")
    assert status == 2
    assert "path:a: other weights; kept" in out
    assert "2 models hashed again: 1 damaged" in out
    assert cli("cache", "verify", "--deep", "--delete")[0] == 0
    assert not record.exists()


def test_no_name_is_cut_or_broken_at_80_columns() -> None:
    used = datetime(2026, 11, 30, 12).timestamp()
    model = "HuggingFaceTB/SmolLM2-135M-Instruct-with-a-name-that-would-never-fit-beside-numbers"
    kept = [
        Kept(key, model, 123_456, 98_765_432, "bfloat16", 10**11, used, "unreadable", True)
        for key in KEYS
    ]
    lines = list(_lines(kept))
    assert [line.strip() for line in lines].count(model) == 1
    assert max(len(line) for line in lines if line != model) <= 80
    assert lines[2].endswith("2026-11-30 12:00 in use")
