"""What is evaluated, a champion, a trial or models alone, and how it is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pydantic import ValidationError

from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.config.trial import canonical_hash
from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.errors import StoreError
from c2c_search.errors import in_yaml
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.host.dtypes import default_dtype
from c2c_search.host.dtypes import name_of
from c2c_search.host.dtypes import recorded_dtype
from c2c_search.host.home import expanded
from c2c_search.host.json_store import JsonStore
from c2c_search.host.versioned_names import meant
from c2c_search.host.versioned_names import with_study
from c2c_search.inference.checked_champion import read_champion
from c2c_search.inference.loading import champion_dtype
from c2c_search.inference.manifest import MANIFEST
from c2c_search.inference.manifest import verify_compatibility
from c2c_search.models.cache_dir import print_notice
from c2c_search.models.loading import default_device
from c2c_search.models.sources import short_names
from c2c_search.models.stamps import file_sha256
from c2c_search.plugins import foreign_file
from c2c_search.tokenization.templates import RoleTemplates
from c2c_search.tokenization.templates import Template
from c2c_search.tokenization.templates import spelled
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Trained


if TYPE_CHECKING:
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.manifest import Manifest
    from c2c_search.models.loading import LoadedModel


TRIAL = "trial.yaml"
BEST = "best"
_SOURCES = ("pypi:", "hf:", "path:", "gguf:")


@dataclass(frozen=True)
class Target:
    """What is evaluated.

    Args:
        name: What reports call it.
        receiver: Source of the model that answers.
        sharer: Source of the model that speaks; None for a model alone.
        fuser_dir: Folder of the fuser; None for models alone.
        trial: How the fuser was trained, where that is known: what its controls repeat.
        template: How a question becomes a prompt, for both models or for each.
        date: The day on which dated chat templates are written.
        cache_dtype: What prompt caches are rounded to.
        dtype: What the models compute in, here and now.
        manifest: Of a champion.
        notes: What a reader should know of it.
    """

    name: str
    receiver: str
    sharer: str | None = None
    fuser_dir: Path | None = None
    trial: TrialConfig | None = None
    template: Template | RoleTemplates = "plain"
    date: str | None = None
    cache_dtype: str = "bfloat16"
    dtype: str = "float32"
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()

    def identity(self) -> str:
        """Changes as soon as the same command would measure something else."""
        files = () if self.fuser_dir is None else sorted(self.fuser_dir.glob("fuser*"))
        dated = {} if self.date is None else {"date": self.date}
        return canonical_hash(
            {
                **dated,
                "receiver": self.receiver,
                "sharer": self.sharer,
                "template": spelled(self.template),
                "cache_dtype": self.cache_dtype,
                "dtype": self.dtype,
                "fuser": {path.name: file_sha256(path) for path in files},
            }
        )

    @property
    def derangements(self) -> int:
        """How often a question hears another one's message, as the trial was judged."""
        evaluation = EvaluationConfig() if self.trial is None else self.trial.evaluation
        return evaluation.derangements

    def fuser(self) -> Fuser | None:
        """The fuser, read anew."""
        return None if self.fuser_dir is None else load_fuser(self.fuser_dir)

    def check(self, receiver: LoadedModel, sharer: LoadedModel) -> None:
        """Check that the models loaded are those that a champion was trained between.

        Raises:
            IntegrityError: They are not.
        """
        if self.manifest is not None:
            verify_compatibility(self.manifest, receiver.identity, sharer.identity)


def find_target(
    target: str,
    *,
    root: Path,
    study: str | None = None,
    sharer: str | None = None,
    template: Template | RoleTemplates | None = None,
) -> Target:
    """Make sense of what the user wants evaluated.

    Args:
        target: A champion's folder, a trial's folder (with ``trial.yaml``), a trial's hash, name
            or ``STUDY/NAME``, or a model source.
        root: Folder of all stores, where trials are looked for.
        study: The study of a trial that is given by name.
        sharer: Beside a model source: the model that speaks.
        template: For models alone; a fuser is asked as it was trained.

    Raises:
        ConfigError: The target is none of these, or an option does not go with it.
        IntegrityError: A champion's files are not those that were measured.
        StoreError: The trial's fuser is not there.
    """
    by_itself = target.startswith(_SOURCES) or expanded(Path(target)).is_dir()
    if study is not None and by_itself:
        raise ConfigError(
            "--study says where a trial is looked for that is given by its name or hash.",
            value=study,
            hint=f"Leave it out: {target!r} stands for itself.",
        )
    if target.startswith(_SOURCES):
        short = short_names(filter(None, (target, sharer)))
        name = short[target] if sharer is None else f"{short[sharer]} to {short[target]}"
        dtype = default_dtype(default_device())
        return Target(name, target, sharer, template=template or "plain", dtype=name_of(dtype))
    if sharer is not None or template is not None:
        raise ConfigError(
            "A fuser brings its own sharer and template.",
            value=sharer or str(template),
            hint="Leave --sharer and --template out, or name a model source instead of "
            f"{target!r}.",
        )
    folder = expanded(Path(target))
    if (folder / MANIFEST).is_file():
        return _champion(folder)
    if (folder / TRIAL).is_file():
        return _trial(folder)
    if folder.is_dir():
        raise ConfigError(
            f"A folder to evaluate holds {MANIFEST} (a champion) or {TRIAL} (a trial).",
            value=target,
            hint="Name the folder that `c2c-search export` or `c2c-search trial run` wrote.",
        )
    return _trial(_by_name(target, root, study))


