"""MLflow as the record of every study (importing it does not import MLflow)."""

from __future__ import annotations

from c2c_search.tracking.mlflow_store import open_store
from c2c_search.tracking.mlflow_store import relocate
from c2c_search.tracking.reconcile import Repair
from c2c_search.tracking.reconcile import reconcile
from c2c_search.tracking.tracker import ChildRun
from c2c_search.tracking.tracker import StudyRun
from c2c_search.tracking.tracker import Tracker
from c2c_search.tracking.views import save_views
from c2c_search.tracking.views import ui_link


__all__ = [
    "ChildRun",
    "Repair",
    "StudyRun",
    "Tracker",
    "open_store",
    "reconcile",
    "relocate",
    "save_views",
    "ui_link",
]
