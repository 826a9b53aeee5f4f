"""Conformance suites for plug-ins: three lines in your tests put yours through them."""

from c2c_search.testing.graders import GraderConformance as GraderConformance
from c2c_search.testing.tasks import TaskConformance as TaskConformance
