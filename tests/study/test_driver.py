from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.errors import IntegrityError
from c2c_search.errors import NoChampionError
from c2c_search.errors import StoreError
from c2c_search.errors import StudyStoppedError
from c2c_search.host.dtypes import VARIABLE
from c2c_search.report.state import Doing
from c2c_search.study import start
from c2c_search.study import storage
from c2c_search.study.driver import Outcome
from c2c_search.study.layout import StudyFiles
from c2c_search.study.noted_phase import note_phase
from c2c_search.study.noted_phase import noted_phase
from c2c_search.tracking import Tracker
from c2c_search.training.protocol import Failed
from tests.forked import exit_code


Run = Callable[..., Outcome]


def optuna_study(root: Path) -> Any:
    import optuna

    return optuna.load_study(study_name="tiny", storage=storage.open_storage(root))


def runs(root: Path) -> dict[str, Any]:
    """Every child run of the study, by what reports call it; names must be unique."""
    tracker = Tracker.open(root, "tiny-task")
    children = list(tracker.children(optuna_study(root).user_attrs["mlflow_run_id"]))
    named = {run.data.tags["c2c.name"]: run for run in children}
    assert len(named) == len(children)
    return named


def test_a_study_from_space_to_champion(run: Run, root: Path, script: Any) -> None:
    outcome = run()
    study, recorded = optuna_study(root), runs(root)
    assert [trial.state.name for trial in study.trials].count("COMPLETE") >= 2
    assert len(study.trials) == 5
    assert study.trials[0].params == {
        "pair": "there",
        "fuser.depth": 4,
        "training.learning_rate": 1e-3,
    }
    kinds = [each.data.tags["c2c.kind"] for each in recorded.values()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"trial": 5, "control": 2, "twin": 4}
    assert all(each.info.status != "RUNNING" for each in recorded.values())
    best = recorded[outcome.champion.name]
    # The objective is the margin over the best model alone, 0.45: the no-sharer reference has
    # 0.3, and with another item's message a fuser is right half as often.
    metrics = best.data.metrics
    accuracy = metrics["test/accuracy"]
    assert metrics["objective"] == pytest.approx(accuracy - 0.45)
    receiver = 0.4 if best.data.params["pair.receiver"].endswith("/a") else 0.45
    assert metrics["validation/deranged"] == pytest.approx(accuracy / 2)
    assert metrics["validation/pairing_gain"] == pytest.approx(accuracy / 2)
    assert metrics["validation/system_gain"] == pytest.approx(accuracy - receiver)
    assert metrics["validation/pairing_share"] == pytest.approx(
        accuracy / 2 / (accuracy - receiver)
    )
    assert recorded["a alone"].data.metrics["objective"] == pytest.approx(0.4 - 0.45)
    assert recorded["b alone"].data.metrics["objective"] == pytest.approx(0.0)
    assert recorded[f"{outcome.champion.name} twin"].data.metrics["objective"] == pytest.approx(
        0.3 - 0.45
    )
    assert best.data.params["fuser.depth"]
    assert best.data.tags["c2c.data.train"] == "sha-train"
    parent = Tracker.open(root, "tiny-task").client.get_run(study.user_attrs["mlflow_run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best/accuracy"] == pytest.approx(accuracy)
    assert parent.data.metrics["best/pairing_gain"] == pytest.approx(accuracy / 2)
    assert parent.data.params["objective"] == "margin"
    assert "on validation" in parent.data.tags["mlflow.note.content"]
    check_artifacts(root, outcome)


def check_artifacts(root: Path, outcome: Outcome) -> None:
    """The verdict, every system's answers, and the champion's trial and fuser are kept."""
    parent = optuna_study(root).user_attrs["mlflow_run_id"]
    client = Tracker.open(root, "tiny-task").client
    verdicts = json.loads(Path(client.download_artifacts(parent, "verdict.json")).read_text())
    assert verdicts[outcome.champion.name]["passed"]
    names = {Path(each.path).name for each in client.list_artifacts(parent, "items")}
    assert f"{outcome.champion.name}.json" in names
    assert f"{outcome.champion.name} twin.json" in names
    best = optuna_study(root).trials[int(outcome.champion.name[-3:])].user_attrs["mlflow_run_id"]
    assert {each.path for each in client.list_artifacts(best)} == {"fuser", "trial.yaml"}


def test_every_system_meets_the_test_split_once_and_after_all_training(
    quick: Run, script: Any
) -> None:
    quick()
    on_test = [request for request in script.evaluated if request.split == "test"]
    assert len(on_test) == len({request.model_dump_json() for request in on_test}) == 2 + 6 + 1
    asked = [request.system for request in on_test]
    assert (asked.count("deranged"), asked.count("shut")) == (2, 1)
    first = script.evaluated.index(on_test[0])
    assert all(request.split == "test" for request in script.evaluated[first:])
    twins = [config for config in script.trained if config.fuser.sharer == "blank"]
    assert len({config.hash() for config in twins}) == len(twins) == 2 + 2  # and two references


def test_a_champion_beats_every_further_control_that_the_pipeline_names(
    run: Run, script: Any, space_file: Path, root: Path
) -> None:
    pipeline = space_file.with_name("pipeline.yaml")
    controls = "controls: [routing, text_relay, ridge, lora]"
    pipeline.write_text(pipeline.read_text().replace("finalists:", f"{controls}, finalists:"))
    outcome = run()
    finalist = outcome.final.finalists[0]
    verdict = outcome.final.verdict(finalist.name)
    judged = [one.control for one in verdict.comparisons]
    assert judged[3:] == [
        f"{finalist.name} {control}" for control in ("routing", "text relay", "ridge", "LoRA")
    ]
    assert [config.hash() for config in script.adapted] == [
        one.config.hash() for one in outcome.final.finalists
    ]
    assert any(config.fuser.projector == "ridge" for config in script.trained)
    tracker = Tracker.open(root, "tiny-task")
    names = {child.info.run_name for child in tracker.children(outcome_run(root))}
    assert {f"{finalist.name} ridge", f"{finalist.name} LoRA"} <= names
    assert run().final.verdicts == outcome.final.verdicts
    assert len(script.adapted) == len(outcome.final.finalists)


def outcome_run(root: Path) -> str:
    run_id: str = optuna_study(root).user_attrs["mlflow_run_id"]
    return run_id


def test_a_shut_gate_that_changes_an_answer_ends_the_study(quick: Run, script: Any) -> None:
    script.shut_adds = 0.1
    with pytest.raises(IntegrityError, match="gate shut"):
        quick()


@pytest.mark.parametrize(("objective", "best"), [("margin", 0.15), ("gain", 0.3)])
def test_a_pair_that_needs_no_sharer_is_not_preferred(
    quick: Run, root: Path, script: Any, space_file: Path, objective: str, best: float
) -> None:
    maximise(objective, space_file)

    # path:a learns the task by itself; path:b gains from what it hears.
    def accuracy(config: TrialConfig) -> float:
        if config.pair.receiver.endswith("/a"):
            return 0.9 + 0.001 * config.fuser.depth
        return 0.3 if config.fuser.sharer == "blank" else 0.6 + 0.001 * config.fuser.depth

    script.accuracy = accuracy
    outcome = quick()
    assert outcome.final.finalists[0].config.pair.receiver.endswith("/b")
    trials = optuna_study(root).trials
    assert max(trials, key=lambda each: each.value or -1.0).value == pytest.approx(best, abs=0.01)
    assert {each.user_attrs["accuracy"] > 0.5 for each in trials} == {True}


def maximise(objective: str, space_file: Path) -> None:
    text = space_file.read_text()
    space_file.write_text(text.replace("trials: 5", f"trials: 5, objective: {objective}"))


@pytest.mark.parametrize(
    ("objective", "value", "listens"),
    [
        ("margin", 0.84 - 0.51, True),
        ("pairing_gain", 0.84 - 0.51, True),
        ("accuracy", 0.9, False),
        ("gain", 0.9 - 0.3, False),
    ],
)
def test_the_finalist_is_the_one_that_the_objective_prefers(
    quick: Run,
    root: Path,
    script: Any,
    space_file: Path,
    objective: str,
    value: float,
    listens: bool,
) -> None:
    """One pair's fusers hardly listen and are right a little more often."""
    maximise(objective, space_file)

    def heard(config: TrialConfig) -> bool:
        return config.pair.receiver.endswith("/a")

    def accuracy(config: TrialConfig) -> float:
        if config.fuser.sharer == "blank":
            return 0.3
        return 0.84 if heard(config) else 0.9

    script.accuracy = accuracy
    script.deranged = lambda config, accuracy: 0.51 if heard(config) else 0.75
    outcome = quick()
    assert heard(outcome.final.finalists[0].config) is listens
    told = optuna_study(root)
    assert told.best_value == pytest.approx(value)
    best = told.best_trial
    assert best.user_attrs["accuracy"] == (0.84 if listens else 0.9)
    assert best.user_attrs["deranged"] == (0.51 if listens else 0.75)
    # Rungs are reported in the same number that is told at the end.
    assert set(best.intermediate_values.values()) == {best.value}
    rows = {row.name: row for row in outcome.leaderboard.search}
    row = rows[outcome.final.finalists[0].name]
    assert outcome.leaderboard.ranked()[0].objective == row.objective
    assert row.objective == (None if objective == "accuracy" else pytest.approx(value))
    assert row.pairing_gain == pytest.approx(0.84 - 0.51 if listens else 0.9 - 0.75)
    assert row.system_gain == pytest.approx(0.84 - 0.4 if listens else 0.9 - 0.45)
    assert outcome.leaderboard.objective == objective


def test_what_a_training_is_asked_says_what_it_is_measured_against(
    quick: Run, script: Any
) -> None:
    quick()
    asked = {each.config.hash(): each.objective for each in script.asked}
    for config in script.trained:
        objective = asked[config.hash()]
        here, there = ("b", "a") if config.pair.receiver.endswith("/b") else ("a", "b")
        assert (objective.receiver, objective.sharer) == (script.alone[here], script.alone[there])
        assert objective.kind == ("accuracy" if config.fuser.sharer == "blank" else "margin")
    trials = [each for config in script.trained if (each := asked[config.hash()]).kind == "margin"]
    assert {each.reference for each in trials} == {0.3}


def test_a_study_of_before_goes_on_with_what_it_maximised(
    quick: Run, root: Path, script: Any, space_file: Path
) -> None:
    maximise("gain", space_file)
    quick(trials=2)
    # Such a study's identity, trials and records know nothing of an objective.
    study = optuna_study(root)
    assert "objective" not in json.loads(study.user_attrs[storage.SPACE])
    for file in (root / "trials" / "tiny" / "results" / "trained").glob("*.json"):
        record = json.loads(file.read_text())
        record["objective"] = record.pop("accuracy")
        del record["deranged"]
        file.write_text(json.dumps(record))
    outcome = quick(trials=4)
    trials = optuna_study(root).trials
    assert len(trials) == 4
    for trial in trials:
        if trial.value is not None:
            assert trial.value == pytest.approx(trial.user_attrs["accuracy"] - 0.3)
    assert outcome.final.finalists[0].trained.accuracy > 0.5


def test_every_phase_is_noted_for_who_asks(
    quick: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []

    def note(files: StudyFiles, doing: Doing) -> None:
        noted.append(doing.stage)
        note_phase(files, doing)

    monkeypatch.setattr(start, "note_phase", note)
    quick()
    phases = ["open", "prepare", "controls", "search", "controls", "test", "close"]
    assert [each for each, _ in groupby(noted) if each in phases] == phases
    last = noted_phase(StudyFiles(root, "tiny"))
    assert last is not None
    assert last.stage == "close"


def test_one_pair_needs_no_reference(quick: Run, script: Any, space_file: Path) -> None:
    text = space_file.read_text()
    text = text.replace('  back: {receiver: "path:b", sharer: "path:a"}\n', "")
    text = text.replace("  pair: {choices: [there, back]}\n", "  pair: {choices: [there]}\n")
    text = text.replace("  - {pair: back, fuser.depth: 4, training.learning_rate: 1.0e-3}\n", "")
    space_file.write_text(text)
    outcome = quick()
    twins = sum(config.fuser.sharer == "blank" for config in script.trained)
    assert twins == len(outcome.final.finalists)


def test_the_same_command_after_the_end_does_nothing_again(quick: Run, script: Any) -> None:
    first = quick()
    starts, trained = script.starts, len(script.trained)
    second = quick()
    assert (script.starts, len(script.trained)) == (starts, trained)
    assert second.leaderboard == first.leaderboard


def test_more_trials_go_on_with_the_same_study(quick: Run, root: Path) -> None:
    quick(trials=2)
    quick(trials=3)
    assert len(optuna_study(root).trials) == 3


def test_the_same_space_and_seed_suggest_the_same_trials(
    quick: Run, script: Any, space_file: Path
) -> None:
    quick()
    first = [config.hash() for config in script.trained]
    script.trained.clear()
    space_file.write_text(space_file.read_text().replace("study: tiny", "study: tiny2"))
    script.weights = "others"  # of the same ones everything would be known
    quick()
    assert [config.hash() for config in script.trained] == first


@pytest.mark.parametrize("points", [(9,), (12, 9, 20)])
def test_an_interrupted_study_suggests_what_an_undisturbed_one_does(
    quick: Run, root: Path, script: Any, space_file: Path, points: tuple[int, ...]
) -> None:
    def suggested(study: str) -> list[str]:
        trials = storage_study(root, study)
        return sorted(str(trial.params) for trial in trials if trial.state.name != "FAIL")

    quick()
    undisturbed = suggested("tiny")
    space_file.write_text(space_file.read_text().replace("study: tiny", "study: tiny2"))
    script.weights = "others"  # so that nothing is known
    for point in points:
        script.events = 0

        def at(number: int, point: int = point) -> None:
            if number == point:
                raise KeyboardInterrupt

        script.at = at
        with pytest.raises(KeyboardInterrupt):
            quick()
    script.at = lambda number: None
    quick()
    assert suggested("tiny2") == undisturbed


def storage_study(root: Path, name: str) -> Any:
    import optuna

    return optuna.load_study(study_name=name, storage=storage.open_storage(root)).trials


def test_ctrl_c_anywhere_loses_nothing(
    run: Run, root: Path, script: Any, output: io.StringIO
) -> None:
    points = iter([2, 8, 11, 25])
    interrupted = 0

    def at(number: int) -> None:
        if number == script.next:
            script.next = next(points, -1)
            raise KeyboardInterrupt

    script.next, script.at = next(points), at
    while True:
        script.events = 0
        try:
            outcome = run()
        except KeyboardInterrupt:
            interrupted += 1
            assert "c2c-search study --space" in output.getvalue()
            assert all(each.info.status != "RUNNING" for each in runs(root).values())
            continue
        break
    assert interrupted == 4
    assert_finished_once(root, script)
    assert outcome.champion is not None


@pytest.mark.parametrize("points", [(1, 9), (12, 30)])
def test_a_killed_driver_loses_nothing(
    run: Run, root: Path, script: Any, points: tuple[int, ...]
) -> None:
    def killed(point: int) -> None:
        script.at = lambda number: os._exit(9) if number == point else None
        run()

    for point in points:
        assert exit_code(partial(killed, point)) == 9
    run()
    # What the killed processes trained is not in this process's script.
    assert_finished_once(root)


def assert_finished_once(root: Path, script: Any = None) -> None:
    """Five trials ended for good, each with one run, every metric step logged once."""
    study, recorded = optuna_study(root), runs(root)
    ended = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(ended) == 5
    of_trials = [each for each in recorded.values() if each.data.tags["c2c.kind"] == "trial"]
    assert len(of_trials) == 5
    assert {each.info.run_id for each in of_trials} == {
        trial.user_attrs["mlflow_run_id"] for trial in ended
    }
    assert all(each.info.status in ("FINISHED", "KILLED") for each in recorded.values())
    client = Tracker.open(root, "tiny-task").client
    for each in recorded.values():
        if each.data.tags["c2c.kind"] == "control":
            continue
        steps = [point.step for point in client.get_metric_history(each.info.run_id, "train/loss")]
        assert sorted(steps) == list(range(1, len(steps) + 1))
    if script is not None:
        hashes = [config.hash() for config in script.trained]
        again = len(hashes) - len(set(hashes))
        # Those that were trained again went on from a checkpoint, or had none yet.
        assert len([step for step in script.resumed if step > 0]) <= again


def of_trials(fail: Callable[[], Failed]) -> Callable[[TrialConfig], Failed | None]:
    """Failures of what hears a sharer; references and twins are left alone."""
    return lambda config: fail() if config.fuser.sharer == "real" else None


def test_without_a_champion_nothing_is_promoted(quick: Run, script: Any) -> None:
    script.accuracy = lambda config: 0.45
    promoted = []
    with pytest.raises(NoChampionError, match="nothing was promoted") as error:
        quick(promotion=lambda session, final: promoted.append(final))
    assert error.value.exit_code == 3
    assert promoted == []


def test_without_a_complete_trial_there_is_no_verdict(
    quick: Run, script: Any, output: io.StringIO
) -> None:
    kinds = iter(["diverged", "out_of_memory"] * 3)
    script.failures = of_trials(lambda: Failed(failure=next(kinds), message="IndexError: no"))
    with pytest.raises(StudyStoppedError, match=r"no verdict.*\n.*trial-000 failed .*IndexError"):
        quick()
    assert "No trial ran to its end" in output.getvalue()


def test_three_failures_of_one_class_stop_the_study(run: Run, root: Path, script: Any) -> None:
    script.failures = of_trials(lambda: Failed(failure="diverged", message="the loss is nan"))
    with pytest.raises(StudyStoppedError, match="the loss is nan") as error:
        run()
    assert error.value.exit_code == 4
    states = [trial.state.name for trial in optuna_study(root).trials]
    assert states == ["FAIL"] * 3
    assert {each.info.status for each in runs(root).values()} == {"FAILED", "FINISHED"}
    # With the cause removed it goes on; failed trials are not tried again.
    script.failures = lambda config: None
    run()
    assert len(optuna_study(root).trials) == 5


def test_a_fatal_failure_stops_at_once_and_the_trial_is_tried_again(
    run: Run, root: Path, script: Any
) -> None:
    script.failures = of_trials(lambda: Failed(failure="fatal", message="driver gone"))
    with pytest.raises(StudyStoppedError, match="driver gone"):
        run()
    script.failures = lambda config: None
    run()
    assert_finished_once(root)


def test_a_transient_failure_is_tried_again_within_its_trial(
    quick: Run, root: Path, script: Any, output: io.StringIO
) -> None:
    failures = [Failed(failure="transient", message="worker gone")] * 2
    script.failures = lambda config: failures.pop() if failures else None
    quick()
    assert [trial.state.name for trial in optuna_study(root).trials].count("FAIL") == 0
    assert output.getvalue().count("worker gone; trying again") == 2


def test_an_unknown_failure_is_that_trials_own_after_one_retry(
    quick: Run, root: Path, script: Any, output: io.StringIO
) -> None:
    failures = [Failed(failure="unknown", message="RuntimeError: what?")] * 2
    script.failures = of_trials(lambda: failures.pop())
    normal = script.failures
    script.failures = lambda config: normal(config) if failures else None
    quick()
    trials = optuna_study(root).trials
    assert [trial.state.name for trial in trials].count("FAIL") == 1
    assert output.getvalue().count("RuntimeError: what?; trying again") == 1
    assert "trial-000: failed (unknown): RuntimeError: what?" in output.getvalue()


def test_an_objective_that_is_no_number_has_diverged(quick: Run, root: Path, script: Any) -> None:
    first: list[TrialConfig] = []

    def accuracy(config: TrialConfig) -> float:
        if config.fuser.sharer == "blank":
            return 0.3
        first.append(config)
        return float("nan") if config == first[0] else 0.6

    script.accuracy = accuracy
    quick()
    assert optuna_study(root).trials[0].user_attrs["failure"] == "diverged"


def of_twins(
    failed: Failed, seen: Callable[[TrialConfig], bool] = lambda config: True
) -> Callable[[TrialConfig], Failed | None]:
    """A failure of the finalists' twins; references, which have another seed, are left alone."""
    return lambda config: (
        failed if config.fuser.sharer == "blank" and config.seed == 0 and seen(config) else None
    )


def test_without_any_twin_there_is_no_verdict(
    quick: Run, script: Any, output: io.StringIO
) -> None:
    script.failures = of_twins(Failed(failure="diverged", message="nan"))
    with pytest.raises(StudyStoppedError, match=r"no verdict.*twin could .*diverged: nan"):
        quick()
    assert "is not judged: its no-sharer twin" in output.getvalue()
    assert all(request.split == "validation" for request in script.evaluated)


def test_a_verdict_is_only_on_what_was_measured(quick: Run, script: Any) -> None:
    script.accuracy = lambda config: 0.45
    first: list[TrialConfig] = []

    def seen(config: TrialConfig) -> bool:
        first.append(config)
        return config == first[0]

    script.failures = of_twins(Failed(failure="diverged", message="nan"), seen)
    with pytest.raises(NoChampionError, match=r"that was judged(.|\n)*is not judged.*nan"):
        quick()


@pytest.mark.parametrize("failure", ["transient", "fatal"])
def test_a_twin_lost_for_no_fault_of_its_own_is_trained_again(
    quick: Run, script: Any, failure: Any
) -> None:
    gone = Failed(failure=failure, message="the worker was killed", exit_code=1)
    script.failures = of_twins(gone)
    with pytest.raises(StudyStoppedError, match="twin could not be trained: the worker"):
        quick()
    assert all(request.split == "validation" for request in script.evaluated)
    script.failures = lambda config: None
    assert quick().final.verdicts


def test_a_reference_that_fails_ends_the_study(quick: Run, script: Any) -> None:
    script.failures = lambda config: (
        Failed(failure="diverged", message="nan") if config.fuser.sharer == "blank" else None
    )
    with pytest.raises(C2CError, match="there without sharer could not be trained"):
        quick()


def test_the_budget_and_the_proof_may_be_edited(quick: Run, space_file: Path) -> None:
    quick(trials=1)
    pipeline = space_file.with_name("pipeline.yaml")
    pipeline.write_text(pipeline.read_text().replace("level: 0.05", "level: 0.02"))
    assert quick(trials=2).final.verdicts[0].level == 0.02


def test_other_weights_are_refused(quick: Run, script: Any) -> None:
    quick(trials=1)
    script.weights = "other"
    with pytest.raises(DataError, match="other weights"):
        quick(trials=2)


def test_other_prompts_are_refused(quick: Run, script: Any) -> None:
    script.prompts = "a"
    quick(trials=1)
    script.prompts = "b"
    with pytest.raises(
        DataError, match=r"prompts must stay as they were; pair \w+ reads the same"
    ):
        quick(trials=2)


def test_a_dated_template_keeps_the_day_on_which_the_study_began(quick: Run, script: Any) -> None:
    script.date = "2024-07-09"
    quick(trials=1)
    script.date = "2024-07-10"
    quick(trials=2)
    assert {config.data.date for config in script.trained} == {"2024-07-09"}
    assert script.dates == [None, "2024-07-09"]


def test_a_study_without_a_dated_template_has_no_day(quick: Run, script: Any) -> None:
    quick(trials=1)
    assert {config.data.date for config in script.trained} == {None}
    assert all("date:" not in config.to_yaml() for config in script.trained)


@pytest.fixture
def freely(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv(VARIABLE)
    return monkeypatch


def test_a_study_goes_on_in_the_dtype_it_began_in(quick: Run, script: Any, freely: Any) -> None:
    quick(trials=1)
    assert set(script.dtypes) == {None}
    script.dtypes.clear()
    freely.setenv(VARIABLE, "bfloat16")
    with pytest.raises(ConfigError, match=r"began in float32.*C2C_SEARCH_DTYPE=bfloat16.*Unset"):
        quick(trials=2)
    assert not script.dtypes
    freely.setenv(VARIABLE, "auto")
    quick(trials=2)
    assert set(script.dtypes) == {"float32"}


def test_a_study_of_a_version_that_did_not_record_the_dtype(
    quick: Run, script: Any, freely: Any, root: Path
) -> None:
    quick(trials=1)
    store = StudyFiles(root, "tiny").results
    for path in (store / "prepared").iterdir():
        record = json.loads(path.read_text())
        del record["dtype"]
        path.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="Set C2C_SEARCH_DTYPE to what it was"):
        quick(trials=2)
    freely.setenv(VARIABLE, "float32")
    script.dtypes.clear()
    quick(trials=2)
    assert set(script.dtypes) == {"float32"}
    # It is on record from now on.
    freely.delenv(VARIABLE)
    quick(trials=3)


def test_a_study_has_one_driver(quick: Run, root: Path) -> None:
    opened = storage.open_storage(root)
    with (
        storage.sole_driver(root, "tiny", opened),
        pytest.raises(StoreError, match=f"process {os.getpid()} on"),
    ):
        quick()


def test_preparing_that_fails_ends_the_study_with_its_message(quick: Run, script: Any) -> None:
    def prepare(self: Any, pair: Any) -> Any:
        yield Failed(failure="invalid", message="There is no network.")

    script.prepare = prepare
    with pytest.raises(C2CError, match="There is no network") as error:
        quick()
    assert error.value.exit_code == 2


def test_a_trial_over_its_time_has_failed_and_only_trials_have_one(
    quick: Run, root: Path, script: Any, space_file: Path
) -> None:
    space_file.write_text(space_file.read_text().replace("seed: 0}", "seed: 0, trial_hours: 2}"))
    over = Failed(failure="timeout", message="it has not ended by its time limit, at step 3")
    slow: list[TrialConfig] = []

    def failures(config: TrialConfig) -> Failed | None:
        if not slow and config.fuser.sharer == "real":
            slow.append(config)
            return over
        return None

    script.failures = failures
    quick()
    assert optuna_study(root).trials[0].user_attrs["failure"] == "timeout"
    assert {(train.config.fuser.sharer, train.seconds) for train in script.asked} == {
        ("real", 7200.0),
        ("blank", None),
    }
    assert len([config for config in script.trained if config == slow[0]]) == 1
