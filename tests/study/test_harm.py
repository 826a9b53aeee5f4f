"""A finalist that harms its receiver on another task is refused, once that is asked."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2c_search.champion.verdict import Verdict
from c2c_search.config.pipeline import load_pipeline
from c2c_search.errors import NoChampionError
from c2c_search.study.driver import Outcome
from c2c_search.study.harm import harm_question
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Result
from tests.study.conftest import FakeWorker
from tests.study.conftest import answers


Run = Callable[..., Outcome]


@pytest.fixture
def harmless(space_file: Path) -> None:
    """The pipeline asks for harm on a task, within 10 points."""
    pipeline = space_file.with_name("pipeline.yaml")
    asked = "harmless_on: [arc_easy=arc], harm_margin: 10, finalists:"
    pipeline.write_text(pipeline.read_text().replace("finalists:", asked))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], list[Evaluate]]:
    """``elsewhere(receiver, fused)``: accuracies on other tasks; gives what is asked there."""

    def elsewhere(receiver: float, fused: float) -> list[Evaluate]:
        asked: list[Evaluate] = []
        known = FakeWorker._evaluate

        def evaluate(self: FakeWorker, request: Evaluate) -> Iterator[Event]:
            if request.task is None:
                yield from known(self, request)
                return
            asked.append(request)
            items = answers(receiver if request.system == "receiver" else fused)
            yield Result(system=request.system, split=request.split, items=items)

        monkeypatch.setattr(FakeWorker, "_evaluate", evaluate)
        return asked

    return elsewhere


def test_a_champion_that_does_no_harm_says_so(
    quick: Run, harmless: None, elsewhere: Any, space_file: Path
) -> None:
    asked = elsewhere(0.5, 0.5)
    outcome = quick()
    verdict = outcome.final.verdict(outcome.champion.name)
    (harm,) = verdict.harm
    assert (harm.task, harm.margin, harm.level) == ("arc_easy", 0.1, verdict.judged_level)
    assert harm.harmless
    assert harm.sentence in verdict.explain()
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    spec = f"arc_easy={space_file.parent / 'arc'}"
    assert [(each.system, each.task) for each in asked] == [("c2c", spec), ("receiver", spec)]
    assert asked[0].fuser_dir
    assert asked[1].fuser_dir is None
    quick()
    assert len(asked) == 2  # kept


def test_a_finalist_that_harms_is_refused(quick: Run, harmless: None, elsewhere: Any) -> None:
    asked = elsewhere(0.8, 0.5)
    with pytest.raises(NoChampionError, match="without harm elsewhere"):
        quick()
    # Every finalist that would have led was measured, the receiver once.
    assert len({each.fuser_dir for each in asked if each.system == "c2c"}) > 1
    assert sum(each.system == "receiver" for each in asked) == 1


def test_nothing_is_measured_unless_it_is_asked(quick: Run, elsewhere: Any) -> None:
    asked = elsewhere(0.8, 0.5)
    outcome = quick()
    assert asked == []
    assert outcome.final.verdict(outcome.champion.name).harm == ()


def test_harm_is_part_of_what_is_judged(space_file: Path, harmless: None) -> None:
    pipeline = load_pipeline(space_file.with_name("pipeline.yaml"))
    assert pipeline.champion.harmless_on == (f"arc_easy={space_file.parent / 'arc'}",)
    session = SimpleNamespace(space=SimpleNamespace(pipeline=pipeline))
    assert harm_question(session) == ["arc_easy", "margin 10", "limit 1000"]  # type: ignore[arg-type]
