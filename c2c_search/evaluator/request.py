"""What the user asks of an evaluation, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from c2c_search.errors import ConfigError
from c2c_search.errors import suggestion
from c2c_search.evaluation.items import Method
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluator.target import Target
from c2c_search.evaluator.target import studies_of
from c2c_search.host.files import check_folder
from c2c_search.host.versioned_names import meant
from c2c_search.tokenization.templates import RoleTemplates
from c2c_search.tokenization.templates import Template


Rule = Literal["report", "exclude", "refuse"]

ALL = "all"
WITHOUT_TRAINING = ("receiver", "sharer", "routing", "c2c", "deranged", "shut")
"""What is compared when no systems are named; nothing of it is trained or written."""

_LACKS = {
    "sharer": "it needs a sharer: name one with --sharer, or evaluate a fuser",
    "fuser": "it needs a fuser: evaluate a champion or a trial",
    "trial": "how the fuser was trained is not known (it was imported), so no control can be "
    "trained the same way",
}


@dataclass(frozen=True)
class Request:
    """What is asked of an evaluation.

    Args:
        target: What is evaluated; see `target.find_target`.
        tasks: Names, ``NAME=PATH``, JSONL files, or ``test`` for the target's own test split.
        systems: Names, or ``all``; empty for those that need no training.
        root: Folder of all stores.
        study: The study of a trial that is given by name.
        sharer: Beside a model source.
        template: Beside a model source.
        method: How items are answered; each task's own when left out.
        length_normalised: How options are compared; as the trial was judged when left out.
        limit: Most items of a task.
        seeds: Trainings of everything that is trained.
        seed: Of limits, sampling and bootstrap.
        temperature: Of written answers; 0 for greedy ones.
        top_p: Of written answers.
        max_new_tokens: Of written answers; each task's own when left out.
        batch_size: Questions in one pass.
        level: Of intervals.
        wished: The difference (accuracy) that a split should be able to show.
        contamination: What becomes of items that the fuser was trained or selected on.
        latency: Whether answering is timed, too.
        lm_eval: Tasks of lm-evaluation-harness.
        include_path: Folder of further tasks for it.
        to: Folder to write; one under ``root`` when left out.
        command: The command line, for the record.
    """

    target: str
    tasks: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    root: Path = Path("mlruns")
    study: str | None = None
    sharer: str | None = None
    template: Template | RoleTemplates | None = None
    method: Method | None = None
    length_normalised: bool | None = None
    limit: int | None = None
    seeds: int = 1
    seed: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int | None = None
    batch_size: int = 32
    level: float = 0.05
    wished: float = 0.05
    contamination: Rule = "exclude"
    latency: bool = False
    lm_eval: tuple[str, ...] = ()
    include_path: Path | None = None
    to: Path | None = None
    command: str = ""


def check_folders(request: Request) -> None:
    """Refuse folders that are none, and those that nothing would be looked for in.

    Raises:
        ConfigError: With the option.
    """
    if request.include_path is not None:
        if not request.include_path.is_dir():
            raise ConfigError(
                "--include-path must be a folder that exists.", value=str(request.include_path)
            )
        if not request.lm_eval:
            raise ConfigError(
                "--include-path is where tasks of lm-evaluation-harness are looked for.",
                value=str(request.include_path),
                hint="Name some with --lm-eval.",
            )
    for option, folder in (("--to", request.to), ("--root", request.root)):
        if folder is not None:
            check_folder(option, folder)
    known = studies_of(request.root)
    if request.study is not None and meant(known, request.study) not in known:
        raise ConfigError(
            f"--study must name a study under {request.root}.",
            value=request.study,
            hint=suggestion(request.study, known),
        )


def choose_systems(asked: Sequence[str], target: Target) -> tuple[tuple[str, ...], dict[str, str]]:
    """Which systems answer, in the order of tables, and why others cannot.

    Args:
        asked: As in `Request.systems`.
        target: What is evaluated.

    Returns:
        Names of the systems, and for ``all`` the reason why each other one is left out.

    Raises:
        ConfigError: A name is unknown, or a system that was named cannot answer; all of them.
    """
    has = {
        "sharer": target.sharer is not None,
        "fuser": target.fuser_dir is not None,
        "trial": target.trial is not None,
    }
    problems = list(_unknown(asked))
    known = dict.fromkeys([*SYSTEMS.names(), *(name for name in asked if name in SYSTEMS)])
    names = set(known if ALL in asked else asked or WITHOUT_TRAINING)
    for name in names & set(known):
        if (derivation := SYSTEMS[name].derivation) is not None:
            names |= set(derivation.of)
    skipped = {}
    for name in known:
        if name not in names:
            continue
        lacks = [what for what in _LACKS if what in SYSTEMS[name].needs and not has[what]]
        if lacks:
            skipped[name] = _LACKS[lacks[0]]
            if name in asked:
                problems.append(f"{name} cannot answer: {_LACKS[lacks[0]]}")
    if problems:
        raise ConfigError(
            "Systems must be known and able to answer: " + "; ".join(problems) + ".",
            hint=f"Systems: {', '.join(SYSTEMS)}, or all.",
        )
    chosen = tuple(name for name in known if name in names and name not in skipped)
    return chosen, skipped if ALL in asked else {}


def _unknown(asked: Sequence[str]) -> Iterator[str]:
    """What is wrong with each name that is no system's."""
    for name in asked:
        if name == ALL or name in SYSTEMS:
            continue
        if "." in name:
            try:
                SYSTEMS[name]
            except ConfigError as error:
                yield str(error).rstrip(".")
        else:
            near = get_close_matches(name, SYSTEMS.names(), n=1)
            yield f"{name!r} is no system" + (f"; {near[0]!r} is" if near else "")
