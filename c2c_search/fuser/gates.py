"""Fuser room: the learned gates that open or shut what the projector adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from c2c_search.fuser.stacked import StackedLinear


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.projectors import Shape


class Gate(nn.Module):
    """A gate per layer, head, token or value, for keys and values separately.

    Training opens it by ``sigmoid((logit + noise) / temperature)``; evaluation by the rule, hard
    (``logit > 0``) or soft (``sigmoid(logit / temperature)``).

    Source: C2C (arXiv 2510.03215), section 3.3. The published code draws one Gumbel sample a
    gate, which leaves it 63 % open in training and shut in evaluation at logit 0; ``logistic``
    noise (the difference of two Gumbels) has no such bias.
    """

    temperature: torch.Tensor

    def __init__(self, config: FuserConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config.gate
        self.groups = shape.groups
        self.heads = shape.receiver_heads
        self.receiver_size = shape.receiver_size
        outputs = {"layer": 1, "token": 1, "head": self.heads, "value": self.receiver_size}
        size = outputs[self.config.granularity]
        self.from_input: StackedLinear | None = None
        self.logit: nn.Parameter | None = None
        if self.config.input_dependent or self.config.granularity == "token":
            self.from_input = StackedLinear(shape.groups, config.width, size, zero=True)
            nn.init.constant_(self.from_input.bias, self.config.initial_logit)
        else:
            logit = torch.full((shape.groups, 1, size), self.config.initial_logit)
            self.logit = nn.Parameter(logit)
        self.register_buffer("temperature", torch.tensor(self.config.temperature_start))
        self._last: torch.Tensor | None = None

    def anneal(self, progress: float) -> None:
        """Set the temperature for ``progress`` in [0, 1] of the trial's own budget."""
        start, end = self.config.temperature_start, self.config.temperature_end
        self.temperature.fill_(start * (end / start) ** progress)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Openness in [0, 1], broadcastable to ``(groups, tokens, receiver_size)``.

        Args:
            hidden: The projector's hidden features, ``(groups, tokens, width)``.
        """
        logit = self._logit() if self.from_input is None else self.from_input(hidden)
        self._last = None if self.from_input is None else logit.detach()
        if self.training:
            noise = self._noise(logit)
            opened = torch.sigmoid((logit + noise) / self.temperature)
        elif self.config.rule == "hard":
            opened = (logit > 0).to(logit.dtype)
        else:
            opened = torch.sigmoid(logit / self.temperature)
        if self.config.granularity == "head":
            opened = opened.repeat_interleave(self.receiver_size // self.heads, dim=-1)
        return opened

    def _logit(self) -> torch.Tensor:
        """The logit that does not depend on the input: the parameter, or the start of one."""
        fixed = self.logit if self.from_input is None else self.from_input.bias
        assert fixed is not None
        return fixed

    def _noise(self, logit: torch.Tensor) -> torch.Tensor | float:
        if self.config.noise == "none":
            return 0.0
        uniform = torch.rand_like(logit).clamp_(1e-6, 1 - 1e-6)
        if self.config.noise == "gumbel":
            return -torch.log(-torch.log(uniform))
        return torch.logit(uniform)

    @torch.no_grad()
    def open_share(self) -> dict[str, float]:
        """Mean openness over all gates in [0, 1], as training and as evaluation reads it.

        A gate that depends on the input is read on the last forward pass.
        """
        logit = self._logit() if self._last is None else self._last
        training = {
            "none": torch.sigmoid(logit / self.temperature),
            "logistic": torch.sigmoid(logit),
            "gumbel": 1 - torch.exp(-torch.exp(logit)),
        }[self.config.noise]
        evaluation = (
            (logit > 0).float()
            if self.config.rule == "hard"
            else torch.sigmoid(logit / self.temperature)
        )
        return {"train": float(training.mean()), "eval": float(evaluation.mean())}
