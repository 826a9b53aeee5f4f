"""Receiver, sharer, C2C and everything that it is compared with."""

from __future__ import annotations

from c2c_search.evaluation.systems.registry import SYSTEMS
from c2c_search.evaluation.systems.registry import Materials
from c2c_search.evaluation.systems.registry import Recipe
from c2c_search.evaluation.systems.registry import SystemEntry
from c2c_search.evaluation.systems.system import Decoding
from c2c_search.evaluation.systems.system import OptionScores
from c2c_search.evaluation.systems.system import System
from c2c_search.evaluation.systems.system import Written


__all__ = [
    "SYSTEMS",
    "Decoding",
    "Materials",
    "OptionScores",
    "Recipe",
    "System",
    "SystemEntry",
    "Written",
]
