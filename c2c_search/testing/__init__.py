"""Conformance suites for plug-ins: three lines in your tests put yours through them."""

from c2c_search.testing.graders import GraderConformance as GraderConformance
from c2c_search.testing.sampling import PrunerConformance as PrunerConformance
from c2c_search.testing.sampling import SamplerConformance as SamplerConformance
from c2c_search.testing.tasks import TaskConformance as TaskConformance
from c2c_search.testing.token_alignment import (
    TokenAlignmentConformance as TokenAlignmentConformance,
)
