"""What a champion is, and whether its models are those that were measured.

Travels with the champion: standard library and pydantic only.
"""

from __future__ import annotations

import datetime
import json
import warnings
from pathlib import Path
from typing import Any
from typing import Literal
from typing import Self
from typing import get_args

from pydantic import AwareDatetime
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import ValidationError
from pydantic import model_validator

from c2c_search.errors import IntegrityError
from c2c_search.errors import in_yaml
from c2c_search.errors import shown
from c2c_search.host.strict_json import content_sha256
from c2c_search.host.strict_json import read_object
from c2c_search.inference.doubt import Listening
from c2c_search.inference.size import Size
from c2c_search.models.identity import ModelIdentity
from c2c_search.tokenization.templates import PairTemplate
from c2c_search.tokenization.templates import Template
from c2c_search.tokenization.templates import spelled


FORMAT_VERSION = 2
FUSER_CONFIG = "fuser_config.json"
FUSER_WEIGHTS = "fuser.safetensors"
MANIFEST = "manifest.json"
MODEL_CARD = "README.md"
CHAMPION_FILES = (FUSER_CONFIG, FUSER_WEIGHTS, MANIFEST, MODEL_CARD)
"""What a champion folder holds beside SHA256SUMS."""

_AGAIN = "Copy or export the champion again."
_SIDES = ("receiver", "sharer")
_TOLD = 20
_LONGEST_ANSWER = 2**16

CacheDtype = Literal["bfloat16", "float16", "float32"]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PairIdentity(_Stored):
    """The two models that a fuser was trained between."""

    receiver: ModelIdentity
    sharer: ModelIdentity


class RecordedQuestion(_Stored):
    """What the champion answered when it was packaged, greedily, to the character.

    Args:
        question: What the receiver was asked.
        answer: What it answered.
        max_new_tokens: Where the answer was cut.
        sharer_context: What the sharer read, where it was something else.
    """

    question: str
    answer: str
    max_new_tokens: int = Field(16, ge=1, le=_LONGEST_ANSWER)
    sharer_context: str | None = Field(None, exclude_if=lambda context: context is None)


class Provenance(_Stored):
    """Where a fuser comes from that was trained outside this workbench.

    Args:
        layout: The layout it was read from, e.g. ``rosetta``.
        folder: Name of the folder that it lay in, without the path to it.
        files: SHA-256 of each file that was read, by its name.
        imported: When.
    """

    layout: str
    folder: str
    files: dict[str, str]
    imported: AwareDatetime


class Manifest(_Stored):
    """Where a champion comes from and what was measured; ``manifest.json``.

    A champion of a study has a trial and a verdict. One that was imported has a provenance
    instead, and nothing was measured.

    Args:
        format_version: Of this file; a reader refuses what is newer than it knows. Version 2
            brought the provenance.
        name: Of the champion.
        created: When it was packaged.
        c2c_search_version: Of the workbench that made it.
        git_commit: Of the workbench, where it ran from a checkout.
        pair: Identities of receiver and sharer.
        receiver_size: Of the receiver, to compare the fuser with.
        template: How a question becomes a prompt: ``plain`` or ``chat``, or one for each role.
        cache_dtype: Of the prompt caches it answers from, e.g. ``bfloat16``; those of a study's
            champion it was trained on too.
        dtype: In which both models computed when it was trained and measured; None where nothing
            was measured, and in manifests of versions that always took bfloat16 on a GPU and
            float32 on a CPU.
        data: SHA-256 of each split.
        trial: The TrialConfig.
        trial_hash: Of the TrialConfig.
        verdict: The champion gate's verdict, with intervals.
        provenance: Of an imported fuser.
        controls: Accuracy of each control on test.
        versions: Of the libraries that trained and measured it.
        licences: What else is under a licence (data sources), by name.
        questions: With the answers that `verify` expects.
        listening: Where the receiver answers without the sharer; None: nowhere.
    """

    format_version: int = Field(FORMAT_VERSION, ge=1)
    name: str
    created: AwareDatetime
    c2c_search_version: str
    git_commit: str | None = None
    pair: PairIdentity
    receiver_size: Size | None = None
    template: PairTemplate
    cache_dtype: CacheDtype
    dtype: Literal["float32", "bfloat16"] | None = None
    data: dict[str, str] = {}
    trial: dict[str, Any] | None = None
    trial_hash: str | None = None
    verdict: dict[str, Any] | None = None
    provenance: Provenance | None = None
    controls: dict[str, float] = {}
    versions: dict[str, str]
    licences: dict[str, str] = {}
    questions: tuple[RecordedQuestion, ...] = ()
    listening: Listening | None = Field(None, exclude_if=lambda listening: listening is None)

    @property
    def date(self) -> str | None:
        """The day that its prompts are written on; None if its templates have none.

        Raises:
            IntegrityError: The trial's is no day.
        """
        date = self._of_data("date")
        try:
            return None if date is None else datetime.date.fromisoformat(date).isoformat()
        except (TypeError, ValueError) as error:
            raise IntegrityError(
                f"A trial's data.date in {MANIFEST} must be a day, as 2026-07-31.",
                value=date,
                hint=_AGAIN,
            ) from error

    @property
    def draft_template(self) -> Template | None:
        """How a prompt is written for a sharer that drafts; None: as for the receiver.

        Raises:
            IntegrityError: The trial's is no template.
        """
        template = self._of_data("draft_template")
        for known in get_args(Template):
            if template == known:
                return known
        if template is None:
            return None
        raise IntegrityError(
            f"A trial's data.draft_template in {MANIFEST} must be a template.",
            value=template,
            hint=_AGAIN,
        )

    def _of_data(self, name: str) -> Any:
        """A field of the trial's data, whatever it holds; None where there is none."""
        data = (self.trial or {}).get("data")
        return data.get(name) if isinstance(data, dict) else None

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> Self:
        found = (self.trial, self.trial_hash, self.verdict)
        measured, imported = None not in found, self.provenance is not None
        if measured == imported or (imported and any(part is not None for part in found)):
            raise ValueError("a champion has trial, trial_hash and verdict, or else a provenance")
        return self

    @model_validator(mode="after")
    def _is_told_alike(self) -> Self:
        """Values that stand here and in the trial are the same."""
        if self.trial is None:
            return self
        if (found := content_sha256(self.trial)[:16]) != self.trial_hash:
            raise ValueError(f"trial_hash must be the trial's own, {found}")
        data = self.trial.get("data")
        told = {
            "template": (
                spelled(self.template),
                data.get("template") if isinstance(data, dict) else None,
            ),
            "cache_dtype": (self.cache_dtype, self.trial.get("cache_dtype")),
        }
        for name, (here, there) in told.items():
            if there is not None and there != here:
                raise ValueError(f"{name} must be what the trial says, {in_yaml(there)}")
        return self


