"""Rows of which the sharer reads something else than the receiver, and the fusers that fit."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.errors import ConfigError


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row


def private_split(splits: Mapping[str, Sequence[Row]]) -> str | None:
    """A split in which the sharer reads what the receiver does not; None if there is none."""
    found = (
        split for split, rows in splits.items() if any(row["sharer_messages"] for row in rows)
    )
    return next(found, None)


def speaks_of_contexts(config: TrialConfig, rows: Sequence[Row]) -> bool:
    """Whether a fuser that learns from these rows is to say nothing where there is no context.

    Of what it never met it would say anything: a question by itself, spoken of by a fuser that
    has learned of contexts alone, is answered worse than by the receiver alone.
    """
    return config.fuser.can_be_silent and all(row["sharer_messages"] for row in rows)


def refuse_other_contexts(config: TrialConfig, splits: Mapping[str, Sequence[Row]]) -> None:
    """Refuse a fuser that changes the receiver's own entries where there are such rows.

    Raises:
        ConfigError: It is one.
    """
    if config.fuser.stands_beside:
        return
    if (split := private_split(splits)) is not None:
        raise ConfigError(
            "Rows with a sharer_context need fuser.injection append or side: the receiver's "
            "tokens have no counterparts in what the sharer reads.",
            value=f"fuser.injection {config.fuser.injection}, split {split}",
            hint="Set fuser.injection to append or side, or drop sharer_context from the data.",
        )
