"""A champion put into use by hand, and the one before it put back: `promote` and `rollback`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.champion import registry
from c2c_search.champion.registry import Leader
from c2c_search.champion.registry import leader
from c2c_search.champion.registry import register
from c2c_search.champion.verdict import Verdict
from c2c_search.champion.verify import verify as ask_in_isolation
from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.evaluation.guard import REPORT
from c2c_search.host.json_store import JsonStore
from c2c_search.host.versioned_names import with_study
from c2c_search.inference.manifest import read_manifest
from c2c_search.study import overview
from c2c_search.study.layout import CHAMPIONS
from c2c_search.study.succession import PROMOTED
from c2c_search.study.succession import PromotedChampion
from c2c_search.study.succession import answers
from c2c_search.study.succession import unbeaten
from c2c_search.tracking.tracker import Tracker


if TYPE_CHECKING:
    from mlflow.entities import Run

    from c2c_search.inference.manifest import Manifest


@dataclass(frozen=True)
class Changeover:
    """Which version of a registered model is in use now.

    Args:
        name: Of the registered model.
        version: That the alias ``champion`` points to.
        before: That it pointed to; None if to none.
    """

    name: str
    version: str
    before: str | None


def promote(
    root: Path,
    target: str,
    *,
    study: str | None = None,
    name: str | None = None,
    force: str = "",
    verify: Callable[[Path], object] = ask_in_isolation,
) -> Changeover:
    """Put a champion into use: register it, ask it again, set it against the one in use.

    Args:
        root: Folder of all studies.
        target: A champion's folder, or a trial (``STUDY/TRIAL`` too) of which a study has one.
        study: Of the trial; may be left out if there is only one.
        name: Of the registered model; as its study named it when None.
        force: Why it takes the place of one that it does not beat; on record.
        verify: See `registry.register`.

    Raises:
        ConfigError: It does not beat the champion in use: it is a version, and no alias moved.
        IntegrityError: It is not as it was written, proved nothing, or answers otherwise now.
        StoreError: There is no such trial, champion or run, or a store cannot be written.
    """
    overview.open_existing(root)
    package = Path(target) if Path(target).is_dir() else _of_trial(root, target, study)
    manifest = read_manifest(package)
    tracker, run = _run_of(root, manifest)
    name = name or _name_of(root, manifest)
    current = leader(tracker, name)
    number = register(tracker, package, name, run.info.run_id, lead=False, verify=verify)
    before = None if current is None else current.version
    if current is not None and before != number and current.trial_hash != manifest.trial_hash:
        reason = _obstacle(root, manifest, current, name)
        if reason and not force:
            raise ConfigError(
                "A champion takes the place of another one only where it beats it.",
                value=f"{package} is version {number} now, and {reason}",
                hint="Say --force REASON to put it into use all the same; the reason is kept.",
            )
        registry.promote(tracker, name, number, why=force if reason else "", forced=bool(reason))
    else:
        registry.promote(tracker, name, number)
    return Changeover(name, number, before)


def rollback(root: Path, name: str | None = None, *, why: str = "") -> Changeover:
    """Put the champion before back into use; once more goes forward again.

    Args:
        root: Folder of all studies.
        name: Of the registered model; may be left out if there is only one.
        why: Kept on record.

    Raises:
        StoreError: There is no such model, or none was in use before.
    """
    overview.open_existing(root)
    client = Tracker.open(root, "Default")
    name = name or _only_model(client)
    current, before = leader(client, name), registry.previous(client, name)
    if current is None or before is None:
        raise StoreError(
            "A champion must have been in use before the one that is.",
            value=name,
            hint="Promote another one: c2c-search promote DIR.",
        )
    registry.promote(client, name, before, why=why or "rollback")
    return Changeover(name, before, current.version)


def _of_trial(root: Path, trial: str, study: str | None) -> Path:
    study, trial = with_study(trial, study)
    opened = overview.load(overview.open_existing(root), study)
    wanted = overview.trial_row(opened, trial).hash
    folder = root / CHAMPIONS / opened.study_name
    if folder.is_dir() and read_manifest(folder).trial_hash == wanted:
        return folder
    raise StoreError(
        "A trial is promoted that its study has proved and packaged.",
        value=f"{trial} of {opened.study_name}",
        hint="`c2c-search study` packages the first finalist that passes; a champion of before "
        "is promoted by its folder.",
    )


def _run_of(root: Path, manifest: Manifest) -> tuple[Tracker, Run]:
    """The run of the trial that a champion comes from, and the experiment that it is in."""
    client = Tracker.open(root, "Default").client
    experiments = {each.experiment_id: each.name for each in client.search_experiments()}
    found = client.search_runs(
        [*experiments], f"tags.`c2c.trial_hash` = '{manifest.trial_hash}'", max_results=1
    )
    if manifest.trial_hash is None or not found:
        raise StoreError(
            "A champion is registered with the run of its trial.",
            value=f"trial {manifest.trial_hash}",
            hint="Name the root of the study that found it with --root.",
        )
    return Tracker.open(root, experiments[found[0].info.experiment_id]), found[0]


def _name_of(root: Path, manifest: Manifest) -> str:
    """The registered model that the champion's study names."""
    for folder in sorted((root / "trials").glob("*/results")):
        known = JsonStore(folder).load(PROMOTED, PromotedChampion)
        if known is not None and known.trial_hash == manifest.trial_hash:
            return known.registered_name
    raise StoreError(
        "No study under this root has promoted this champion's trial.",
        value=f"trial {manifest.trial_hash}",
        hint="Name the registered model with --name.",
    )


def _only_model(tracker: Tracker) -> str:
    names = [each.name for each in tracker.client.search_registered_models()]
    if not names:
        raise StoreError(
            "A champion must be registered under this root, and none is.",
            hint="A study that ends in a champion registers it; so does `c2c-search promote DIR`.",
        )
    if len(names) > 1:
        raise StoreError(
            "One registered model must be named.",
            value=", ".join(names),
            hint="Name it with --name.",
        )
    return names[0]


def _obstacle(root: Path, manifest: Manifest, current: Leader, name: str) -> str:
    """Why the champion in use stays, by what both answered on the recorded test split."""
    verdict = Verdict.model_validate(manifest.verdict)
    questions = manifest.data.get(REPORT, "")
    mine = answers(root, str(manifest.trial_hash), questions)
    theirs = answers(root, current.trial_hash, questions)
    listening = "always" if manifest.listening is None else "confident"
    return unbeaten(current, name, verdict, mine, theirs, listening=listening)
