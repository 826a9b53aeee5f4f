"""Which of a fuser's parameters are trained at which rate, and which decay."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any


if TYPE_CHECKING:
    from c2c_search.fuser.fuser import Fuser


def parameter_groups(
    fuser: Fuser, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Optimizer groups: gates and LoRA at rates of their own, decay on matrices alone.

    Args:
        fuser: Whose parameters; those of a fitted map are in no group.
        learning_rate: Of what has no rate of its own.
        weight_decay: Of the matrices.
    """
    gate = [] if fuser.gate is None else list(fuser.gate.parameters())
    if fuser.source_logits is not None:
        gate.append(fuser.source_logits)
    lora = [] if fuser.lora is None else list(fuser.lora.parameters())
    with_own_rate = {id(parameter) for parameter in (*gate, *lora)}
    rest = [
        parameter
        for parameter in fuser.parameters()
        if parameter.requires_grad and id(parameter) not in with_own_rate
    ]
    matrices = [parameter for parameter in rest if parameter.shape[-2] > 1]
    vectors = [parameter for parameter in rest if parameter.shape[-2] == 1]
    gate_rate = learning_rate * fuser.config.gate.learning_rate_multiplier
    lora_rate = learning_rate * fuser.config.lora_learning_rate_multiplier
    groups = [
        {"params": matrices, "lr": learning_rate, "weight_decay": weight_decay},
        {"params": vectors, "lr": learning_rate, "weight_decay": 0.0},
        {"params": gate, "lr": gate_rate, "weight_decay": 0.0, "gates": True},
        {"params": lora, "lr": lora_rate, "weight_decay": weight_decay},
    ]
    return [group for group in groups if group["params"]]
