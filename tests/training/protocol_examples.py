"""A trial's configuration and its end, for tests that train nothing."""

from __future__ import annotations

from c2c_search.config.pipeline import DataConfig
from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.fuser.config import FuserConfig
from c2c_search.models.pair import PairSpec
from c2c_search.training.protocol import Trained


TRIAL = TrialConfig(
    pair=PairSpec(receiver="path:a", sharer="path:b"),
    fuser=FuserConfig(),
    training=TrainingConfig(steps=4, rungs=(1.0,)),
    data=DataConfig(),
    evaluation=EvaluationConfig(),
    seed=0,
)


def trained(step: int) -> Trained:
    """How a training ended at a step, which tells it from others."""
    return Trained(
        step=step,
        split="validation",
        objective=0.5,
        accuracy=0.5,
        pruned=False,
        best_rung=0,
        best_dir="best",
        parameters=1,
        bytes=1,
        seconds={},
        metrics={},
    )
