"""Imports every task's file, so that the register is complete.

Not in the package's ``__init__``, because graders import `task`, and tasks import graders.
"""

from __future__ import annotations

from c2c_search.evaluation.tasks import arc
from c2c_search.evaluation.tasks import boolq
from c2c_search.evaluation.tasks import ceval
from c2c_search.evaluation.tasks import gpqa
from c2c_search.evaluation.tasks import gsm8k
from c2c_search.evaluation.tasks import longbench
from c2c_search.evaluation.tasks import math500
from c2c_search.evaluation.tasks import mmlu_pro
from c2c_search.evaluation.tasks import mmlu_redux
from c2c_search.evaluation.tasks import openbookqa
from c2c_search.evaluation.tasks import quiz
from c2c_search.evaluation.tasks import translation
from c2c_search.evaluation.tasks import truthfulqa_mc
from c2c_search.evaluation.tasks import winogrande
from c2c_search.evaluation.tasks.task import TASKS


__all__ = [
    "TASKS",
    "arc",
    "boolq",
    "ceval",
    "gpqa",
    "gsm8k",
    "longbench",
    "math500",
    "mmlu_pro",
    "mmlu_redux",
    "openbookqa",
    "quiz",
    "translation",
    "truthfulqa_mc",
    "winogrande",
]
