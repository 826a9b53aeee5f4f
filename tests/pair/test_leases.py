"""Who uses a folder cannot lose it; who is gone holds nothing."""

from __future__ import annotations

import os

from c2c_search.pair.leases import Lease
from c2c_search.pair.leases import alone
from c2c_search.pair.leases import last_used


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
    import fcntl

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
