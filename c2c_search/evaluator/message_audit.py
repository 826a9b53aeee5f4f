"""Audit any fuser: does it listen, adapt without listening, or do harm?"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.champion.imported import import_rosetta
from c2c_search.config.trial import canonical_hash
from c2c_search.errors import ConfigError
from c2c_search.evaluation.audit_record import AuditedSystem
from c2c_search.evaluation.audit_record import AuditedTask
from c2c_search.evaluation.audit_record import AuditRecord
from c2c_search.evaluation.harm import measure_harm
from c2c_search.evaluation.judgement import judge_listening
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.statistics import equivalence_test
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.evaluation.statistics import paired_test
from c2c_search.evaluation.systems.registry import DERANGED
from c2c_search.evaluation.systems.registry import SUBJECT
from c2c_search.evaluator.evaluate import evaluate
from c2c_search.evaluator.reading import read_request
from c2c_search.evaluator.request import ALL
from c2c_search.evaluator.request import Request
from c2c_search.evaluator.request import Rule
from c2c_search.evaluator.request import check_folders
from c2c_search.evaluator.request import choose_systems
from c2c_search.evaluator.target import find_target
from c2c_search.fuser.rosetta.layout import MAP_NAME
from c2c_search.fuser.rosetta.reading import files
from c2c_search.host.files import write_text
from c2c_search.host.home import expanded
from c2c_search.host.names import fit
from c2c_search.host.wording import counted
from c2c_search.inference.manifest import MANIFEST
from c2c_search.models.stamps import file_sha256
from c2c_search.report.message_audit import markdown
from c2c_search.tokenization.templates import RoleTemplates
from c2c_search.tokenization.templates import Template
from c2c_search.tokenization.templates import spelled


if TYPE_CHECKING:
    from c2c_search.evaluation.record import EvaluationRecord
    from c2c_search.evaluation.record import TaskRecord
    from c2c_search.evaluation.results import SystemResult
    from c2c_search.evaluator.evaluate import Evaluated
    from c2c_search.evaluator.target import Target
    from c2c_search.host.terminal import Console


JSON = "audit.json"
MARKDOWN = "audit.md"
RECEIVER = "receiver"
ON_OWN_TASK = (
    SUBJECT,
    DERANGED,
    RECEIVER,
    "sharer",
    "zeroed",
    "noise",
    "self",
    "text_relay",
)
"""Who answers the audit's own task, as far as each can be built for the fuser."""
ELSEWHERE = (SUBJECT, RECEIVER, "sharer")
"""Who answers the other tasks."""


@dataclass(frozen=True)
class AuditRequest:
    """What is asked of an audit.

    Args:
        target: A champion's or trial's folder, or a checkpoint in the published layout.
        task: As in `Request.tasks`; the fuser's own test split when left out.
        elsewhere: Tasks on which the receiver should not be harmed.
        receiver: Of a published checkpoint: the model that answers.
        sharer: Of one: the model that speaks.
        sharer_index: Of one: which sharer, where it holds several.
        template: Of one: how a question becomes a prompt.
        root: Folder of all stores.
        limit: Most items of a task.
        level: Chance of a wrong finding, and of the intervals.
        margin: How much worse counts as no harm, and what of P as nothing, in accuracy.
        wished: Difference that the items should be able to show, in accuracy.
        seed: Of limits, permutations and bootstrap.
        batch_size: Questions in one pass.
        contamination: What becomes of items that the fuser was trained or selected on.
        to: Folder to write; one under ``root`` when left out.
        command: The command line, for the record.
    """

    target: str
    task: str | None = None
    elsewhere: tuple[str, ...] = ()
    receiver: str | None = None
    sharer: str | None = None
    sharer_index: int | None = None
    template: Template | RoleTemplates | None = None
    root: Path = Path("mlruns")
    limit: int | None = None
    level: float = 0.05
    margin: float = 0.02
    wished: float = 0.05
    seed: int = 0
    batch_size: int = 32
    contamination: Rule = "exclude"
    to: Path | None = None
    command: str = ""


