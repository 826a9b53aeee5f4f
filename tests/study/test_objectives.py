"""Studies of several objectives, from their first trial to the champion of their front."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.cli import studies
from c2c_search.cli import trial as trial_commands
from c2c_search.cli.report import leaderboard
from c2c_search.report.leaderboard import markdown
from c2c_search.space.schema import Space
from c2c_search.study import overview
from c2c_search.study.driver import Outcome
from c2c_search.study.finalists import FinalEvaluation
from c2c_search.study.findings import findings
from c2c_search.study.search_sections import search
from c2c_search.study.stored_leaderboard import stored_leaderboard
from c2c_search.study.versions import foreseen
from tests.study.test_driver import optuna_study
from tests.study.test_notebook import read_by_notebook


Run = Callable[..., Outcome]

TWO = "objectives: [margin, parameters]"


def search_by(space_file: Path, more: str, *, pruner: str = "none", sampler: str = "auto") -> None:
    text = space_file.read_text().replace("sampler: auto", f"sampler: {sampler}")
    told = f"pruner: {pruner}, reduction_factor: 2, {more}"
    space_file.write_text(text.replace("pruner: halving, reduction_factor: 2", told))


@pytest.fixture(autouse=True)
def _small_is_nearly_as_good(script: Any) -> None:
    """0.52 to 0.66: every layer adds a little, and costs 1,000 parameters."""
    script.accuracy = lambda config: (
        0.3 if config.fuser.sharer in ("blank", "self") else 0.5 + 0.02 * config.fuser.depth
    )


def test_the_champion_comes_from_the_front_by_the_rule(
    quick: Run,
    space_file: Path,
    root: Path,
    output: io.StringIO,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rule = "choose: {best: margin, within: 0.05, then: parameters}"
    search_by(space_file, f"{TWO}, {rule}")
    outcome = quick(trials=8)
    study = optuna_study(root)
    assert [each.name for each in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    known = {trial.number: trial.user_attrs["measures"] for trial in study.trials}
    for trial in study.trials:
        assert trial.values == [known[trial.number][name] for name in ("margin", "parameters")]
    front = {trial.number for trial in study.best_trials}
    finalists = [one.number for one in outcome.final.finalists]
    assert set(finalists) <= front
    best = max(known[number]["margin"] for number in front)
    good = [number for number in front if known[number]["margin"] >= best - 0.05 - 1e-9]
    assert finalists[0] == min(good, key=lambda number: known[number]["parameters"])
    assert outcome.final.champion is not None
    assert outcome.final.champion.number == finalists[0]
    told = outcome.leaderboard.front
    assert told is not None
    assert {one.name for one in outcome.final.finalists} <= {*told.trials}
    assert 0 < told.hypervolume <= 1
    assert "smallest parameters within 0.05 of the best margin" in output.getvalue()
    assert "Pareto front (most margin, least parameters)" in output.getvalue()
    # Who reads the stores finds the same front, and the report's chart rings it.
    found = findings("tiny", root)
    assert stored_leaderboard(found).front == told
    capsys.readouterr()
    leaderboard("tiny", root, json=True)
    assert json.loads(capsys.readouterr().out)["front"]["trials"] == [*told.trials]
    charts = {chart.title: chart for chart in search(found).charts}
    ringed = charts["Size against margin"].series[-1]
    assert len(ringed.x) == len(told.trials)
    table = read_by_notebook(root, until="trials")["trials"]
    assert [*table.value] == [trial.values[0] for trial in study.trials]
    space_file.write_text(space_file.read_text().replace(TWO, f"{TWO[:-1]}, gain]"))
    version = foreseen(root, None, Space.load(space_file))
    assert version.changes == (
        'objectives: was ["margin", "parameters"], is ["margin", "parameters", "gain"]',
    )


def test_a_kill_changes_no_suggestion_and_no_pruning(
    quick: Run, space_file: Path, root: Path, script: Any, tmp_path: Path
) -> None:
    # Large fusers answer worse, so that any smaller one stands on a better front.
    script.accuracy = lambda config: (
        0.3 if config.fuser.sharer == "blank" else 0.7 - 0.02 * config.fuser.depth
    )
    search_by(space_file, TWO, pruner="halving")
    shutil.copytree(root, tmp_path / "empty")

    def ended() -> list[tuple[Any, ...]]:
        trials = [each for each in optuna_study(root).trials if each.state.name != "FAIL"]
        return [(each.params, each.state.name, each.values) for each in trials]

    quick(trials=6)
    undisturbed = ended()
    shutil.rmtree(root)
    (tmp_path / "empty").rename(root)
    script.events, script.at = 0, lambda number: interrupted(number, 40)
    with pytest.raises(KeyboardInterrupt):
        quick(trials=6)
    script.at = lambda number: None
    quick(trials=6)
    assert ended() == undisturbed
    depths: list[int] = []
    for params, state, _ in undisturbed:
        depths.append(params["fuser.depth"])
        better = sum(depth < depths[-1] for depth in depths)
        assert state == ("PRUNED" if better >= max(1, len(depths) // 2) else "COMPLETE")
    assert {state for _, state, _ in undisturbed} == {"PRUNED", "COMPLETE"}


def interrupted(number: int, when: int) -> None:
    if number == when:
        raise KeyboardInterrupt


def test_what_is_beyond_its_bounds_is_told_to_the_sampler_and_is_no_finalist(
    quick: Run, space_file: Path, root: Path, script: Any, output: io.StringIO
) -> None:
    search_by(space_file, "bounds: {latency_ms: 60, gain: 0.1}, trials_per_device: 2")
    outcome = quick(trials=5)  # latency is 52 to 66 ms
    study = optuna_study(root)
    assert len(script.costed) == 5
    for trial in study.trials:
        latency = trial.user_attrs["measures"]["latency_ms"]
        assert trial.constraints["latency_ms"] == pytest.approx((latency - 60) / 60)
        assert trial.constraints["gain"] < 0
    judged = [one.trained.accuracy for one in outcome.final.finalists]
    assert judged
    assert all(accuracy <= 0.6 for accuracy in judged)
    lost = [one.number for one in study.trials if one.constraints["latency_ms"] > 0]
    # The best is one within the bounds, wherever it is told: in rows, page, MLflow and view.
    rows = overview.trial_rows(study)
    assert [row.number for row in rows if row.beyond == ("latency_ms",)] == lost
    best = overview.best_of(rows)
    assert best is not None
    assert best.number not in lost
    assert (best.objective or 0) < max(one.values[0] for one in study.trials)
    assert findings("tiny", root).row.best == best
    board = outcome.leaderboard
    trials = [row for row in board.ranked() if row.kind == "trial"]
    assert trials[0].name == best.name
    assert [board.state(row) for row in trials[-len(lost) :]] == ["beyond"] * len(lost)
    assert "Beyond bounds, and so no finalist: trial-0" in markdown(board)
    assert f"best so far {best.accuracy:.3f}" in output.getvalue()
    # Bounds may change between two starts; the present champion is judged again in any case.
    space_file.write_text(space_file.read_text().replace("latency_ms: 60", "latency_ms: 5"))
    again = quick(trials=5)
    assert outcome.final.champion is not None
    assert [one.name for one in again.final.finalists] == [outcome.final.champion.name]
    assert len(script.costed) == 5


def test_of_trials_whose_costs_cannot_be_measured_afterwards_that_is_told(
    quick: Run,
    space_file: Path,
    root: Path,
    script: Any,
    output: io.StringIO,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick(trials=2)
    script.costless = "no room [for] it"
    search_by(space_file, "bounds: {latency_ms: 90}", pruner="halving")
    quick(trials=2)
    assert "counts as beyond bounds: its costs are not known (invalid): no room [for] it" in (
        " ".join(output.getvalue().split())
    )
    # Once they are, every command shows them.
    script.costless = ""
    quick(trials=2)
    trial_commands.show("tiny", "0", root=root, json=True)
    measures = json.loads(capsys.readouterr().out)["measures"]
    latency, _ = measures["latency_ms"], measures["peak_memory_mb"]
    studies.show("tiny", root=root)
    assert f"{latency:.4g} ms, 1 MB" in capsys.readouterr().out


def test_where_all_are_beyond_bounds_that_is_told() -> None:
    final = FinalEvaluation((), {}, (), None, ended=5)
    assert final.unmeasured.startswith(
        "Of 5 trials that ran to the end none keeps to search.bound"
    )
