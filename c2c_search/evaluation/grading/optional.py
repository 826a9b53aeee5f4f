"""Libraries that only some graders need, imported when they are."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from c2c_search.errors import ConfigError


def optional(module: str, requirement: str) -> ModuleType:
    """Import a module that may be missing.

    Args:
        module: Its name, e.g. ``sacrebleu``.
        requirement: What brings it, as ``pip install`` takes it.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Grading these answers needs the package {requirement}.",
            value=str(error),
            hint=f"pip install '{requirement}'",
        ) from error
