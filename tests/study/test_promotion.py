from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2c_search.errors import IntegrityError
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import Size
from c2c_search.inference.manifest import check_sums
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.manifest import sha256
from c2c_search.study import promotion
from c2c_search.study.driver import Outcome
from c2c_search.study.promotion import QUESTIONS
from c2c_search.study.promotion import promote


def ask(champion: Path, questions: Sequence[str]) -> Sequence[str]:
    check_sums(champion)
    return [text.upper() for text in questions]


class Registry:
    """Stands in for `champion.registry.register`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.fail: BaseException | None = None

    def __call__(self, tracker: Any, package: Path, name: str, run_id: str) -> str:
        check_sums(package)
        self.seen.append((name, sha256(package / "SHA256SUMS")))
        if self.fail is not None:
            raise self.fail
        return str(len(self.seen))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    rows = [{"messages": [{"role": "user", "content": f"question {i}"}]} for i in range(23)]
    splits = SimpleNamespace(test=rows, provenance={"quiz": "1"})
    monkeypatch.setattr(promotion, "register", registry)
    monkeypatch.setattr(promotion, "load_splits", lambda config: splits)
    monkeypatch.setattr(promotion, "_receiver_size", lambda source: Size(parameters=9, bytes=18))
    return registry


@pytest.fixture
def study(quick: Callable[..., Outcome], registry: Registry) -> Callable[..., Outcome]:
    return partial(quick, promotion=partial(promote, ask=ask))


def test_a_champion_is_packaged_with_all_that_was_measured(
    study: Callable[..., Outcome], registry: Registry, root: Path
) -> None:
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
    assert names == {"a alone", "b alone", twin, routing}
    assert manifest.verdict["mismatched"] is not None
    assert manifest.versions["quiz"] == "1"
    asked = [(each.question, each.answer) for each in manifest.questions]
    assert len(asked) == QUESTIONS
    assert asked[1] == ("question 4", "QUESTION 4")
    # What was verified in the registry is, byte for byte, what stands under its path.
    assert registry.seen == [("c2c-fuser", sha256(folder / "SHA256SUMS"))]
    assert not (root / "trials" / "tiny" / "candidate").exists()


def test_promoting_again_does_nothing(study: Callable[..., Outcome], registry: Registry) -> None:
    first = study().champion
    assert study().champion == first
    assert len(registry.seen) == 1


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


def test_a_package_that_answers_otherwise_is_not_promoted(
    study: Callable[..., Outcome], registry: Registry, root: Path
) -> None:
    registry.fail = IntegrityError("A champion must answer as it did.")
    with pytest.raises(IntegrityError, match="must answer"):
        study()
    assert not (root / "champions").exists()
