"""c2c-search: find, prove and ship Cache-to-Cache fusers."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel

__version__ = "0.1.0"
__all__ = ["C2CModel", "__version__"]


def __getattr__(name: str) -> Any:
    # Late, so that the command line answers at once: the class brings torch along.
    if name == "C2CModel":
        from c2c_search.inference.model import C2CModel

        return C2CModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
