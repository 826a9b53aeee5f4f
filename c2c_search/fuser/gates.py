"""The learned gates that open or shut what the projector adds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from c2c_search.fuser.stacked import StackedLinear


if TYPE_CHECKING:
    from c2c_search.fuser.gate_config import GateConfig
    from c2c_search.fuser.projectors import Shape


class Gate(nn.Module):
    """A gate of any granularity, for keys and values separately, or for values alone.

    One of another kind may be a subclass. Parameters and buffers with a row for each group
    have it in their first dimension; others are shared by all groups, and scalars.

    Training opens it by ``sigmoid((logit + noise) / temperature)``; evaluation by the rule, hard
    (``logit > 0``) or soft (``sigmoid(logit / temperature)``). Noise is drawn anew for every
    token, as published. By the rule tanh it opens alike in both, in [-1, 1], without noise; how
    far it is said to be open is then without the sign.

    Source: C2C (arXiv 2510.03215), section 3.3. The published code draws one Gumbel sample a
    gate, which leaves it 63 % open in training and shut in evaluation at logit 0; ``logistic``
    noise (the difference of two Gumbels) has no such bias. The rule tanh is Draft-KV's (arXiv
    2609.34754).

    Args:
        config: Noise, rule and temperatures.
        shape: What the fuser is built for.
        hidden_size: Size of the projector's hidden features.
        logits: Of each group and token: 1, a divisor of the receiver's size that is a multiple
            of its KV heads, or that size.
        noises: How many samples a logit is drawn with, where ``logits`` is 1; one a logit when
            left out.
        from_input: Whether the logit is computed from the input whatever the configuration says.
    """

    temperature: torch.Tensor

    def __init__(
        self,
        config: GateConfig,
        shape: Shape,
        hidden_size: int,
        *,
        logits: int,
        noises: int | None = None,
        from_input: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.noises = noises or logits
        self.layers = shape.layers
        self.groups = groups = shape.gates
        self.from_input: StackedLinear | None = None
        self.logit: nn.Parameter | None = None
        if config.input_dependent or from_input:
            self.from_input = StackedLinear(groups, hidden_size, logits, zero=True)
            nn.init.constant_(self.from_input.bias, config.initial_logit)
        else:
            self.logit = nn.Parameter(torch.full((groups, 1, logits), config.initial_logit))
        self.register_buffer("temperature", torch.tensor(config.temperature_start))
        self._last: torch.Tensor | None = None

    def anneal(self, progress: float) -> None:
        """Set the temperature for ``progress`` in [0, 1] of the trial's own budget."""
        start, end = self.config.temperature_start, self.config.temperature_end
        self.temperature.fill_(start * (end / start) ** progress)

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Openness, ``(groups, 1 or tokens, 1, heads or values)``, in [0, 1] (tanh: [-1, 1]).

        Args:
            hidden: The projector's hidden features of keys and values, ``(groups, tokens,
                hidden_size)``; where values alone are gated, theirs are looked at.

        Returns:
            The openness, and the logit where it depends on the input; see `remember`.
        """
        hidden = hidden[-self.groups :]
        if self.from_input is None:
            return self._opened(self._fixed_logit(), hidden), None
        logit = self.from_input(hidden)
        return self._opened(logit, hidden), logit

    def remember(self, logit: torch.Tensor | None) -> None:
        """Take note of a whole forward pass, for `penalty` and `open_share`.

        Not within it: it may run some tokens at a time, and again in the backward pass.
        """
        self._last = logit

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Forward passes within the block are not those that it remembers."""
        last = self._last
        try:
            yield
        finally:
            self._last = last

    def penalty(self) -> torch.Tensor:
        """Expected share of open gates, with its gradient; on the last pass's input."""
        return self._training(self._known_logit()).mean()

    def shut(self) -> torch.Tensor:
        """Which groups' gates are shut in evaluation for any input, ``(groups,)``."""
        if self.from_input is not None:
            return torch.zeros(len(self.from_input.weight), dtype=torch.bool)
        return (self._evaluation(self._fixed_logit()) == 0).flatten(1).all(dim=1).cpu()

    @torch.no_grad()
    def open_share(self) -> dict[str, float]:
        """Mean openness in [0, 1] as training and as evaluation reads it; the latter by kind too.

        A gate that depends on the input is read on the last forward pass. Keys without gates are
        open.
        """
        logit = self._known_logit()
        opened = self._evaluation(logit).abs()
        values = opened[-self.layers :]
        keys = opened[: self.groups - self.layers]
        return {
            "train": float(self._training(logit).mean()),
            "eval": float(opened.mean()),
            "eval_keys": float(keys.mean()) if len(keys) else 1.0,
            "eval_values": float(values.mean()),
        }

    @torch.no_grad()
    def open_by_layer(self) -> dict[str, list[float]]:
        """Mean openness of each fused layer's ``keys`` and ``values``, as evaluation reads it."""
        opened = self._evaluation(self._known_logit()).abs().flatten(1).mean(dim=1).tolist()
        keys = opened[: self.groups - self.layers] or [1.0] * self.layers
        return {"keys": keys, "values": opened[-self.layers :]}

    def _opened(self, logit: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        if not self.training or self.config.rule == "tanh":
            return self._evaluation(logit)
        return torch.sigmoid((logit + self._noise(logit, hidden)) / self.temperature)

    def _fixed_logit(self) -> torch.Tensor:
        """The logit that does not depend on the input: the parameter, or the start of one."""
        fixed = self.logit if self.from_input is None else self.from_input.bias
        assert fixed is not None
        return fixed

    def _known_logit(self) -> torch.Tensor:
        return self._fixed_logit() if self._last is None else self._last

    def _training(self, logit: torch.Tensor) -> torch.Tensor:
        """Expected openness in training; with noise, the probability of opening."""
        if self.config.rule == "tanh":
            return torch.tanh(logit).abs()
        if self.config.noise == "gumbel":
            return 1 - torch.exp(-torch.exp(logit))
        if self.config.noise == "logistic":
            return torch.sigmoid(logit)
        return torch.sigmoid(logit / self.temperature)

    def _evaluation(self, logit: torch.Tensor) -> torch.Tensor:
        if self.config.rule == "hard":
            return (logit > 0).to(logit.dtype)
        if self.config.rule == "tanh":
            return torch.tanh(logit)
        return torch.sigmoid(logit / self.temperature)

    def _noise(self, logit: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor | float:
        if self.config.noise == "none":
            return 0.0
        uniform = torch.rand(
            *hidden.shape[:2], self.noises, dtype=logit.dtype, device=logit.device
        )
        uniform.clamp_(1e-6, 1 - 1e-6)
        if self.config.noise == "gumbel":
            return -torch.log(-torch.log(uniform))
        return torch.logit(uniform)
