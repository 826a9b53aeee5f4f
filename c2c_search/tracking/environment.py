"""The environment that MLflow reads, set before it is first imported."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from types import MappingProxyType


ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # Read at import: a later change has no effect. "1" would not switch telemetry off.
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # The job runner costs a 235 MB process and eight seconds, for features unused here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # A study's records are kept and delivered later (`tracking.outbox`); waiting for a server
        # that is away, as long as MLflow by itself would, keeps its trials from their answers.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        # Requirements are always explicit; a stray uv project must not replace them.
        "MLFLOW_UV_AUTO_DETECT": "false",
    }
)


def prepare() -> None:
    """Set what MLflow reads from the environment; a value the user has set wins."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Every database error is also raised, and told to the user without a traceback.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
