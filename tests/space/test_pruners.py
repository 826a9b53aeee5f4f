from __future__ import annotations

from typing import ClassVar

from c2c_search.testing import PrunerConformance


class TestHyperband(PrunerConformance):
    plugin = "hyperband"


class TestHalving(PrunerConformance):
    plugin = "halving"


class TestAsha(PrunerConformance):
    plugin = "asha"


class TestPercentile(PrunerConformance):
    plugin = "percentile"
    options: ClassVar = {"percentile": 50.0}


class TestPatient(PrunerConformance):
    plugin = "patient"


class TestWilcoxon(PrunerConformance):
    plugin = "wilcoxon"


class TestMedian(PrunerConformance):
    plugin = "median"


class TestNone(PrunerConformance):
    plugin = "none"