@dataclass(frozen=True)
class Audited:
    """What came of an audit.

    Args:
        record: What was found.
        folder: Where it is kept.
    """

    record: AuditRecord
    folder: Path


def audit(request: AuditRequest, *, console: Console | None = None) -> Audited:
    """Let a fuser and its controls answer, and say in one sentence what it does.

    The answers are those of `evaluate`, of the audit's own task under ``own`` and of the others
    under ``elsewhere``; interrupted, the same request goes on where it was.

    Raises:
        ConfigError: The request does not hold.
        DataError: A task cannot be read.
        C2CError: A model cannot be loaded, a checkpoint not be imported, or a control not be
            trained.
        KeyboardInterrupt: A signal stopped it.
    """
    check_folders(Request(target=request.target, root=request.root, to=request.to))
    folder_of_fuser = _fuser_folder(request)
    target = find_target(folder_of_fuser, root=request.root)
    systems, left_out = _systems(target)
    name = f"{fit(target.name)}-{target.identity()[:8]}"
    folder = (request.to or request.root / "audits" / name).resolve()
    asked = {"own": _request(request, folder_of_fuser, systems, folder / "own")}
    if request.task is None and target.trial is None:
        raise ConfigError(
            "An imported fuser has no test split of its own.",
            value=request.target,
            hint="Name what it is asked with --task or --data.",
        )
    if request.elsewhere:
        asked["elsewhere"] = _request(
            request, folder_of_fuser, ELSEWHERE, folder / "elsewhere", request.elsewhere
        )
    # So that what cannot be read, or told, is refused before anything is answered.
    ready = {part: read_request(each) for part, each in asked.items()}
    (own,) = ready["own"].chosen
    _check_items(own.loaded.name, [item.cluster for item in own.loaded.items])
    found = {part: evaluate(each, console=console) for part, each in ready.items()}
    record = _record(request, found, left_out)
    write_text(folder / JSON, record.model_dump_json(indent=1) + "\n")
    write_text(folder / MARKDOWN, markdown(record))
    return Audited(record, folder)


def _fuser_folder(request: AuditRequest) -> str:
    """Where the fuser lies; a published checkpoint is imported first, once.

    Raises:
        ConfigError: Its models are not named, or models are named beside something else.
    """
    folder = expanded(Path(request.target))
    published = (folder / MAP_NAME).is_file()
    named = [value for value in (request.receiver, request.sharer) if value is not None]
    if not published:
        if named or request.sharer_index is not None or request.template is not None:
            raise ConfigError(
                "--receiver, --sharer, --sharer-index and --template go with a checkpoint in the "
                "published layout; any other fuser brings its own.",
                value=request.target,
                hint="Leave them out, or name a folder with projector_config.json.",
            )
        return request.target
    if request.receiver is None or request.sharer is None:
        raise ConfigError(
            "A checkpoint in the published layout does not name its two models.",
            value=request.target,
            hint="Name those that it was trained between with --receiver and --sharer.",
        )
    template = request.template or "plain"
    digests = {path.name: file_sha256(path) for path in files(folder)}
    same = [digests, *named, request.sharer_index, spelled(template)]
    to = request.root / "audits" / "imported" / canonical_hash(same)
    if not (to / MANIFEST).is_file():
        import_rosetta(
            folder,
            to,
            receiver=request.receiver,
            sharer=request.sharer,
            sharer_index=request.sharer_index,
            template=template,
        )
    return str(to)


def _systems(target: Target) -> tuple[tuple[str, ...], dict[str, str]]:
    """Who answers the own task, and why others of `ON_OWN_TASK` do not.

    Raises:
        ConfigError: There is no fuser.
    """
    if target.fuser_dir is None:
        raise ConfigError(
            "An audit is of a fuser.",
            value=target.name,
            hint="Name a champion's folder, a trial, or a published checkpoint.",
        )
    chosen, skipped = choose_systems((ALL,), target)
    systems = tuple(name for name in ON_OWN_TASK if name in chosen)
    return systems, {name: skipped[name] for name in ON_OWN_TASK if name in skipped}


