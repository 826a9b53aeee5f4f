"""Files of other programs that are taken for a space or a pipeline, and what to do with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from c2c_search.config.document import Document
from c2c_search.errors import Problem


_HARNESS_KEYS = ("dataset_path", "output_type", "doc_to_text", "doc_to_target")


def refuse_foreign(document: Document) -> Document:
    """A document of another program without its content, and with that as its only problem."""
    data = document.data
    if not isinstance(data, Mapping):
        return document
    if _is_harness_task(data):
        rule = "This is a task of lm-evaluation-harness, neither a space nor a pipeline."
        hint = "Its questions are answered by `c2c-search eval WHAT --lm-eval TASK "
        hint += "--include-path FOLDER`, TASK being its `task:` and FOLDER where the file lies."
    elif _is_training_recipe(data):
        rule = "This is a training recipe of C2C's published code, neither a space nor a pipeline."
        hint = _TRAINING
    elif _is_evaluation_recipe(data):
        rule = "This is an evaluation recipe of C2C's published code, no space and no pipeline."
        hint = _EVALUATION
    else:
        return document
    return replace(document, data=None, problems=(Problem(document.name, rule, hint=hint),))


def _is_harness_task(data: Mapping[str, Any]) -> bool:
    """Whether this is a task of lm-evaluation-harness (its docs/task_guide.md), or a group."""
    named = "task" in data or "group" in data
    return named and any(
        key in data for key in (*_HARNESS_KEYS, "include", "aggregate_metric_list")
    )


def _model(data: Mapping[str, Any]) -> Mapping[str, Any]:
    model = data.get("model")
    return model if isinstance(model, Mapping) else {}


def _is_training_recipe(data: Mapping[str, Any]) -> bool:
    """As https://github.com/thu-nics/C2C has them in recipe/train_recipe."""
    return "base_model" in _model(data) and "teacher_model" in _model(data)


def _is_evaluation_recipe(data: Mapping[str, Any]) -> bool:
    """As https://github.com/thu-nics/C2C has them in recipe/eval_recipe."""
    return "eval" in data and "model_name" in _model(data)


_TRAINING = (
    "In a space, model.base_model is the `receiver` of a pair and model.teacher_model its "
    "`sharer`, both as `hf:REPO@REVISION`. In a pipeline, under `training`: learning_rate and "
    "weight_decay as they are, warmup_ratio is `warmup`, scheduler_type `schedule`, max_grad_norm "
    "`gradient_clipping`, per_device_train_batch_size `batch_size`, gradient_accumulation_steps "
    "`gradient_accumulation`; data.type is a file under `data.files`. spaces/qwen.yaml and "
    "pipelines/openhermes.yaml are the published recipe in this form."
)
_EVALUATION = (
    "`c2c-search import-rosetta CHECKPOINT --receiver hf:BASE_MODEL --sharer hf:TEACHER_MODEL "
    "--to DIR`, CHECKPOINT being its checkpoints_dir, and `c2c-search eval DIR --tasks "
    "mmlu_redux` evaluate the same."
)
