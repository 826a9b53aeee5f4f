"""Conformance suites: what every plug-in of a kind must do, for its author's own tests.

    from c2c_search.testing import ProjectorConformance


    class TestMine(ProjectorConformance):
        plugin = "my_package.my_module.MyProjector"

A plug-in is named as in a YAML file. The suites need pytest. Samplers and pruners can be compared
on `fuser_table`, which needs neither pytest nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any


if TYPE_CHECKING:
    from c2c_search.testing.gates import GateConformance
    from c2c_search.testing.graders import GraderConformance
    from c2c_search.testing.injections import InjectionConformance
    from c2c_search.testing.layer_alignments import LayerAlignmentConformance
    from c2c_search.testing.projectors import ProjectorConformance
    from c2c_search.testing.sampling import PrunerConformance
    from c2c_search.testing.sampling import SamplerConformance
    from c2c_search.testing.systems import SystemConformance
    from c2c_search.testing.tabled_fusers import fuser_table
    from c2c_search.testing.tasks import TaskConformance
    from c2c_search.testing.token_alignment import TokenAlignmentConformance


__all__ = [
    "GateConformance",
    "GraderConformance",
    "InjectionConformance",
    "LayerAlignmentConformance",
    "ProjectorConformance",
    "PrunerConformance",
    "SamplerConformance",
    "SystemConformance",
    "TaskConformance",
    "TokenAlignmentConformance",
    "fuser_table",
]

_MODULES = {
    "GateConformance": "gates",
    "GraderConformance": "graders",
    "InjectionConformance": "injections",
    "LayerAlignmentConformance": "layer_alignments",
    "ProjectorConformance": "projectors",
    "PrunerConformance": "sampling",
    "SamplerConformance": "sampling",
    "SystemConformance": "systems",
    "TaskConformance": "tasks",
    "TokenAlignmentConformance": "token_alignment",
    "fuser_table": "tabled_fusers",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for alone: the table must not need what the suites need."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
