"""The configuration of a fuser's gate."""

from __future__ import annotations

from typing import Annotated
from typing import Literal

from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field

from c2c_search.fuser.granularities import GATES


GateName = Annotated[str, AfterValidator(GATES.check)]
Noise = Literal["gumbel", "logistic", "none"]
Rule = Literal["hard", "soft", "tanh"]


class GateConfig(BaseModel):
    """The learned gate in front of what the projector adds; keys and values have their own.

    A gate logit x opens by ``sigmoid(x / temperature)`` (rule ``soft``), by ``x > 0`` (rule
    ``hard``) or by ``tanh(x)`` (rule ``tanh``, in training too: exactly shut at 0, and below it
    the sign turns). With noise, training samples the gate and ``temperature`` anneals from
    ``temperature_start`` to ``temperature_end`` over the trial's own budget. What stands beside
    the receiver's cache has gates for its values alone.

    Source: C2C (arXiv 2510.03215), section 3.3; the published code uses ``layer``, ``gumbel``,
    ``hard``, logit 0. Draft-KV (arXiv 2609.34754): ``head``, ``tanh``, logit 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    granularity: GateName = Field(
        "none", description="One gate per layer, KV head, token or value; none: always open."
    )
    input_dependent: bool = Field(
        False, description="Compute the logit from the input; token gates always are."
    )
    noise: Noise = Field("none", description="Noise on the logit while training.")
    rule: Rule = Field(
        "soft", description="How the gate is read in evaluation; tanh: in training too."
    )
    initial_logit: float = Field(0.0, description="Gate logit before training.")
    temperature_start: float = Field(1.0, gt=0)
    temperature_end: float = Field(1.0, gt=0)
    learning_rate_multiplier: float = Field(
        10.0, gt=0, description="Gate logits barely move at the projector's rate."
    )
    sparsity: float = Field(
        0.0,
        ge=0,
        description="Nats that a wholly open fuser adds to the loss: closes useless layers.",
    )