def read_manifest(directory: Path) -> Manifest:
    """Read a champion's manifest; keys that a newer version added are left out with a warning.

    Raises:
        IntegrityError: There is none, it is not valid, or its format is newer than this version.
    """
    path = directory / MANIFEST
    try:
        content = read_object(path, hint=_AGAIN)
    except FileNotFoundError:
        raise IntegrityError(
            f"A champion folder holds {MANIFEST}.",
            value=str(directory),
            hint="Name a folder that `c2c-search export` or `import-rosetta` wrote with --to.",
        ) from None
    version = content.get("format_version", FORMAT_VERSION)
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise IntegrityError(
            f"This version reads champions up to format {FORMAT_VERSION}.",
            value=version,
            hint="Upgrade c2c-search, or install the runtime/ folder that came with the champion.",
        )
    unknown = _take_unknown(content)
    if unknown:
        told = ", ".join(unknown[:_TOLD]) + (", ..." if len(unknown) > _TOLD else "")
        warnings.warn(
            shown(
                f"{MANIFEST} of {content.get('name')!r} has entries that this version does not "
                f"know and leaves out: {told}. "
                "A newer c2c-search wrote it: upgrade to use them."
            ),
            stacklevel=2,
        )
    try:
        # As JSON: only there is a list a tuple, and nothing else is coerced.
        return Manifest.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        )
        raise IntegrityError(
            f"{MANIFEST} must say where the champion comes from.", value=wrong, hint=_AGAIN
        ) from error


def verify_compatibility(
    manifest: Manifest, receiver: ModelIdentity, sharer: ModelIdentity
) -> None:
    """Check that two models are those that the fuser was trained between.

    Content counts (architecture, configuration, weights, tokenizer), not where it came from.

    Raises:
        IntegrityError: Names all that differs, and the models to load instead.
    """
    differences, needed = [], []
    for side, found in zip(_SIDES, (receiver, sharer), strict=True):
        expected: ModelIdentity = getattr(manifest.pair, side)
        parts = [
            f"{side} {what}: expected {getattr(expected, field)}, got {getattr(found, field)}"
            for what, field in (
                ("architecture", "architecture"),
                ("configuration", "config_sha256"),
                ("weights", "weights_sha256"),
                ("tokenizer", "tokenizer_sha256"),
                ("tokenization", "tokenization_sha256"),
            )
            if getattr(expected, field) not in (None, getattr(found, field))
        ]
        differences += parts
        if parts:
            revision = f" at revision {expected.revision}" if expected.revision else ""
            needed.append(f"{side} {expected.source}{revision}")
    if differences:
        raise IntegrityError(
            "A fuser works only between the two models it was trained between.",
            value="; ".join(differences),
            hint=f"Load {' and '.join(needed)}, or train a fuser for these models.",
        )


def _take_unknown(content: dict[str, Any]) -> list[str]:
    """Remove the keys that this version's models do not have; return their dotted names."""
    unknown = _strip(content, Manifest, "")
    pair = content.get("pair")
    if isinstance(pair, dict):
        unknown += _strip(pair, PairIdentity, "pair.")
        for side in _SIDES:
            unknown += _strip(pair.get(side), ModelIdentity, f"pair.{side}.")
    unknown += _strip(content.get("receiver_size"), Size, "receiver_size.")
    unknown += _strip(content.get("provenance"), Provenance, "provenance.")
    unknown += _strip(content.get("listening"), Listening, "listening.")
    questions = content.get("questions")
    for question in questions if isinstance(questions, list) else []:
        unknown += _strip(question, RecordedQuestion, "questions.")
    return list(dict.fromkeys(unknown))


def _strip(content: Any, model: type[BaseModel], prefix: str) -> list[str]:
    if not isinstance(content, dict):
        return []
    unknown = [key for key in content if key not in model.model_fields]
    for key in unknown:
        del content[key]
    return [prefix + key for key in unknown]
