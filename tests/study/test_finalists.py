"""The last act of a study: controls are trained, systems measured, and finalists judged."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.errors import NoChampionError
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import confident
from c2c_search.fuser.config import FuserConfig
from c2c_search.inference.doubt import Listening
from c2c_search.report.live import View
from c2c_search.study import when_unsure
from c2c_search.study.driver import Outcome
from c2c_search.study.finalists import controls_of
from c2c_search.study.layout import StudyFiles
from c2c_search.tracking import Tracker
from c2c_search.training.protocol import Failed
from tests.study.conftest import ITEMS
from tests.study.test_driver import optuna_study


Run = Callable[..., Outcome]

PLUGIN = '''\
"""A control from outside: the same fuser, as narrow as can be."""

from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.systems.registry import Recipe
from c2c_search.evaluation.systems.registry import system


@system(
    "narrow",
    title="Narrow fuser",
    reference="this test",
    kind="control",
    needs=["sharer", "trial"],
    recipe=Recipe(variant=lambda trial: trial.model_copy(
        update={"fuser": trial.fuser.model_copy(update={"width": 1})}
    )),
)
def narrow(name, materials):
    from c2c_search.evaluation.systems.c2c import Fused

    return Fused(name, materials.fused(materials.trained))
'''


@pytest.fixture
def controls(space_file: Path) -> Callable[[str], None]:
    """``controls("ridge, lora")`` names the pipeline's further controls."""

    def name(controls: str) -> None:
        pipeline = space_file.with_name("pipeline.yaml")
        text = pipeline.read_text()
        pipeline.write_text(text.replace("finalists:", f"controls: [{controls}], finalists:"))

    return name


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A control from outside, in one file; its dotted path."""
    (tmp_path / "outside.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert SYSTEMS["receiver"].builder  # the built-in ones are there, and stay
    for name in ("_entries", "_names", "_plugins"):
        monkeypatch.setattr(SYSTEMS, name, vars(SYSTEMS)[name].copy())
    yield "outside.narrow"
    sys.modules.pop("outside", None)


def test_a_control_from_outside_goes_through_the_last_act(
    quick: Run, script: Any, controls: Callable[[str], None], plugin: str
) -> None:
    controls(f"routing, {plugin}")
    known = script.accuracy
    script.accuracy = lambda config: 0.3 if config.fuser.width == 1 else known(config)
    outcome = quick()
    for one in outcome.final.finalists:
        assert one.controls.keys() == {"no_sharer", plugin}
        assert f"{one.name} narrow" in outcome.final.results
    verdict = outcome.final.verdicts[0]
    assert verdict.comparisons[-1].control == f"{verdict.name} narrow"
    assert any(config.fuser.width == 1 for config in script.trained)
    asked = [request for request in script.evaluated if request.system == plugin]
    assert len(asked) == 2
    assert all(request.split == "test" and request.trained_dir for request in asked)
    assert f"{verdict.name} narrow" in [row.name for row in outcome.leaderboard.test]
    # The same command trains and measures nothing again.
    quick()
    assert len([each for each in script.evaluated if each.system == plugin]) == 2


def test_who_reads_words_must_beat_what_they_say_alone() -> None:
    champion = SimpleNamespace(controls=("routing", "deranged"))
    session = SimpleNamespace(space=SimpleNamespace(pipeline=SimpleNamespace(champion=champion)))

    def controls(**fields: str) -> tuple[str, ...]:
        fuser = FuserConfig.model_validate({"injection": "side", **fields})
        return controls_of(session, SimpleNamespace(config=SimpleNamespace(fuser=fuser)))

    assert controls_of(session) == controls() == ("no_sharer", "routing")
    assert controls(anchors="last") == ("no_sharer", "routing", "anchors")


def test_each_row_asks_for_what_it_needs_alone(
    quick: Run, script: Any, controls: Callable[[str], None]
) -> None:
    controls("text_relay, ridge, lora, random, zeroed, noise, self, cartridge")
    quick()
    asked = {request.system: request for request in script.evaluated if request.split == "test"}
    had = {
        system: (request.fuser_dir is not None, request.trained_dir is not None)
        for system, request in asked.items()
    }
    assert had == {
        "receiver": (False, False),
        "c2c": (True, False),
        "no_sharer": (False, True),
        "text_relay": (False, False),
        "ridge": (False, True),
        "lora": (False, True),
        "cartridge": (False, True),
        "self": (False, True),
        "random": (True, False),
        "zeroed": (True, False),
        "noise": (True, False),
        "deranged": (True, False),
        "shut": (True, False),
    }


def test_measurements_are_kept_by_trial_or_by_pair(
    quick: Run, root: Path, controls: Callable[[str], None]
) -> None:
    controls("routing, text_relay, ridge, lora")
    outcome = quick()
    one = outcome.final.finalists[0]
    kept = {path.stem for path in (StudyFiles(root, "tiny").results / "test").iterdir()}
    trial = one.config.hash()
    assert {trial, *(f"{trial}-{name}" for name in ("no-sharer", "ridge", "lora"))} <= kept
    assert sum(name.endswith("-text-relay") for name in kept) == len(
        {each.config.pair for each in outcome.final.finalists}
    )
    assert not any("routing" in name for name in kept)


def test_what_is_derived_is_fitted_on_validation(quick: Run, script: Any) -> None:
    outcome = quick()
    for one in outcome.final.finalists:
        routed = outcome.final.results[f"{one.name} routing"]
        alone = {outcome.final.results[name].accuracy for name in ("a alone", "b alone")}
        assert routed.split == "test"
        assert routed.accuracy >= min(alone)


def test_a_lora_of_the_finalists_size_is_trained_in_a_folder_of_its_own(
    quick: Run, root: Path, controls: Callable[[str], None]
) -> None:
    controls("lora")
    one = quick().final.finalists[0]
    folder = StudyFiles(root, "tiny").trial(f"{one.config.hash()}-lora-{one.trained.parameters}")
    assert (folder / "best").is_dir()
    # `eval` finds trials by this file, and this is none.
    assert not (folder / "trial.yaml").exists()


def test_learners_of_one_trial_have_folders_of_their_own(
    quick: Run, root: Path, controls: Callable[[str], None]
) -> None:
    controls("self, lora, cartridge")
    one = quick().final.finalists[0]
    files, trial, size = StudyFiles(root, "tiny"), one.config, one.trained.parameters
    names = [
        trial.with_self().hash(),
        *(f"{trial.hash()}-{x}-{size}" for x in ("lora", "cartridge")),
    ]
    assert all((files.trial(name) / "best").is_dir() for name in names)


def test_the_time_left_counts_every_control_that_is_trained_in_steps(
    quick: Run, monkeypatch: pytest.MonkeyPatch, controls: Callable[[str], None]
) -> None:
    controls("routing, noise, ridge, self, cartridge")
    told: list[int] = []
    monkeypatch.setattr(View, "controls", lambda self, still: told.append(still))
    count = len(quick().final.finalists)
    # Twin, ridge map (which is fitted at once), self and cartridge of each.
    later = [3 * others for others in reversed(range(count))]
    assert told == [each + left for each in later for left in (3, 2, 2, 1)] + [0]


def test_a_control_that_cannot_be_trained_ends_the_study(
    quick: Run, script: Any, controls: Callable[[str], None]
) -> None:
    controls("ridge")
    script.failures = lambda config: (
        Failed(failure="diverged", message="nan") if config.fuser.projector == "ridge" else None
    )
    with pytest.raises(C2CError, match=r"trial-\d+ ridge could not be trained: nan"):
        quick()
    assert all(request.split == "validation" for request in script.evaluated)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("riddge", "Did you mean `ridge`"),
        ("receiver", "every model of a study is a control already"),
        ("c2c", "the finalist itself"),
        ("oracle", "worked examples"),
        ("nowhere.Mine", "nowhere"),
        ("json.dumps", "docs/plugins.md"),
    ],
)
def test_what_is_no_control_is_told_with_its_line(
    named: str, told: str, quick: Run, controls: Callable[[str], None]
) -> None:
    controls(named)
    with pytest.raises(ConfigError, match=told) as error:
        quick()
    assert "pipeline.yaml:3" in str(error.value)


def test_the_verdict_and_its_comparisons_are_those_of_the_rows(
    quick: Run, controls: Callable[[str], None]
) -> None:
    controls("random, routing")
    final = quick().final
    for verdict in final.verdicts:
        assert [one.control for one in verdict.comparisons] == [
            "a alone",
            "b alone",
            f"{verdict.name} twin",
            f"{verdict.name} random",
            f"{verdict.name} routing",
        ]
    assert json.loads(final.verdicts[0].model_dump_json())


def test_every_finalist_is_measured_with_other_items_messages(run: Run, root: Path) -> None:
    outcome = run()
    final = outcome.final
    assert len(final.verdicts) == 2
    tracker = Tracker.open(root, "tiny-task")
    trials = optuna_study(root).trials
    for one, verdict in zip(final.finalists, final.verdicts, strict=True):
        found = verdict.pairing
        assert found is not None
        matched = final.results[one.name].accuracy
        deranged = final.results[f"{one.name} deranged"].accuracy
        assert (found.matched.value, found.deranged.value) == (matched, deranged)
        assert found.pairing_gain.value == pytest.approx(matched - deranged)
        assert verdict.others[-1].control == f"{one.name} deranged"
        run = tracker.client.get_run(trials[one.number].user_attrs["mlflow_run_id"])
        numbers = {f"test/{name}": value for name, value in found.numbers().items()}
        assert numbers.items() <= run.data.metrics.items()
    parent = tracker.client.get_run(optuna_study(root).user_attrs["mlflow_run_id"])
    assert final.leading is not None
    assert final.leading.pairing is not None
    assert parent.data.metrics["test/pairing_gain"] == final.leading.pairing.pairing_gain.value
    assert outcome.leaderboard.pairings.keys() == {each.name for each in final.verdicts}


def test_a_fuser_that_does_not_listen_is_no_champion(quick: Run, script: Any) -> None:
    script.deaf = True
    with pytest.raises(NoChampionError, match="beats all its controls on test"):
        quick()


def test_an_older_pipeline_may_name_the_deranged_self_as_it_was(
    quick: Run, controls: Callable[[str], None]
) -> None:
    controls("mismatched, random")
    verdict = quick().final.verdicts[0]
    assert [one.control for one in verdict.others[-2:]] == [
        f"{verdict.name} random",
        f"{verdict.name} deranged",
    ]


def test_a_finalist_that_listens_when_unsure_is_judged_by_what_it_then_answers(
    quick: Run, script: Any, space_file: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver of this script is surest of the first questions, by number."""
    fitted = []

    def fit(receiver: SystemResult, c2c: SystemResult, *measure: Any) -> float:
        assert {receiver.split, c2c.split} == {"validation"}
        fitted.append(len(measure))
        return 0.25

    monkeypatch.setattr(when_unsure, "fit_limit", fit)
    monkeypatch.setattr(confident, "doubt", lambda item: int(item.id[1:]) / ITEMS)
    pipeline = space_file.with_name("pipeline.yaml")
    text = pipeline.read_text()
    pipeline.write_text(text.replace("finalists:", "listening: confident, finalists:"))
    final = quick().final
    results = StudyFiles(root, "tiny").results / "test"

    def kept(name: str) -> Any:
        return SystemResult.model_validate_json((results / f"{name}.json").read_text()).items

    one, sure = final.champion, ITEMS // 4
    assert one is not None
    alone = final.results["a alone"].items
    for system, name in (("c2c", one.config.hash()), ("deranged", None)):
        measured = kept(name or f"{one.config.hash()}-{system}")
        own = final.results[one.name_of(system)]
        assert own.items == (*alone[:sure], *measured[sure:])
        assert own.system == one.name_of(system)
    assert final.verdict(one.name).accuracy.value == final.results[one.name].accuracy
    assert final.listening == Listening(
        choices=0.25, words=0.25, length_normalised=True, skipped=0.25
    )
    assert set(fitted) == {0, 1}  # of choices, and as written


def test_a_finalist_that_always_listens_is_fitted_to_nothing(quick: Run, script: Any) -> None:
    assert quick().final.listening is None
    asked = {(request.system, request.split) for request in script.evaluated}
    assert ("c2c", "validation") not in asked
