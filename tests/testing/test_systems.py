"""Every system that comes with c2c-search holds what one from outside must hold."""

from __future__ import annotations

from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.testing import SystemConformance


for _name in SYSTEMS:
    _test = f"Test_{_name}"
    globals()[_test] = type(_test, (SystemConformance,), {"plugin": _name})
