"""Everything that can be checked of a champion's folder, and what was checked, in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from c2c_search.champion.export import RUNTIME
from c2c_search.champion.export import write_runtime
from c2c_search.champion.signing import SIGNATURE
from c2c_search.champion.signing import verify_signature
from c2c_search.champion.verify import verify
from c2c_search.host.files import scratch
from c2c_search.inference.checked_champion import read_champion
from c2c_search.inference.manifest import CHAMPION_FILES
from c2c_search.inference.sums import check_sums
from c2c_search.inference.sums import read_sums
from c2c_search.inference.sums import write_sums
from c2c_search.models.bundled import MODELS


Checked = tuple[str, str]
"""What was checked, and what was found."""


def inspect_champion(
    directory: Path, key: Path | None = None, *, ask: bool = True
) -> Iterator[Checked]:
    """Check a champion, part by part; the first part that is wrong raises.

    Its questions are answered by this version's own code, in a process of its own: no code that
    lies in the folder is run.

    Args:
        directory: The champion's folder.
        key: Public key of who should have made it; its signature is not judged when None.
        ask: Whether it is asked its recorded questions, which takes both its models.

    Raises:
        ConfigError: The key is none.
        IntegrityError: A part is wrong.
        SourceError: A model cannot be fetched.
    """
    check_sums(directory)
    yield "sums", f"{len(read_sums(directory))} files are as SHA256SUMS says, and no pickle"
    manifest = read_champion(directory).manifest
    yield "schema", f"manifest (format {manifest.format_version}), fuser and trial agree"
    if key is not None:
        verify_signature(directory, key)
        yield "signature", f"as the owner of {key} signed it, every file of it"
    elif (directory / SIGNATURE).is_file():
        yield "signature", "there, and not judged: name the maker's public key with --key"
    else:
        yield "signature", "none"
    if not manifest.questions:
        yield "questions", "none on record: it was imported, and nothing was measured"
    elif not ask:
        yield "questions", "not asked"
    else:
        with scratch("c2c-search-inspect") as folder:
            _stage(directory, folder)
            answers = verify(folder)
        yield "questions", f"{len(answers)} of {len(answers)} answered again, to the character"


def _stage(directory: Path, folder: Path) -> None:
    """The champion's own files, linked to, with a runtime of this version."""
    for name in (*CHAMPION_FILES, MODELS):
        if (directory / name).exists():
            (folder / name).symlink_to((directory / name).absolute())
    write_runtime(folder / RUNTIME)
    write_sums(folder)
