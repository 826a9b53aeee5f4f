"""A trial cut down to a few steps, by which one sees how long its steps take."""

from __future__ import annotations

from c2c_search.config.trial import TrialConfig


PASSES = 2
"""Accumulated in a step, at most; more of them take so many times as long."""


def shortened(trial: TrialConfig, steps: int) -> TrialConfig:
    """A trial that ends after about so many steps, of all its stages, and tells each one.

    Args:
        trial: The trial.
        steps: In all; two of each stage, at least.
    """
    training = trial.training
    of_stage = max(2, steps // len(training.course))
    stages = tuple(stage.model_copy(update={"steps": of_stage}) for stage in training.stages)
    update = {
        "stages": stages,
        "steps": of_stage * len(training.course),
        "rungs": (1.0,),
        "log_every": 1,
        "gradient_accumulation": min(training.passes, PASSES),
        "devices_per_trial": 1,
    }
    return trial.model_copy(update={"training": training.model_copy(update=update)})
