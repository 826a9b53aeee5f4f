"""The champion packaged, verified in a clean runtime, and only then registered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from pathlib import Path

from c2c_search.champion import package
from c2c_search.champion.registry import register
from c2c_search.data.quiz import LICENCES
from c2c_search.data.schema import Row
from c2c_search.data.splits import Splits
from c2c_search.data.splits import load_splits
from c2c_search.host.source import source_commit
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import PairIdentity
from c2c_search.inference.manifest import RecordedQuestion
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.size import Size
from c2c_search.models.identity import ModelIdentity
from c2c_search.models.identity import weight_files
from c2c_search.models.loading import resolve
from c2c_search.study.finalist import Finalist
from c2c_search.study.finalists import FinalEvaluation
from c2c_search.study.session import Session
from c2c_search.study.succession import PROMOTED
from c2c_search.study.succession import PromotedChampion
from c2c_search.study.succession import obstacle
from c2c_search.tracking.reconcile import RUN_ID


QUESTIONS = 5
MAX_NEW_TOKENS = 16


Asked = tuple[str, str | None]
"""A question, and what the sharer reads where it is something else."""

Ask = Callable[[Path, Sequence[Asked]], Sequence[str]]


def ask_here(champion: Path, questions: Sequence[Asked]) -> Sequence[str]:
    """The champion's greedy answers, one by one, from this process."""
    from c2c_search.inference.model import C2CModel

    model = C2CModel.from_pretrained(champion)
    return [
        model.generate_batch(
            [text], None if context is None else [context], max_new_tokens=MAX_NEW_TOKENS
        )[0]
        for text, context in questions
    ]


def promote(session: Session, final: FinalEvaluation, *, ask: Ask = ask_here) -> PromotedChampion:
    """Package the champion, let it prove itself in a clean runtime, and register it.

    The alias in the registry moves, and the package appears under its path, only when the
    exported package has given the same answers as the package here. Until then the champion
    before it stays what it is. The alias that another study's champion has moves only to one that
    beats it (`succession.obstacle`), or by force.

    Args:
        session: Of the study.
        final: With a champion.
        ask: Gives a package's answers to questions.

    Raises:
        IntegrityError: The exported package does not answer as the measured fuser does.
        StoreError: A store or the disk cannot be written.
    """
    winner = final.champion
    assert winner is not None
    name, files = session.space.pipeline.champion.registered_name, session.files
    candidate, draft = files.folder / "candidate", files.folder / ".draft"
    known = session.store.load(PROMOTED, PromotedChampion)
    stands = known is not None and _stands(known, winner, name, final)
    if known is not None and stands and (known.leads or not session.force):
        _discard(candidate, draft)
        return known
    if not _is_of(candidate, winner, final):
        session.view.phase("package", 0, 2, "asking the champion")
        _build(candidate, draft, session, final, winner, ask)
    session.view.phase("package", 1, 2, "asking it in a clean runtime, then registering it")
    run_id = session.tracker.own_id(session.study.trials[winner.number].user_attrs[RUN_ID])
    reason = obstacle(session, final)
    forced = session.force if reason else ""
    leads = not reason or bool(forced)
    version = register(session.tracker, candidate, name, run_id, lead=leads, forced=forced)
    if forced:
        reason += f" By force: {forced}"
    if reason:
        session.view.note(f"{winner.name} is registered as version {version}, but {reason}")
    manifest = read_manifest(candidate)
    package.build(files.champion, fuser_dir=candidate, manifest=manifest, replace=True)
    champion = PromotedChampion(
        name=winner.name,
        trial_hash=winner.config.hash(),
        folder=files.champion,
        registered_name=name,
        version=version,
        leads=leads,
        note=reason,
    )
    session.store.save(PROMOTED, champion)
    _discard(candidate, draft)
    return champion


def _discard(candidate: Path, draft: Path) -> None:
    """Remove the candidate at once, as a draft, and the draft, whatever a killed start left."""
    shutil.rmtree(draft, ignore_errors=True)
    if candidate.exists():
        candidate.rename(draft)
        shutil.rmtree(draft)


