"""The model cache's folder, lock and disk."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from c2c_search.errors import StoreError
from c2c_search.models.cache_dir import cache_errors
from c2c_search.models.cache_dir import default_cache_dir
from c2c_search.models.cache_dir import exclusive
from c2c_search.models.cache_dir import print_notice
from c2c_search.models.cache_dir import require_space


_HOLDER = """
import sys
from pathlib import Path
from c2c_search.models.cache_dir import exclusive
with exclusive(Path(sys.argv[1]), "it", print):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_variable_overrides_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("C2C_SEARCH_CACHE", raising=False)
    assert default_cache_dir().name == "c2c-search"
    monkeypatch.setenv("C2C_SEARCH_CACHE", "~/elsewhere")
    assert default_cache_dir() == Path.home() / "elsewhere"


def test_another_process_is_waited_for_and_named(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "tiny.lock"
    told: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"

        def notify(text: str) -> None:
            told.append(text)
            holder.stdin.close()

        with exclusive(lock, "Tiny", notify):
            assert told == ["Waiting for another process that is fetching Tiny …"]
    with exclusive(lock, "Tiny", told.append):
        assert len(told) == 1


def test_a_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "tiny.lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    told: list[str] = []
    with exclusive(lock, "Tiny", told.append):
        assert not told


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        (errno.ENOSPC, "more room than its disk has"),
        (errno.EDQUOT, "more room than its disk has"),
        (errno.EACCES, "can be written"),
        (errno.EROFS, "can be written"),
    ],
)
def test_errors_of_the_disk_have_a_way_out(tmp_path: Path, number: int, rule: str) -> None:
    with pytest.raises(StoreError, match=rule) as caught, cache_errors(tmp_path):
        raise OSError(number, "no")
    assert "C2C_SEARCH_CACHE" in str(caught.value)


def test_a_full_disk_is_known_by_its_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="more room"), cache_errors(tmp_path):
        raise RuntimeError("Error while serializing: No space left on device (os error 28)")


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), cache_errors(tmp_path):
        (tmp_path / "missing").read_text()


def test_space_is_that_of_the_disk_the_folder_will_be_on(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1, "Nothing")
    with pytest.raises(StoreError, match=r"Everything needs 1,000,000,134 MB"):
        require_space(tmp_path / "not" / "yet", 10**15, "Everything")
    assert not (tmp_path / "not").exists()


def test_a_notice_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_notice("Licence [MIT]")
    assert capsys.readouterr().err == "Licence [MIT]\n"
