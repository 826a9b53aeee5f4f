"""Conformance suites for plug-ins: three lines in your tests put yours through them."""

from c2c_search.testing.systems import SystemConformance as SystemConformance
