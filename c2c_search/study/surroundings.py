"""What a study is given beside its space: numbers of the environment, the address of MLflow."""

from __future__ import annotations

import os

from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.host.dtypes import requested
from c2c_search.prompt_cache import budget
from c2c_search.study.disk import least_free
from c2c_search.tracking.mlflow_store import check_uri
from c2c_search.training.watchdog import silence_allowed


def check_surroundings(tracking_uri: str | None = None) -> None:
    """Refuse what would stop a study minutes after it began.

    Args:
        tracking_uri: Of MLflow, as the user gave it.

    Raises:
        ConfigError: With everything that is wrong, one line each.
    """
    wrong = []
    for check in (
        requested,
        silence_allowed,
        least_free,
        _budget,
        lambda: check_uri(tracking_uri),
    ):
        try:
            check()
        except C2CError as error:
            wrong.append(str(error))
    if len(wrong) == 1:
        raise ConfigError(wrong[0])
    if wrong:
        raise ConfigError(f"{len(wrong)} problems:\n" + "\n".join(f"  {each}" for each in wrong))


def _budget() -> None:
    if text := os.environ.get(budget.VARIABLE):
        budget.read_size(text, f"The environment variable {budget.VARIABLE}")
