"""Conformance suites: what every plug-in of a kind must do, for its author's own tests.

    from c2c_search.testing import ProjectorConformance


    class TestMine(ProjectorConformance):
        plugin = "my_package.my_module.MyProjector"

A plug-in is named as in a YAML file. The suites need pytest.
"""

from c2c_search.testing.gates import GateConformance
from c2c_search.testing.graders import GraderConformance
from c2c_search.testing.injections import InjectionConformance
from c2c_search.testing.layer_alignments import LayerAlignmentConformance
from c2c_search.testing.projectors import ProjectorConformance
from c2c_search.testing.sampling import PrunerConformance
from c2c_search.testing.sampling import SamplerConformance
from c2c_search.testing.systems import SystemConformance
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
]
