"""Files and folders whole or not at all, however a write ends, and what a full disk is."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from c2c_search.errors import StoreError
from c2c_search.host import files
from c2c_search.host.files import PARTIAL
from c2c_search.host.files import disk_errors
from c2c_search.host.files import is_full
from c2c_search.host.files import move
from c2c_search.host.files import replacing
from c2c_search.host.files import scratch
from c2c_search.host.files import swapped_in
from c2c_search.host.files import write_text
from c2c_search.host.process import this_process


# Writes "new" over a file or a folder and is killed at a system call of the write.
DYING = """
import os, signal, sys
from pathlib import Path
from c2c_search.host.files import swapped_in, write_text

path, kind, kill_at, calls = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), 0

def dying(call):
    def counted(*arguments):
        global calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)
    return counted

os.fsync, os.replace = dying(os.fsync), dying(os.replace)
if kind == "file":
    write_text(path, "new")
else:
    with swapped_in(path) as folder:
        (folder / "content").write_text("new")
"""


def die(path: Path, kind: str, kill_at: int) -> int:
    command = [sys.executable, "-c", DYING, str(path), kind, str(kill_at)]
    return subprocess.run(command, check=False).returncode


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_a_kill_leaves_the_old_file_or_the_new(tmp_path: Path, kill_at: int) -> None:
    path = tmp_path / "sub" / "file"
    write_text(path, "old")
    assert die(path, "file", kill_at) == -9
    assert path.read_text() == ("new" if kill_at == 3 else "old")
    # What the killed process left is removed by the next one that writes into the folder.
    assert die(path.with_name("other"), "file", 0) == 0
    assert names(path.parent) == ["file", "other"]


@pytest.mark.parametrize("kill_at", [1, 2, 3, 4, 5])
def test_a_kill_leaves_the_old_folder_or_the_new(tmp_path: Path, kill_at: int) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "content").write_text("old")
    assert die(path, "folder", kill_at) == -9
    left = tmp_path / ".folder.replaced" if kill_at == 4 else path
    assert (left / "content").read_text() == ("new" if kill_at == 5 else "old")
    assert die(path, "folder", 0) == 0
    assert names(tmp_path) == ["folder"]
    assert (path / "content").read_text() == "new"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_a_failed_write_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    path = tmp_path / "file"
    write_text(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            write_text(path, "new")
    assert names(tmp_path) == ["file"]
    assert path.read_text() == "old"


def test_an_error_of_the_block_leaves_what_was_there(tmp_path: Path) -> None:
    def interrupted(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        interrupted(partial)
    assert names(tmp_path) == ["file"]
    assert path.read_text() == "old"


def test_a_file_is_written_with_the_users_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_the_name_meanwhile_is_hidden_and_this_processs_own(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as partial:
        assert partial.parent == tmp_path
        assert partial.name.startswith(".file+")
        assert partial.name.endswith(PARTIAL)
        assert partial.name.split("+")[3] == str(os.getpid())
        partial.write_text("")


def test_only_what_nobody_writes_any_more_is_removed(tmp_path: Path) -> None:
    host, boot, pid, start = this_process().split("/")
    long_ago = time.time() - 3 * 24 * 3600
    for name, owner, old in (
        ("living", (host, boot, pid, start), True),
        ("gone", (host, "earlier", pid, start), False),
        ("elsewhere", ("other", boot, pid, start), False),
        ("elsewhere long ago", ("other", boot, pid, start), True),
    ):
        for end in ("", "-wal"):
            partial = tmp_path / f".{name}+{'+'.join(owner)}{PARTIAL}{end}"
            partial.touch()
            if old:
                os.utime(partial, (long_ago, long_ago))
    (tmp_path / ".a+b.partial.txt").touch()  # somebody else's
    write_text(tmp_path / "file", "text")
    left = {name.partition("+")[0] for name in names(tmp_path)}
    assert left == {".living", ".elsewhere", ".a", "file"}


def test_a_finished_file_is_moved_over_another(tmp_path: Path) -> None:
    (tmp_path / "finished").write_text("new")
    (tmp_path / "file").write_text("old")
    move(tmp_path / "finished", tmp_path / "file")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("call", [1, 2])
def test_a_failed_swap_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    path, calls, really = tmp_path / "folder", 0, os.replace
    path.mkdir()
    (path / "content").write_text("old")

    def full(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        really(source, target)

    monkeypatch.setattr(os, "replace", full)
    with (
        pytest.raises(StoreError, match="more room than the disk has"),
        disk_errors(path),
        swapped_in(path) as folder,
    ):
        (folder / "content").write_text("new")
    assert names(tmp_path) == ["folder"]
    assert (path / "content").read_text() == "old"


def test_a_name_that_is_too_long_is_told_without_what_is_written_first(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250)
    with pytest.raises(StoreError, match=f"Got '{path}'"), disk_errors(path):
        write_text(path, "content")


def test_a_folder_that_is_not_ours_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match=r"must be writable.*name another folder"),
        disk_errors(tmp_path),
        swapped_in(tmp_path / "file" / "folder"),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "no"), True),
        (OSError(errno.EDQUOT, "no"), True),
        (RuntimeError("Error while serializing: No space left on device (os error 28)"), True),
        (RuntimeError("database or disk is full"), True),
        (OSError(errno.EACCES, "no"), False),
        (ValueError("full"), False),
    ],
    ids=str,
)
def test_a_full_disk_is_known_by_its_number_or_its_words(error: Exception, full: bool) -> None:
    assert is_full(error) is full


def test_a_folder_is_swept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file", "one")
    monkeypatch.setattr(files, "is_gone", None)
    write_text(tmp_path / "file", "two")
    assert (tmp_path / "file").read_text() == "two"


@pytest.mark.parametrize("fails", [False, True])
def test_a_scratch_folder_is_empty_and_goes(tmp_path: Path, fails: bool) -> None:
    with suppress(KeyError), scratch("mine", tmp_path) as folder:
        assert folder.parent == tmp_path
        assert not list(folder.iterdir())
        (folder / "file").touch()
        if fails:
            raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_scratch_folder_is_removed_after_a_kill(tmp_path: Path) -> None:
    killed = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from c2c_search.host.files import scratch\n"
        "for_good = scratch('mine', Path(sys.argv[1]))\n"
        "(for_good.__enter__() / 'file').touch()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    (tmp_path / "mine+somebody-else").mkdir()
    with scratch("other", tmp_path), scratch("mine", tmp_path) as folder:
        assert left.exists() is False
        with scratch("mine", tmp_path):
            assert folder.exists()  # whose process lives
    assert [path.name for path in tmp_path.iterdir()] == ["mine+somebody-else"]
