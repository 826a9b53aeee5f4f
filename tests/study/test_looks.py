"""The test split is a budget: looks are counted, and a champion gives way to a better one only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.study import storage
from c2c_search.study.driver import Outcome
from c2c_search.study.looks import LOOKS
from c2c_search.study.looks import look


Run = Callable[..., Outcome]


def test_what_was_judged_keeps_its_look_and_the_rest_make_another() -> None:
    study = optuna.create_study()
    first = look(study, ["a", "b"])
    assert {key: each.number for key, each in first.items()} == {"a": 1, "b": 1}
    assert look(study, ["b", "a"]) == first
    second = look(study, ["c", "a"])
    assert {key: each.number for key, each in second.items()} == {"a": 1, "c": 2}
    assert second["c"].finalists == ("c",)
    assert look(study, []) == {}
    assert len(study.user_attrs[LOOKS]) == 2


def test_versions_share_the_budget_of_their_test_split() -> None:
    first, second = optuna.create_study(), optuna.create_study()
    look(first, ["a"])
    found = look(second, ["a", "b"], [first])
    assert {key: each.number for key, each in found.items()} == {"a": 1, "b": 2}
    assert [each["number"] for each in second.user_attrs[LOOKS]] == [1, 2]
    assert look(first, ["c"], [second])["c"].number == 3
    # Of other weights it is another fuser, which looks at the same questions all the same.
    other = look(optuna.create_study(), ["a"], others=[first, second])
    assert other["a"].number == 4


@pytest.fixture
def growing(script: Any) -> Callable[[float, float], None]:
    """``growing(first, later)``: accuracies of the first three trials and of all later ones."""

    def set_up(first: float, later: float) -> None:
        seen: list[str] = []

        def accuracy(config: TrialConfig) -> float:
            if config.fuser.sharer == "blank":
                return 0.3
            if config.hash() not in seen:
                seen.append(config.hash())
            number = seen.index(config.hash())
            return (first if number < 3 else later) + 0.001 * number

        script.accuracy = accuracy

    return set_up


def test_more_trials_after_a_champion_are_a_second_look_at_a_smaller_level(
    quick: Run, growing: Callable[[float, float], None], root: Path
) -> None:
    growing(0.6, 0.9)
    first = quick(trials=3)
    assert {each.look for each in first.final.verdicts} == {1}
    finalists = len(first.final.verdicts)
    assert first.final.verdicts[0].judged_level == 0.05 / 2 / finalists
    assert "of which look 1 at this test split spends 0.025" in first.final.explanation
    second = quick(trials=6)
    looks = {each.name: each.look for each in second.final.verdicts}
    assert looks[first.champion.name] == 1  # as it was judged then
    later = [each for each in second.final.verdicts if each.look == 2]
    assert later
    assert all(each.judged_level == 0.05 / 4 / len(later) for each in later)
    assert (first.leaderboard.looks, second.leaderboard.looks) == (1, 2)
    # Better than the champion in a paired test, so it takes its place.
    winner = second.final.verdict(second.champion.name)
    assert (winner.look, winner.present.beaten) == (2, True)
    assert f"It beats the present champion, {first.champion.name}" in winner.explain()
    study = optuna.load_study(study_name="tiny", storage=storage.open_storage(root))
    assert len(study.user_attrs[LOOKS]) == 2


def test_a_champion_stays_until_it_is_beaten_or_displaced_by_force(
    quick: Run, growing: Callable[[float, float], None], script: Any
) -> None:
    growing(0.6, 0.61)
    first = quick(trials=3)
    second = quick(trials=6)
    assert second.champion.trial_hash == first.champion.trial_hash
    challenger = second.final.verdicts[0]
    assert challenger.passed
    assert not challenger.leads
    assert "does not clearly beat the present champion" in challenger.explain()
    forced = quick(trials=6, force="it has half the parameters")
    assert forced.champion.name == challenger.name
    verdict = forced.final.verdict(challenger.name)
    assert verdict.forced == "it has half the parameters"
    assert verdict.explain().endswith("by force: it has half the parameters")
    # Nothing was looked at again.
    on_test = [one.model_dump_json() for one in script.evaluated if one.split == "test"]
    assert len(set(on_test)) == len(on_test)