def _request(
    request: AuditRequest,
    target: str,
    systems: tuple[str, ...],
    to: Path,
    named: tuple[str, ...] = (),
) -> Request:
    own = () if request.task is None else (request.task,)
    return Request(
        target=target,
        tasks=named or own,
        systems=systems,
        root=request.root,
        limit=request.limit,
        seed=request.seed,
        batch_size=request.batch_size,
        level=request.level,
        wished=request.wished,
        contamination=request.contamination,
        to=to,
        command=request.command,
    )


def _check_items(task: str, clusters: Sequence[str]) -> None:
    """Refuse items that cannot hear a wrong message.

    Args:
        task: Their name.
        clusters: Of each, the fact that it is about.

    Raises:
        ConfigError: There are none about two facts.
    """
    if (facts := len(set(clusters))) < 2:
        raise ConfigError(
            "An audit needs items about two facts at least, so that another's message can be "
            "heard.",
            value=f"{counted(len(clusters), 'item')} of {task} about {counted(facts, 'fact')}",
            hint="Ask more of them (--limit), or name another task.",
        )


def _record(
    request: AuditRequest, found: Mapping[str, Evaluated], left_out: Mapping[str, str]
) -> AuditRecord:
    own: EvaluationRecord = found["own"].record
    (task,) = own.tasks
    answers = _first(found["own"], task.task)
    # Some may have been left out by now.
    _check_items(task.task, [item.cluster for item in answers[SUBJECT].items])
    others = found["elsewhere"].record.tasks if "elsewhere" in found else ()
    return AuditRecord(
        subject=own.subject,
        receiver=own.receiver,
        sharer=own.sharer,
        parameters=own.parameters,
        judgement=judge_listening(
            answers[SUBJECT],
            answers[DERANGED],
            answers[RECEIVER],
            level=request.level,
            margin=request.margin,
            wished=request.wished,
            seed=request.seed,
        ),
        own=_task(task, answers, request, request.level),
        systems=tuple(_beside(answers, request)),
        elsewhere=tuple(
            _task(
                each,
                _first(found["elsewhere"], each.task),
                request,
                request.level / len(others),
            )
            for each in others
        ),
        left_out=dict(left_out),
        command=request.command,
        created=own.created,
        versions=own.versions,
        machine=own.machine,
    )


def _first(evaluated: Evaluated, task: str) -> dict[str, SystemResult]:
    """A task's answers by system."""
    return {name: each[0] for name, each in evaluated.answers[task].items()}


def _task(
    task: TaskRecord,
    answers: Mapping[str, SystemResult],
    request: AuditRequest,
    level: float,
) -> AuditedTask:
    return AuditedTask(
        source=task.source,
        split=task.split,
        sha256=task.sha256,
        harm=measure_harm(
            task.task,
            answers[SUBJECT],
            answers[RECEIVER],
            level=level,
            margin=request.margin,
            seed=request.seed,
        ),
        transfer=None if task.analysis is None else task.analysis.transfer,
        broken=None if task.analysis is None else task.analysis.harm,
        notes=task.notes,
    )


def _beside(answers: Mapping[str, SystemResult], request: AuditRequest) -> Iterator[AuditedSystem]:
    """Every system of the own task, in the order of tables."""
    mine, level, seed = answers[SUBJECT], request.level, request.seed
    for name in ON_OWN_TASK:
        if (theirs := answers.get(name)) is None:
            continue
        accuracy = accuracy_interval(theirs, level=level, seed=seed)
        if name == SUBJECT:
            yield AuditedSystem(system=name, accuracy=accuracy)
            continue
        yield AuditedSystem(
            system=name,
            accuracy=accuracy,
            difference=paired_bootstrap(mine, theirs, level=level, seed=seed),
            p=paired_test(mine, theirs, seed=seed).p,
            same=equivalence_test(mine, theirs, margin=request.margin),
        )