def _champion(folder: Path) -> Target:
    manifest = read_champion(folder).manifest
    load_fuser(folder)  # a damaged one is told before any model is loaded
    return Target(
        name=manifest.name,
        receiver=manifest.pair.receiver.source,
        sharer=manifest.pair.sharer.source,
        fuser_dir=folder,
        trial=None if manifest.trial is None else _trial_of(manifest.trial),
        template=manifest.template,
        date=manifest.date,
        cache_dtype=manifest.cache_dtype,
        dtype=name_of(champion_dtype(manifest, default_device())),
        manifest=manifest,
    )


def _trial_of(told: dict[str, Any]) -> TrialConfig:
    wrong = []
    try:
        with foreign_file():
            trial = TrialConfig.model_validate(told)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    else:
        wrong = list(_coerced(told, trial.model_dump(mode="json", by_alias=True)))
    if wrong:
        raise IntegrityError(
            f"The trial of {MANIFEST} must be one that this version reads.",
            value="; ".join(f"trial.{each}" for each in wrong),
            hint="Evaluate it with the version of c2c-search that its manifest names.",
        )
    return trial


def _coerced(told: dict[str, Any], read: dict[str, Any]) -> Iterator[str]:
    """Where a trial was read as something else than it says, e.g. ``true`` as 1."""
    for name, value in told.items():
        if isinstance(value, dict) and isinstance(read.get(name), dict):
            yield from (f"{name}.{each}" for each in _coerced(value, read[name]))
        elif json.dumps(value) != json.dumps(read.get(name)):
            yield f"{name}: {in_yaml(value)} would be read as {in_yaml(read.get(name))}"


def _trial(folder: Path) -> Target:
    config = TrialConfig.load(folder / TRIAL)
    if not (folder / BEST).is_dir():
        raise StoreError(
            "A trial can be evaluated once it has passed its first rung.",
            value=str(folder),
            hint="Let the trial run, or name another one.",
        )
    return Target(
        name=f"trial {config.hash()}",
        receiver=config.pair.receiver,
        sharer=config.pair.sharer,
        fuser_dir=folder / BEST,
        trial=config,
        template=config.data.template,
        date=config.data.date,
        cache_dtype=config.cache_dtype,
        dtype=name_of(recorded_dtype(_trained_in(folder), default_device(), print_notice)),
        notes=tuple(_unfinished(folder, config)),
    )


def studied_in(results: JsonStore) -> str | None:
    """What the models of a study, or of one repeated trial, compute in; None if not recorded."""
    pairs = sorted((results.folder / "prepared").glob("*.json"))
    found = (results.load(f"prepared/{path.stem}", Prepared) for path in pairs)
    return next((each.dtype for each in found if each is not None), None)


def _trained_in(folder: Path) -> str | None:
    return studied_in(JsonStore(folder.parent / "results")) or studied_in(
        JsonStore(folder / "results")
    )


def _unfinished(folder: Path, config: TrialConfig) -> Iterator[str]:
    """Say of a trial that was not trained to its end that its controls will be."""
    key = f"trained/{config.hash()}"
    # A study keeps the results of all its trials, `trial run` those of one.
    ended = next(
        (
            found
            for results in (folder.parent / "results", folder / "results")
            if (found := JsonStore(results).load(key, Trained)) is not None
        ),
        None,
    )
    if ended is None or ended.pruned:
        reached = "is not trained to its end" if ended is None else f"was pruned at {ended.step}"
        yield (
            f"The trial {reached} of {config.training.steps} steps; controls are trained for all "
            "of them."
        )


def _by_name(target: str, root: Path, study: str | None) -> Path:
    """The folder of a trial given by its hash (or its beginning), its name or STUDY/NAME."""
    trials, given = root / "trials", target
    study, target = with_study(target, study)
    study = study and meant(studies_of(root), study)
    pattern = f"{escape(study) if study else '*'}/{escape(target)}*/{TRIAL}"
    found = sorted({path.parent for path in trials.glob(pattern)}, key=str)
    if not found:
        found = [folder for folder in _named(trials, study) if _name_of(folder) == target]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            "Several trials answer to that name.",
            value=given,
            hint=f"Say STUDY/{target}, or give the hash: "
            f"{', '.join(f'{folder.parent.name}/{folder.name}' for folder in found)}.",
        )
    known = [
        f"{folder.parent.name}/{_name_of(folder)} = {folder.name}"
        for folder in _named(trials, study) or _named(trials, None)
    ]
    raise ConfigError(
        "What is evaluated must be a champion's folder, a trial's folder, hash, name or "
        "STUDY/NAME, or a model source (pypi:, hf:, path:, gguf:).",
        value=given,
        hint=f"Trials under {trials}: {', '.join(known) or 'none'}.",
    )


def studies_of(root: Path) -> list[str]:
    """Names of the studies under a root that have a folder."""
    trials = root / "trials"
    return sorted(path.name for path in trials.iterdir()) if trials.is_dir() else []


def _named(trials: Path, study: str | None) -> list[Path]:
    return sorted(
        path.parent for path in trials.glob(f"{escape(study) if study else '*'}/*/{TRIAL}")
    )


def _name_of(folder: Path) -> str:
    """What its study calls a trial; its hash where it has none."""
    first = (folder / TRIAL).read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("# ") if first.startswith("# ") else folder.name
