from __future__ import annotations

import io
from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2c_search.champion.registry import Leader
from c2c_search.errors import IntegrityError
from c2c_search.evaluation.results import SystemResult
from c2c_search.host.json_store import JsonStore
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.size import Size
from c2c_search.inference.sums import check_sums
from c2c_search.models.stamps import file_sha256
from c2c_search.study import promotion
from c2c_search.study import succession
from c2c_search.study.driver import Outcome
from c2c_search.study.layout import StudyFiles
from c2c_search.study.promotion import QUESTIONS
from c2c_search.study.promotion import promote
from c2c_search.tokenization.templates import asked
from c2c_search.training.protocol import Prepared
from tests.study.conftest import answers


def ask(champion: Path, questions: Sequence[tuple[str, str | None]]) -> Sequence[str]:
    check_sums(champion)
    return [f"{text}{context or ''}".upper() for text, context in questions]


class Registry:
    """Stands in for `champion.registry.register`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.led: list[tuple[bool, str]] = []
        self.leader: Leader | None = None
        self.fail: BaseException | None = None

    def __call__(
        self,
        tracker: Any,
        package: Path,
        name: str,
        run_id: str,
        *,
        lead: bool,
        forced: str,
    ) -> str:
        check_sums(package)
        self.led.append((lead, forced))
        self.seen.append((name, file_sha256(package / "SHA256SUMS")))
        if self.fail is not None:
            raise self.fail
        return str(len(self.seen))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    rows = [{"messages": asked(f"question {i}"), "sharer_messages": []} for i in range(23)]
    rows[8] |= {"sharer_messages": asked(" of eight")}
    splits = SimpleNamespace(test=rows, provenance={"quiz": "1"})
    monkeypatch.setattr(promotion, "register", registry)
    monkeypatch.setattr(succession, "leader", lambda tracker, name: registry.leader)
    monkeypatch.setattr(promotion, "load_splits", lambda config: splits)
    monkeypatch.setattr(promotion, "_receiver_size", lambda source: Size(parameters=9, bytes=18))
    return registry


@pytest.fixture
def study(quick: Callable[..., Outcome], registry: Registry) -> Callable[..., Outcome]:
    return partial(quick, promotion=partial(promote, ask=ask))


def test_a_champion_is_packaged_with_all_that_was_measured(
    study: Callable[..., Outcome], registry: Registry, root: Path, space_file: Path
) -> None:
    pipeline = space_file.with_name("pipeline.yaml")
    text = pipeline.read_text()
    assert "steps: 4" in text
    # How often a trial is kept is no part of what it is.
    pipeline.write_text(text.replace("steps: 4", "checkpoint_seconds: 5, steps: 4"))
    outcome = study()
    folder = root / "champions" / "tiny"
    assert outcome.champion.folder == folder
    check_sums(folder)
    manifest: Manifest = read_manifest(folder)
    winner = outcome.final.champion
    assert winner is not None
    assert manifest.trial_hash == winner.config.hash() == outcome.champion.trial_hash
    assert manifest.pair.receiver.source == winner.config.pair.receiver
    assert manifest.cache_dtype == winner.config.cache_dtype
    assert manifest.data["test"] == "sha-test"
    twin, routing = f"{winner.name} twin", f"{winner.name} routing"
    names = {name.rpartition("/")[2] for name in manifest.controls}
    assert names == {"a alone", "b alone", twin, routing, f"{winner.name} deranged"}
    assert manifest.verdict["deranged"] is not None
    assert manifest.versions["quiz"] == "1"
    recorded = [(one.question, one.sharer_context, one.answer) for one in manifest.questions]
    assert len(recorded) == QUESTIONS
    assert recorded[1] == ("question 4", None, "QUESTION 4")
    assert recorded[2] == ("question 8", " of eight", "QUESTION 8 OF EIGHT")
    # What was verified in the registry is, byte for byte, what stands under its path.
    assert registry.seen == [("c2c-fuser", file_sha256(folder / "SHA256SUMS"))]
    assert not (root / "trials" / "tiny" / "candidate").exists()


def test_promoting_again_does_nothing(study: Callable[..., Outcome], registry: Registry) -> None:
    first = study().champion
    assert study().champion == first
    assert len(registry.seen) == 1


def test_a_champion_that_is_to_listen_otherwise_is_packaged_again(
    study: Callable[..., Outcome], registry: Registry, root: Path, space_file: Path
) -> None:
    first = study()
    pipeline = space_file.with_name("pipeline.yaml")
    text = pipeline.read_text()
    pipeline.write_text(text.replace("finalists:", "listening: confident, finalists:"))
    second = study()
    assert second.champion.trial_hash == first.champion.trial_hash
    listening = read_manifest(root / "champions" / "tiny").listening
    assert listening == second.final.listening is not None
    assert len(registry.seen) == 2
    assert study().champion == second.champion
    assert len(registry.seen) == 2


def test_an_interrupted_promotion_goes_on_with_the_same_package(
    study: Callable[..., Outcome], registry: Registry, root: Path
) -> None:
    registry.fail = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        study()
    registry.fail = None
    study()
    assert len(set(registry.seen)) == 1
    assert (root / "champions" / "tiny").is_dir()


def test_what_a_killed_promotion_left_is_cleared(
    study: Callable[..., Outcome], registry: Registry, root: Path
) -> None:
    folder = root / "trials" / "tiny"
    (folder / ".draft" / "half").mkdir(parents=True)  # killed as it asked
    first = study().champion
    assert not (folder / ".draft").exists()
    for name in ("candidate", ".draft"):  # killed as it cleared up
        (folder / name / "half").mkdir(parents=True)
    assert study().champion == first
    assert not (folder / "candidate").exists()
    assert not (folder / ".draft").exists()


def test_a_package_that_answers_otherwise_is_not_promoted(
    study: Callable[..., Outcome], registry: Registry, root: Path
) -> None:
    registry.fail = IntegrityError("A champion must answer as it did.")
    with pytest.raises(IntegrityError, match="must answer"):
        study()
    assert not (root / "champions").exists()


OTHER = "hash-of-another-study"


@pytest.fixture
def rival(root: Path, registry: Registry) -> Callable[..., None]:
    """``rival(accuracy)``: another study's champion of that accuracy leads the registry."""

    def lead(accuracy: float, questions: str = "sha-test", listening: str = "always") -> None:
        registry.leader = Leader("7", OTHER, listening)
        store = JsonStore(StudyFiles(root, "rival").results)
        data = {"train": "x", "validation": "y", "test": questions}
        store.save("prepared/there", Prepared(models={}, data=data, seconds={}))
        result = SystemResult(system="rival", split="test", items=answers(accuracy))
        store.save(f"test/{OTHER}", result)

    return lead


