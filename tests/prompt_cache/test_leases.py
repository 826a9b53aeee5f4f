"""Who uses a folder cannot lose it; who is gone holds nothing."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from c2c_search.prompt_cache.leases import Lease
from c2c_search.prompt_cache.leases import alone
from c2c_search.prompt_cache.leases import last_used


def unused(folder):
    with alone(folder) as is_unused:
        return is_unused


def test_a_lease_makes_the_folder_and_holds_it(tmp_path):
    folder = tmp_path / "a" / "b"
    lease, second = Lease(folder), Lease(folder)
    assert not unused(folder)
    lease.end()
    assert not unused(folder)
    del second
    assert unused(folder)


def test_a_lease_says_when_the_folder_was_used(tmp_path):
    lease = Lease(tmp_path)
    lease.end()
    os.utime(tmp_path / "use", (5.0, 5.0))
    assert last_used(tmp_path) == 5.0
    held = Lease(tmp_path)
    assert last_used(tmp_path) > 5.0
    os.utime(tmp_path / "use", (5.0, 5.0))
    held.end()
    assert last_used(tmp_path) > 5.0


def test_looking_is_no_use(tmp_path):
    os.utime(tmp_path, (5.0, 5.0))
    assert unused(tmp_path)
    assert last_used(tmp_path) == 5.0


def test_who_waits_for_a_folder_that_goes_away_gets_a_new_one(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    Lease(folder).end()
    real = fcntl.flock

    def moving(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", real)
        folder.rename(tmp_path / "trash")  # between opening and locking
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", moving)
    lease = Lease(folder)
    assert not unused(folder)
    assert unused(tmp_path / "trash")
    lease.end()


def test_a_folder_that_is_gone_was_used_before_all_others(tmp_path):
    assert last_used(tmp_path / "gone") == 0.0


def test_a_folder_that_goes_away_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    real = Path.mkdir

    def meeting(self, *args, **kwargs):  # mkdir meets a folder that is gone when it looks again
        monkeypatch.setattr(Path, "mkdir", real)
        raise FileExistsError(self)

    monkeypatch.setattr(Path, "mkdir", meeting)
    lease = Lease(tmp_path / "folder")
    assert not unused(tmp_path / "folder")
    lease.end()


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(FileExistsError):
        Lease(tmp_path / "folder")


def test_who_would_remove_a_folder_does_not_take_a_new_one_for_it(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    Lease(folder).end()
    real, held = fcntl.flock, []

    def replacing(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", real)
        folder.rename(tmp_path / "trash")  # between opening and locking
        held.append(Lease(folder))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", replacing)
    assert not unused(folder)
    del held[:]
    assert unused(folder)


def test_a_folder_that_can_only_be_read_is_held_all_the_same(tmp_path, monkeypatch):
    Lease(tmp_path).end()
    os.utime(tmp_path / "use", (5.0, 5.0))
    real = os.open

    def reading(path, flags, *args):
        if flags & (os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *args)

    def refusing(*args):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", reading)
    monkeypatch.setattr(os, "utime", refusing)
    lease = Lease(tmp_path)
    assert not unused(tmp_path)
    lease.end()
    assert unused(tmp_path)
    with pytest.raises(OSError, match="Read-only"):
        Lease(tmp_path / "new")


def test_a_disk_without_locks_leaves_no_file_open(tmp_path, monkeypatch):
    opened, closed = [], []
    real_open, real_close = os.open, os.close
    monkeypatch.setattr(os, "open", lambda *args: opened.append(real_open(*args)) or opened[-1])
    monkeypatch.setattr(os, "close", lambda number: closed.append(number) or real_close(number))

    def refusing(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refusing)
    with pytest.raises(OSError, match="No locks"):
        Lease(tmp_path)
    assert len(opened) == 1
    assert closed == opened
