"""The champion of a study, or why it has none."""

from __future__ import annotations

import shlex
from pathlib import Path

from c2c_search.errors import StoreError
from c2c_search.study.findings import findings
from c2c_search.study.layout import champion_folder
from c2c_search.study.study_page import verdict_sentence


def champion_of(root: Path, study: str | None) -> Path:
    """The package of a study's champion; see `champion_folder`.

    Args:
        root: Folder of all stores.
        study: Its name; None for the only study that has a champion.

    Raises:
        StoreError: There is none, and of a study that is there why, or more than one.
    """
    try:
        return champion_folder(root, study)
    except StoreError as error:
        try:
            found = findings(study, root)
        except StoreError:  # no study, or none that is meant
            raise error from None
        if found.row.champion is not None:  # beside others, of which one must be named
            raise
        name = found.row.called
        if found.leading is not None and found.leading.leads:
            hint = "It is packaged when the same `c2c-search study` command is run again."
        else:
            hint = f"`c2c-search leaderboard {shlex.quote(name)}` shows what each trial reached."
        raise StoreError(
            f"Study {name!r} has no champion. {verdict_sentence(found)}", hint=hint
        ) from error
