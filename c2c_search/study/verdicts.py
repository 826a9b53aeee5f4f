"""The gate's verdicts on a study's finalists, as its last act left them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.champion.verdict import Verdict
from c2c_search.host.json_store import JsonStore
from c2c_search.inference.manifest import read_manifest
from c2c_search.study.layout import StudyFiles


KEY = "verdicts"


class Verdicts(BaseModel):
    """Of one study, one for each finalist that could be judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdicts: tuple[Verdict, ...]


def verdicts_of(root: Path, study: str) -> tuple[Verdict, ...]:
    """The verdicts of the study's last look at the test split; none before the first.

    Of a study that an earlier version judged, its champion's alone is known.
    """
    files = StudyFiles(root, study)
    known = JsonStore(files.results).load(KEY, Verdicts)
    if known is not None:
        return known.verdicts
    if files.champion.is_dir():
        content = read_manifest(files.champion).verdict
        return () if content is None else (Verdict.model_validate(content),)
    return ()
