"""How sure a number is, and whether two systems really differ.

Items about the same fact (a *cluster*) are not independent, so intervals are made from clusters.
``level`` is the significance level throughout: an interval at level 0.01 is meant to cover the
truth in 99 of 100 studies. What is averaged is an item's credit: 1 or 0 where it is right or
wrong, anything between where it is graded.
"""

from __future__ import annotations

from c2c_search.evaluation.statistics.accuracy import accuracy_interval
from c2c_search.evaluation.statistics.accuracy import share_interval
from c2c_search.evaluation.statistics.bootstrap import paired_bootstrap
from c2c_search.evaluation.statistics.equivalence import equivalence_test
from c2c_search.evaluation.statistics.equivalence import items_to_show_margin
from c2c_search.evaluation.statistics.equivalence import noninferiority_test
from c2c_search.evaluation.statistics.equivalence import one_sided_test
from c2c_search.evaluation.statistics.hypotheses import PairedTest
from c2c_search.evaluation.statistics.hypotheses import holm
from c2c_search.evaluation.statistics.hypotheses import mcnemar_exact
from c2c_search.evaluation.statistics.hypotheses import paired_sign_test
from c2c_search.evaluation.statistics.hypotheses import paired_test
from c2c_search.evaluation.statistics.hypotheses import permutation_test
from c2c_search.evaluation.statistics.hypotheses import sign_test
from c2c_search.evaluation.statistics.interval import DESCRIPTIVE_LEVEL
from c2c_search.evaluation.statistics.interval import Interval
from c2c_search.evaluation.statistics.power import detectable
from c2c_search.evaluation.statistics.power import items_needed
from c2c_search.evaluation.statistics.power import items_to_find
from c2c_search.evaluation.statistics.power import minimum_detectable_difference
from c2c_search.evaluation.statistics.power import split_warning
from c2c_search.evaluation.statistics.seeds import hierarchical_bootstrap
from c2c_search.evaluation.statistics.seeds import mean_interval
from c2c_search.evaluation.statistics.shrinkage import shrink


__all__ = [
    "DESCRIPTIVE_LEVEL",
    "Interval",
    "PairedTest",
    "accuracy_interval",
    "detectable",
    "equivalence_test",
    "hierarchical_bootstrap",
    "holm",
    "items_needed",
    "items_to_find",
    "items_to_show_margin",
    "mcnemar_exact",
    "mean_interval",
    "minimum_detectable_difference",
    "noninferiority_test",
    "one_sided_test",
    "paired_bootstrap",
    "paired_sign_test",
    "paired_test",
    "permutation_test",
    "share_interval",
    "shrink",
    "sign_test",
    "split_warning",
]