def test_a_champion_of_another_study_that_is_beaten_gives_way(
    study: Callable[..., Outcome], registry: Registry, rival: Callable[..., None]
) -> None:
    rival(0.3)
    champion = study().champion
    assert registry.led == [(True, "")]
    assert (champion.leads, champion.note) == (True, "")


@pytest.mark.parametrize(
    ("accuracy", "questions", "listening", "told"),
    [
        (0.99, "sha-test", "always", "is not beaten"),
        (0.3, "others", "always", "not measured here on the same test"),
        (0.3, "sha-test", "confident", "listens only when unsure"),
    ],
)
def test_one_that_is_not_beaten_keeps_the_alias_but_by_force(
    study: Callable[..., Outcome],
    registry: Registry,
    rival: Callable[..., None],
    output: io.StringIO,
    root: Path,
    accuracy: float,
    questions: str,
    listening: str,
    told: str,
) -> None:
    rival(accuracy, questions, listening)
    champion = study().champion
    assert registry.led == [(False, "")]
    assert not champion.leads
    assert "version 7 of 'c2c-fuser', of another study, stays" in champion.note
    assert told in champion.note
    assert "is registered as version 1, but version 7" in output.getvalue()
    # It is the champion of its own study all the same.
    assert champion.folder == root / "champions" / "tiny"
    study()
    assert len(registry.led) == 1
    forced = study(force="the rival is too slow").champion
    assert registry.led[1:] == [(True, "the rival is too slow")]
    assert forced.leads
    assert forced.note.endswith("By force: the rival is too slow")


def test_a_champion_of_the_same_study_was_opposed_before(
    study: Callable[..., Outcome], registry: Registry
) -> None:
    first = study(trials=3).champion
    registry.leader = Leader("1", first.trial_hash)
    study(trials=5)
    assert all(led == (True, "") for led in registry.led)
