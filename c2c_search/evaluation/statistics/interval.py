"""A number and the interval around it."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.errors import ConfigError


DESCRIPTIVE_LEVEL = 0.05
"""Of intervals of single accuracies, which describe and are not judged: the customary one."""


class Interval(BaseModel):
    """A number and the interval around it; ``low <= value <= high``.

    Args:
        value: The point estimate.
        low: Lower end.
        high: Upper end.
        level: The interval covers the truth with probability ``1 - level``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        return self.written(".3f")

    def written(self, spec: str, scale: float = 1.0) -> str:
        """The number and its ends in brackets.

        Args:
            spec: How each is formatted, e.g. ``+.1f``.
            scale: Each is multiplied by it first; 100 gives per cent and points.
        """
        value, low, high = (format(scale * end, spec) for end in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


def check_level(level: float) -> None:
    """Refuse what is not a significance level.

    Raises:
        ConfigError: It does not lie between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigError("level must lie between 0 and 1, e.g. 0.01.", value=level)
