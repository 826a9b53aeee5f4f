"""`trials_per_device: auto`: so many trials at once as a measurement says, for a study's life."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.space.schema import Space
from c2c_search.study import storage
from c2c_search.study import trials_at_once
from c2c_search.study.driver import Outcome
from c2c_search.study.trials_at_once import AT_ONCE
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Paced


Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def auto(space_file: Path) -> None:
    text = space_file.read_text()
    space_file.write_text(text.replace("seed: 0}", "seed: 0, trials_per_device: auto}"))


def paces(*seconds: float, taken: int = 0) -> Callable[[int], Paced]:
    """What a pass of 1, 2, 4 ... trials takes."""
    return lambda together: Paced(
        seconds=seconds[together.bit_length() - 1], taken=taken * together, free=100
    )


def at_once(root: Path) -> int:
    import optuna

    study = optuna.load_study(study_name="tiny", storage=storage.open_storage(root))
    return study.user_attrs[AT_ONCE]


@pytest.mark.parametrize(
    ("measured", "tried", "chosen"),
    [
        (paces(1.0, 1.2, 2.0), [1, 2, 4], 4),  # as far as half of the trials
        (paces(1.0, 1.2, 2.3), [1, 2, 4], 2),  # a tenth less is what pays
        (paces(1.0, 1.9), [1, 2], 1),
        (paces(1.0, 1.0, 1.0, taken=20), [1, 2], 2),  # four would take 80 of 140
        (paces(1.0, 1.0, 1.0, taken=40), [1], 1),
    ],
)
def test_twice_as_many_as_long_as_it_pays(
    quick: Run,
    root: Path,
    script: Any,
    measured: Callable[[int], Paced],
    tried: list[int],
    chosen: int,
) -> None:
    script.paces = measured
    quick(trials=8)
    assert script.paced == [1, *tried]  # the first one of all does not count
    assert at_once(root) == chosen
    assert {len(group) for group in script.together} == ({chosen} if chosen > 1 else set())


def test_what_is_too_large_for_the_memory_is_told_and_left(
    quick: Run, root: Path, script: Any, output: Any
) -> None:
    large = Failed(failure="out_of_memory", message="too large")
    script.paces = lambda together: large if together == 4 else paces(1.0, 1.2)(together)
    quick(trials=8)
    assert at_once(root) == 2
    assert "Trials at once: 2; measured" in output.getvalue()
    assert "4: too large" in output.getvalue()


def test_a_few_trials_train_one_by_one_and_nothing_is_measured(
    quick: Run, root: Path, script: Any
) -> None:
    quick(trials=3)
    assert script.paced == script.together == []
    assert at_once(root) == 1


def test_it_is_measured_once_in_a_study(quick: Run, script: Any) -> None:
    script.paces = paces(1.0, 1.2, 2.0, 9.0)
    quick(trials=8)
    quick(trials=16)
    assert script.paced == [1, 1, 2, 4]


def test_memory_limits_hold_for_all_that_train_at_once(
    quick: Run, root: Path, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_two(space: Space) -> Callable[[Any], bool]:
        return lambda config: space.search.places <= 2

    monkeypatch.setattr(trials_at_once, "make_fits", only_two)
    script.paces = paces(1.0, 1.0, 1.0)
    quick(trials=8)
    assert script.paced == [1, 1, 2]
