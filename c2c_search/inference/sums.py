"""Whether a champion's files are those that were written: SHA256SUMS.

It tells damage and mix-ups, not malice: whoever changes a file can change its sum.
"""

from __future__ import annotations

import re
from pathlib import Path
from pathlib import PurePosixPath

from c2c_search.errors import IntegrityError
from c2c_search.inference.manifest import CHAMPION_FILES
from c2c_search.models.stamps import file_sha256


SUMS = "SHA256SUMS"

_AGAIN = "Copy or export the champion again."
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill")
_SUM = re.compile("[0-9a-f]{64}")


def write_sums(directory: Path) -> None:
    """Write SHA256SUMS over every file below ``directory``, as ``sha256sum -c`` reads it."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != SUMS)
    lines = sorted((path.relative_to(directory).as_posix(), file_sha256(path)) for path in files)
    text = "".join(f"{digest}  {name}\n" for name, digest in lines)
    (directory / SUMS).write_text(text, encoding="utf-8", newline="\n")


def read_sums(directory: Path) -> dict[str, str]:
    """SHA-256 that SHA256SUMS gives for each file, by its path below ``directory``.

    Raises:
        IntegrityError: There is no such file, or a line is not a sum and a path inside the folder.
    """
    try:
        lines = (directory / SUMS).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        rule = f"{SUMS} of a champion folder is text in UTF-8."
        raise IntegrityError(rule, value=str(directory), hint=_AGAIN) from error
    except OSError as error:
        here = directory.is_dir()
        raise IntegrityError(
            f"A champion folder holds {SUMS}.",
            value=str(directory),
            hint=_AGAIN if here else "There is no such folder: name the one that it is in.",
        ) from error
    sums: dict[str, str] = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        path = PurePosixPath(name)
        inside = not path.is_absolute() and ".." not in path.parts and str(path) == name
        if not _SUM.fullmatch(digest) or not inside or name in (".", *sums):
            raise IntegrityError(
                f"A line of {SUMS} is a SHA-256, two spaces and a path inside the folder, once.",
                value=line,
                hint=_AGAIN,
            )
        sums[name] = digest
    return sums


def check_sums(directory: Path) -> None:
    """Check that every file is there, is as it was written, and that none can hide a pickle.

    Files that are not listed are let be: an installation leaves some beside ``runtime/``.

    Raises:
        IntegrityError: Names each file that is wrong, with the sum expected and the one found.
    """
    sums = read_sums(directory)
    wrong = [f"{name} is not listed" for name in CHAMPION_FILES if name not in sums]
    for name, expected in sums.items():
        path = directory / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif (got := file_sha256(path)) != expected:
            wrong.append(f"{name}: expected {expected}, got {got}")
    if wrong:
        raise IntegrityError(
            f"Every file of a champion must be there and be as {SUMS} says.",
            value="; ".join(wrong),
            hint=_AGAIN,
        )
    pickles = sorted(path.name for path in directory.rglob("*") if path.suffix in _PICKLES)
    if pickles:
        raise IntegrityError(
            "A champion holds no file that could be a pickle, which runs code when it is read.",
            value=", ".join(pickles),
            hint="Remove it, or export the champion again.",
        )
