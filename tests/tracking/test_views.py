from __future__ import annotations

import json

import pytest

from c2c_search.tracking import Tracker
from c2c_search.tracking import save_views
from c2c_search.tracking import ui_link
from c2c_search.tracking import views


TAG = "mlflow.sharedViewState.c2c-leaderboard"


def view(tracker: Tracker) -> str:
    return tracker.client.get_experiment(tracker.experiment_id).tags[TAG]


@pytest.fixture
def unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "version", lambda name: "4.0.0")


def test_the_view_shows_all_but_the_study_itself_best_first(tracker: Tracker) -> None:
    assert save_views(tracker)
    state = json.loads(json.loads(view(tracker))["state"])
    assert state["searchFilter"] == "tags.`c2c.kind` != 'study'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`objective`", False)


def test_the_filter_is_one_that_mlflow_understands(tracker: Tracker) -> None:
    study = tracker.study("s")
    run = study.trial("t")
    study.trial("receiver alone", kind="control")
    found = tracker.client.search_runs([tracker.experiment_id], views._FILTER)
    assert len(found) == 2
    assert run.run_id in {each.info.run_id for each in found}


def test_every_chart_lies_in_a_section_and_has_its_own_id(tracker: Tracker) -> None:
    save_views(tracker)
    state = json.loads(json.loads(view(tracker))["state"])
    charts = state["compareRunCharts"]
    assert [chart["type"] for chart in charts].count("PARALLEL") == 1
    assert [chart["type"] for chart in charts].count("SCATTER") == 2
    curves = {"validation/accuracy", "validation/deranged", "train/loss"}
    curves |= {"train/guard_deranged", "train/guard_other"}
    assert curves <= {chart.get("metricKey") for chart in charts}
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in charts} <= sections
    assert len({chart["uuid"] for chart in charts}) == len(charts)


def test_saving_again_changes_nothing(tracker: Tracker) -> None:
    save_views(tracker)
    before = view(tracker)
    assert save_views(tracker)
    assert view(tracker) == before


def test_the_view_fits_into_a_tag(tracker: Tracker) -> None:
    save_views(tracker)
    assert len(view(tracker)) < 20_000


def test_links(tracker: Tracker) -> None:
    link = ui_link("http://127.0.0.1:5000/", "3")
    assert link == (
        "http://127.0.0.1:5000/#/experiments/3/runs"
        "?workflowType=machine_learning&viewStateShareKey=c2c-leaderboard"
    )
    assert ui_link("http://h", "3", charts=True).endswith("&compareRunsMode=CHART")


@pytest.mark.usefixtures("unknown_version")
def test_an_unknown_mlflow_gets_a_filter_in_the_link_instead(tracker: Tracker) -> None:
    assert not save_views(tracker)
    assert TAG not in tracker.client.get_experiment(tracker.experiment_id).tags
    link = ui_link("http://h", "3")
    assert "viewStateShareKey" not in link
    assert "searchFilter=tags.%60c2c.kind%60%20%21%3D%20%27study%27" in link
    assert "orderByAsc=false" in link
