from __future__ import annotations

from c2c_search.testing import PrunerConformance


class TestHyperband(PrunerConformance):
    plugin = "hyperband"


class TestHalving(PrunerConformance):
    plugin = "halving"


class TestMedian(PrunerConformance):
    plugin = "median"


class TestNone(PrunerConformance):
    plugin = "none"
