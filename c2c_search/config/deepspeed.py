"""DeepSpeed's own settings, passed through to it where they are not ours to make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.config.document import MOST_BYTES
from c2c_search.errors import in_yaml


if TYPE_CHECKING:
    from c2c_search.config.training import TrainingConfig


AUTO = "auto"
"""What other trainers' files write where the trainer is to fill in: ours does, too."""

_OURS = {
    "gradient_accumulation_steps": "gradient_accumulation",
    "gradient_clipping": "gradient_clipping",
    "train_micro_batch_size_per_gpu": "batch_size",
}
_REPLACED = {
    "optimizer": "AdamW is made from learning_rate and weight_decay of the training; set those",
    "scheduler": "it is made from warmup and schedule of the training; set those",
    "amp": "apex is not supported; take bf16 or fp16",
    "checkpoint": "checkpoints are this project's own, without pickles; set checkpoint_seconds",
    "nebula": "checkpoints are this project's own, without pickles; set checkpoint_seconds",
    "datastates": "checkpoints are this project's own, without pickles; set checkpoint_seconds",
    "elasticity": "the number of ranks follows from devices_per_trial; set that",
    "autotuning": "a study is what searches; leave it out",
    "tensor_parallel": "the fuser alone is wrapped, and it is not split; leave it out",
    "pipeline": "the fuser alone is wrapped, and it is not split; leave it out",
    "sequence_parallel_size": "the fuser alone is wrapped, and it is not split; leave it out",
    "compression_training": "a fuser is exported as it is trained; leave it out",
    "progressive_layer_drop": "it is for transformers, and a fuser is none; leave it out",
    "curriculum_learning": "the order of examples follows from the seed; leave it out",
    "data_efficiency": "the order of examples follows from the seed; leave it out",
}
_REPLACED_ZERO = {
    "offload_optimizer": "the fuser's optimizer state fits on its device; leave it out",
    "offload_param": "the fuser fits on its device; leave it out",
    "cpu_offload": "the fuser's optimizer state fits on its device; leave it out",
    "elastic_checkpoint": "checkpoints go on with any number of ranks as it is; leave it out",
    "load_from_fp32_weights": "checkpoints are this project's own; leave it out",
}
_SIXTEEN_BITS = ("bf16", "bfloat16", "fp16")
AUTOCAST = "torch_autocast"
"""DeepSpeed's section for products in 16 bits with weights in float32."""


def read_settings(file: Path) -> dict[str, Any]:
    """Settings in a file of DeepSpeed's.

    Raises:
        ValueError: It cannot be read, or is no JSON object.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"must not be larger than {MOST_BYTES // 1024} KiB")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"must be JSON, but {error}") from None
    if not isinstance(found, dict):
        raise ValueError("must be a JSON object of DeepSpeed's settings")
    return found


def conflicts(training: TrainingConfig) -> list[str]:
    """What of a training's ``deepspeed`` contradicts the rest of it: each with the way out."""
    settings = training.deepspeed or {}
    return [*_own(training, settings), *_zero(training, settings), *_precision(settings)]


def passed_on(training: TrainingConfig) -> dict[str, Any]:
    """What of a training's ``deepspeed`` the engine is given beside what is ours."""
    ours = {*_OURS, "train_batch_size"}
    settings = {
        name: value
        for name, value in (training.deepspeed or {}).items()
        if name not in ours and value != AUTO
    }
    zero = settings.get("zero_optimization") or {}
    kept = {name: value for name, value in zero.items() if value != AUTO}
    return {**settings, "zero_optimization": kept | {"stage": training.zero_stage}}


def _own(training: TrainingConfig, settings: Mapping[str, Any]) -> Iterator[str]:
    own: dict[str, object] = {theirs: getattr(training, ours) for theirs, ours in _OURS.items()}
    own["train_batch_size"] = training.batch_size * training.passes
    for name, value in own.items():
        if name in settings and settings[name] not in (AUTO, value):
            field = _OURS.get(name, "batch_size, gradient_accumulation or devices_per_trial")
            yield (
                f"{name} {in_yaml(settings[name])} contradicts the training's "
                f"{in_yaml(value)}; leave it out, and set training's {field}"
            )
    for name, reason in _REPLACED.items():
        if settings.get(name, AUTO) != AUTO:
            yield f"{name} is not passed on: {reason}"


def _zero(training: TrainingConfig, settings: Mapping[str, Any]) -> Iterator[str]:
    zero = settings.get("zero_optimization", {})
    if zero == AUTO:
        return
    if not isinstance(zero, Mapping):
        yield "zero_optimization must be a mapping of DeepSpeed's settings"
        return
    stage = zero.get("stage", AUTO)
    if stage == 3:
        yield f"zero_optimization.stage {WHY_NOT_STAGE_3}"
    elif stage not in (AUTO, training.zero_stage):
        yield (
            f"zero_optimization.stage {in_yaml(stage)} contradicts zero_stage "
            f"{training.zero_stage}; leave it out, and set training's zero_stage"
        )
    for name, reason in _REPLACED_ZERO.items():
        value = zero.get(name, AUTO)
        off = not value or (isinstance(value, Mapping) and value.get("device") == "none")
        if value != AUTO and not off:
            yield f"zero_optimization.{name} is not passed on: {reason}"


def _precision(settings: Mapping[str, Any]) -> Iterator[str]:
    for name in _SIXTEEN_BITS:
        section = settings.get(name, AUTO)
        if section != AUTO and _is_on(section):
            dtype = "float16" if name == "fp16" else "bfloat16"
            yield (
                f"{name} is not passed on: a fuser's weights stay in float32, as they are saved; "
                f"for products in 16 bits set {AUTOCAST}: {{enabled: true, dtype: {dtype}}}"
            )


def _is_on(section: object) -> bool:
    """Whether a section with ``enabled`` in it is not off."""
    return not isinstance(section, Mapping) or section.get("enabled", False) is not False


WHY_NOT_STAGE_3 = (
    "must be 0, 1 or 2: DeepSpeed's stage 3 computes wrong gradients when a step leaves a "
    "parameter unused, and leaks memory from trial to trial; the engine wraps the fuser alone, "
    "which fits without it"
)
