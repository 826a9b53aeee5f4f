"""Versions of a study: NAME is the first; NAME@2 is opened when its space has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.host.versioned_names import MARK
from c2c_search.host.versioned_names import numbered
from c2c_search.host.versioned_names import versions
from c2c_search.space.objective import objective_before
from c2c_search.space.schema import Space
from c2c_search.study import storage
from c2c_search.study.drivers import living_drivers
from c2c_search.study.layout import StudyFiles
from c2c_search.study.storage import SPACE
from c2c_search.study.storage import SPACE_HASH
from c2c_search.study.storage import differences


if TYPE_CHECKING:
    from optuna.storages import RDBStorage


@dataclass(frozen=True)
class Version:
    """The version of a study that a start of its space goes on with, or opens.

    Args:
        name: Of the study in all stores.
        earlier: Names of the versions before it, whose trials its sampler is shown.
        changes: What its space has otherwise than the version before, a line each; empty if the
            version is not to be opened but there.
        newest: Name of the newest version, where that is another one.
    """

    name: str
    earlier: Sequence[str] = ()
    changes: Sequence[str] = ()
    newest: str | None = None

    def __str__(self) -> str:
        if self.changes:
            before = self.earlier[-1]
            lines = "".join(f"  {line}\n" for line in self.changes)
            return (
                f"Since study {before} began, its space has changed:\n{lines}"
                f"Version {self.name} opens. What {before} found stays, and teaches its sampler "
                f"as far as it fits; to go on with {before} instead, undo the change."
            )
        if self.newest is not None:
            return (
                f"This space is that of {self.name}, which goes on; the newest version of the "
                f"study is {self.newest}."
            )
        return ""


def foreseen(root: Path, url: str | None, space: Space) -> Version:
    """The version that a start now would go on with, or open; nothing is written.

    Args:
        root: Folder of all stores, resolved.
        url: Of the database of trials, in place of the file under the root.
        space: As its file says it.

    Raises:
        ConfigError: The models of the study lie elsewhere than where it began.
        StoreError: The store is there and cannot be read.
    """
    opened = at_hand(root, url)
    return Version(space.study) if opened is None else version_of(opened, root, space)


def at_hand(root: Path, url: str | None) -> RDBStorage | None:
    """The store of studies, where there is one already; see `foreseen`."""
    if url or os.environ.get(storage.URL_VARIABLE):
        try:
            return storage.open_storage(root, url, make=False)
        except StoreError:
            return None  # what is wrong is told when it is to be made
    return storage.open_storage(root) if (root / storage.DATABASE).is_file() else None


def version_of(opened: RDBStorage, root: Path, space: Space) -> Version:
    """The version of a space's study that has begun with this space, or that is to.

    Whoever is to go on with it asks while `storage.one_at_a_time`, and binds it then.

    Raises:
        ConfigError: The models of the study lie elsewhere than where it began.
    """
    known = {each.study_name: each for each in opened.get_all_studies()}
    found = versions(known, space.study)
    bound = {name: known[name].user_attrs for name in found}
    own = space.space_hash()
    # One without a hash was killed before it was bound.
    of_space = [each for each in found if bound[each].get(SPACE_HASH, own) == own]
    if of_space:
        name = of_space[-1]
        index = found.index(name)
        return Version(name, tuple(found[:index]), newest=found[-1] if name != found[-1] else None)
    if found and _is_free(opened, root, found[-1], known[found[-1]]._study_id):
        *earlier, name = found
    else:
        earlier = found
        name = f"{space.study}{MARK}{numbered(found[-1])[1] + 1}" if found else space.study
    if not earlier:
        return Version(name)
    before = json.loads(bound[earlier[-1]].get(SPACE, "{}"))
    changes = differences(_said(before), _said(space.identity()))
    if _anywhere(before) == _anywhere(space.identity()):
        raise _moved(earlier[-1], changes)
    return Version(name, tuple(earlier), tuple(changes))


def _said(space: Mapping[str, Any]) -> Mapping[str, Any]:
    """An identity with its objective, which it leaves unsaid where it was once the only one."""
    return {"objective": objective_before(space), **space} if "pairs" in space else space


def _is_free(opened: RDBStorage, root: Path, name: str, number: int) -> bool:
    """Whether a version has neither trials nor results nor a driver: it is bound to nothing."""
    if StudyFiles(root, name).begun or opened.get_n_trials(number):
        return False
    return not storage.is_shared(opened) or living_drivers(opened.engine, name)[1] == 0


def _moved(name: str, changes: Sequence[str]) -> ConfigError:
    """Its trials are known by what they were trained between, folders included."""
    lines = "".join(f"  {line}\n" for line in changes)
    return ConfigError(
        f"The models of study {name!r} lay elsewhere when it began:\n{lines}",
        hint="Move or link them back there to go on; or give the space another name under "
        "`study:` to begin anew.",
    )


def _anywhere(space: Mapping[str, Any]) -> dict[str, Any]:
    """A space without the folders of local models."""
    pairs = {
        name: {role: _local_name(source) for role, source in pair.items()}
        for name, pair in space.get("pairs", {}).items()
    }
    return {**space, "pairs": pairs}


def _local_name(source: str) -> str:
    scheme, _, path = source.partition(":")
    return f"{scheme}:{Path(path).name}" if scheme in ("path", "gguf") else source