def _is_of(candidate: Path, winner: Finalist, final: FinalEvaluation) -> bool:
    """Whether a start that was interrupted has packaged this champion already."""
    if not candidate.exists():
        return False
    manifest = read_manifest(candidate)
    verdict = final.verdict(winner.name).model_dump(mode="json")
    same = manifest.trial_hash == winner.config.hash() and manifest.verdict == verdict
    return same and manifest.listening == final.listening


def _build(
    to: Path, draft: Path, session: Session, final: FinalEvaluation, winner: Finalist, ask: Ask
) -> None:
    fuser = session.files.trial(winner.config.hash()) / winner.trained.best_dir
    splits = load_splits(winner.config.data)
    manifest = make_manifest(session, final, winner, splits)
    # A fixed name: the next start clears what a killed one left.
    shutil.rmtree(draft, ignore_errors=True)
    try:
        package.build(draft, fuser_dir=fuser, manifest=manifest)
        asked = _questions(draft, splits, ask)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    manifest = manifest.model_copy(update={"questions": asked})
    package.build(to, fuser_dir=fuser, manifest=manifest, replace=True)


def make_manifest(
    session: Session, final: FinalEvaluation, winner: Finalist, splits: Splits
) -> Manifest:
    """Everything that a champion's package says about where it comes from, questions aside."""
    config, data = winner.config, session.space.pipeline.data
    pair = next(name for name, each in session.space.pairs.items() if each == config.pair)
    prepared = session.trainer.prepared[pair]
    verdict = final.verdict(winner.name)
    quiz = data.source == "quiz"
    return Manifest(
        name=f"{session.space.study}-{winner.name}",
        created=datetime.now(UTC),
        c2c_search_version=package.workbench_version(),
        git_commit=source_commit(),
        pair=PairIdentity(
            **{role: ModelIdentity.model_validate(each) for role, each in prepared.models.items()}
        ),
        receiver_size=_receiver_size(config.pair.receiver),
        template=data.template,
        cache_dtype=config.cache_dtype,
        dtype=prepared.dtype,
        data=dict(prepared.data),
        trial=config.identity(),
        trial_hash=config.hash(),
        verdict=verdict.model_dump(mode="json"),
        controls={one.control: one.accuracy.value for one in verdict.others},
        versions=package.installed_versions() | (splits.provenance if quiz else {}),
        licences=LICENCES if quiz else {},
        listening=final.listening,
    )


def _receiver_size(source: str) -> Size:
    return Size.measure(weight_files(resolve(source).path))


def _questions(champion: Path, splits: Splits, ask: Ask) -> tuple[RecordedQuestion, ...]:
    """Questions of the test split, spread over it, with the champion's answers."""
    rows = splits.test
    every = max(1, len(rows) // QUESTIONS)
    asked = [_asked(rows[index]) for index in range(0, len(rows), every)]
    asked = list(dict.fromkeys(asked))[:QUESTIONS]
    return tuple(
        RecordedQuestion(
            question=text, answer=answer, max_new_tokens=MAX_NEW_TOKENS, sharer_context=context
        )
        for (text, context), answer in zip(asked, ask(champion, asked), strict=True)
    )


def _asked(row: Row) -> Asked:
    context = row["sharer_messages"][-1]["content"] if row["sharer_messages"] else None
    return row["messages"][-1]["content"], context


def _stands(
    known: PromotedChampion, winner: Finalist, registered_name: str, final: FinalEvaluation
) -> bool:
    """Whether the promotion that the store remembers is this one, and its package is there.

    It is another one where the champion is to listen otherwise.
    """
    if known.trial_hash != winner.config.hash() or known.registered_name != registered_name:
        return False
    if not known.version:  # imported, and registered nowhere yet
        return False
    return known.folder.is_dir() and read_manifest(known.folder).listening == final.listening
