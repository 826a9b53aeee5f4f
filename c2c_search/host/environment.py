"""Numbers that the user's environment sets."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

from c2c_search.errors import ConfigError


def number(
    variable: str, default: float, *, holds: Callable[[float], bool], rule: str, hint: str
) -> float:
    """A number from the environment; empty is not set.

    Args:
        variable: Its name.
        default: Where it is not set.
        holds: Whether a number may be meant; must be false of NaN.
        rule: What it must be, e.g. ``a number of seconds above 0``.
        hint: The way out.

    Raises:
        ConfigError: The environment names none that holds.
    """
    text = os.environ.get(variable) or str(default)
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not holds(found):
        raise ConfigError(f"{variable} must be {rule}.", value=text, hint=hint)
    return found
