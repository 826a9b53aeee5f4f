"""The no-sharer twin that whoever declares a plug-in must name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Literal

from c2c_search.errors import ConfigError
from c2c_search.errors import suggestion


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig


NamedTwin = Literal["itself", "blanked", "published"]

Twin = NamedTwin | Callable[["FuserConfig"], "FuserConfig"]
"""What shows how much is gained without hearing anything; see `FuserConfig.without_sharer`.

``itself``: the same architecture with the sharer's features zeroed, right where it reads and keeps
the receiver's own cache; whoever else declares a twin decides. ``blanked``: the same, whatever
another declares: right where the sharer reads something else, beside which no other kind can
stand. ``published``: the published kind, right where the output is made of the sharer alone, so
that zeroed features would leave a constant. Or a function that gives the twin.
"""

_NAMED = ("itself", "blanked", "published")


def checked_twin(twin: Twin, plugin: str) -> Twin:
    """The twin itself, if it is one.

    Args:
        twin: As declared.
        plugin: Who declares it, for the error.

    Raises:
        ConfigError: It is neither a known name nor a function.
    """
    if callable(twin) or twin in _NAMED:
        return twin
    raise ConfigError(
        f"The no-sharer twin of {plugin} must be itself, blanked, published, or a "
        "function of its configuration.",
        value=twin,
        hint=suggestion(twin, _NAMED),
    )
