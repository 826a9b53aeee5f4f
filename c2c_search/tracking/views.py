"""What the MLflow UI shows of an experiment at one click.

The UI's landing page folds the trials of a study into one line, so a saved view is written: a
leaderboard, and charts of what made the difference. Its format is MLflow's own, undocumented and
read from its 3.17 front end; for any other version a link with a search filter must do.
"""

from __future__ import annotations

import json
import time
import uuid
from importlib.metadata import version
from typing import Any
from urllib.parse import quote
from urllib.parse import urlencode

from c2c_search.tracking.tracker import Tracker


KEY = "c2c-leaderboard"
NAME = "Leaderboard"

_TAG = f"mlflow.sharedViewState.{KEY}"
_FORMAT_KNOWN_FOR = "3.17."
_FILTER = "tags.`c2c.kind` != 'study'"
_ORDER = "metrics.`objective`"

_COLUMNS = (
    "attributes.`Models`",
    "metrics.`objective`",
    "metrics.`validation/accuracy`",
    "metrics.`validation/deranged`",
    "metrics.`validation/pairing_gain`",
    "metrics.`validation/system_gain`",
    "metrics.`validation/pairing_share`",
    "metrics.`fuser/parameters`",
    "params.`pair.receiver`",
    "params.`fuser.projector`",
    "params.`fuser.injection`",
    "params.`fuser.keys`",
    "params.`fuser.gate.granularity`",
    "params.`fuser.layer_alignment`",
    "params.`fuser.normalisation`",
    "params.`training.learning_rate`",
    "tags.`c2c.kind`",
    "tags.`optuna.state`",
)
# Only what every trial has: a run without one of them is left out of parallel coordinates.
_PARALLEL_PARAMS = (
    "pair.receiver",
    "fuser.projector",
    "fuser.injection",
    "fuser.keys",
    "fuser.layer_alignment",
    "fuser.gate.granularity",
    "fuser.normalisation",
)
_CURVES = {
    "validation": (
        "validation/accuracy",
        "validation/deranged",
        "validation/pairing_gain",
        "validation/loss",
    ),
    "train": (
        "train/loss",
        "train/learning_rate",
        "train/gradient_norm",
        "train/guard_deranged",
        "train/guard_other",
    ),
    "gate": ("gate/open_train", "gate/open_eval_keys", "gate/open_eval_values"),
}
# The UI draws a bar chart of every other metric; these stay folded, below what matters.
_FOLDED = ("Model metrics", "fuser", "time", "hp")


def save_views(tracker: Tracker) -> bool:
    """Write the saved view of an experiment; writing it again changes nothing.

    Returns:
        Whether it was written; False when this MLflow's format is not the known one.

    Raises:
        StoreError: The store cannot be written.
    """
    if not _supported():
        return False
    state = json.dumps(_state())
    saved = tracker.client.get_experiment(tracker.experiment_id).tags.get(_TAG)
    if saved is not None and json.loads(saved).get("state") == state:
        return True
    now = time.time_ns() // 1_000_000
    view = {"name": NAME, "createdAt": now, "updatedAt": now, "state": state}
    tracker.client.set_experiment_tag(tracker.experiment_id, _TAG, json.dumps(view))
    return True


def ui_link(base: str, experiment_id: str, *, charts: bool = False) -> str:
    """Address of an experiment's leaderboard in the UI.

    Args:
        base: Where the UI answers, e.g. ``http://127.0.0.1:5000``.
        experiment_id: The experiment.
        charts: The charts instead of the table.
    """
    query = {"workflowType": "machine_learning"}
    if _supported():
        query["viewStateShareKey"] = KEY
    else:
        query |= {"searchFilter": _FILTER, "orderByKey": _ORDER, "orderByAsc": "false"}
    if charts:
        query["compareRunsMode"] = "CHART"
    # A blank as "+" would reach the UI's router as a plus sign.
    text = urlencode(query, quote_via=quote)
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{text}"


def _supported() -> bool:
    return version("mlflow").startswith(_FORMAT_KNOWN_FOR)


def _state() -> dict[str, Any]:
    charts = [_parallel(), *_scatters()]
    charts += [_curve(section, name) for section, names in _CURVES.items() for name in names]
    sections = [_section("Search", columns=1), *map(_section, _CURVES)]
    sections += [_section(name, display=False) for name in _FOLDED]
    return {
        "searchFilter": _FILTER,
        "orderByKey": _ORDER,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "runsHiddenMode": "SHOW_ALL",
        "selectedColumns": list(_COLUMNS),
        "compareRunCharts": charts,
        "compareRunSections": sections,
        # Else they are sorted by name.
        "isAccordionReordered": True,
    }


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"c2c-search/{name}"))


def _section(name: str, *, columns: int = 3, display: bool = True) -> dict[str, Any]:
    # A section named as a metric's prefix also takes the metrics that have no chart here.
    return {
        "uuid": _id(name),
        "name": name,
        "display": display,
        "columns": columns,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }


def _chart(kind: str, section: str, name: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": _id(f"{section}/{name}"),
        "deleted": False,
        "isGenerated": False,
        "metricSectionId": _id(section),
        "displayName": name,
    }


def _parallel() -> dict[str, Any]:
    return _chart("PARALLEL", "Search", "What made the difference") | {
        "selectedParams": list(_PARALLEL_PARAMS),
        "selectedMetrics": ["hp/log10_learning_rate", "objective"],
        "showAllRuns": False,
    }


def _scatters() -> list[dict[str, Any]]:
    """Accuracy by what it costs, and by whether it is communication."""
    axes = {
        "Accuracy by size": ("fuser/parameters", "validation/accuracy"),
        "Matched by deranged": ("validation/deranged", "validation/accuracy"),
    }
    return [
        _chart("SCATTER", "validation", name)
        | {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
        for name, (x, y) in axes.items()
    ]


def _curve(section: str, metric: str) -> dict[str, Any]:
    return _chart("LINE", section, metric) | {
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "selectedYAxisMetricKey": metric,
        "xAxisKey": "step",
        "lineSmoothness": 0,
        "scaleType": "linear",
    }
