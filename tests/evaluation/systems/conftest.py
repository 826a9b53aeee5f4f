"""A pair of tiny models, a fuser that says something, and questions in two groups of two."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Callable

    from c2c_search.evaluation.items import Question
    from c2c_search.evaluation.systems import System
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.model import C2CModel


@pytest.fixture
def pair() -> C2CModel:
    from c2c_search.testing import systems

    return systems.make_pair()


@pytest.fixture
def make_fuser(pair) -> Callable[..., Fuser]:
    """``make_fuser(injection="append")``: random weights that are large enough to matter."""
    from c2c_search.testing import systems

    return partial(systems.make_fuser, pair)


@pytest.fixture
def questions() -> tuple[Question, ...]:
    from c2c_search.testing import systems

    return systems.make_questions()


@pytest.fixture
def build(pair) -> Callable[[str], System]:
    """Builds a system of everything that it needs."""
    from c2c_search.evaluation.systems import SYSTEMS
    from c2c_search.testing import systems

    return lambda name: SYSTEMS[name].build(systems.make_materials(SYSTEMS[name], pair))
