"""Where the tokens of packed prompts belong, and how that reaches a device."""

from __future__ import annotations

from dataclasses import dataclass

import torch


TRUNK = -1
"""Branch of the tokens that every branch of a prompt sees."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of packed prompts, and where each belongs; all of shape ``(tokens,)``.

    Args:
        prompt: Number of its prompt.
        branch: `TRUNK`, or which of the prompt's alternatives (options) it is part of.
        position: Position in its prompt, counted along its branch.
    """

    prompt: torch.Tensor
    branch: torch.Tensor
    position: torch.Tensor

    def __len__(self) -> int:
        return len(self.prompt)

    def then(self, more: Tokens) -> Tokens:
        return Tokens(
            torch.cat([self.prompt, more.prompt]),
            torch.cat([self.branch, more.branch]),
            torch.cat([self.position, more.position]),
        )

    def take(self, indices: torch.Tensor, position: torch.Tensor) -> Tokens:
        """Some of the tokens, at other positions."""
        return Tokens(self.prompt[indices], self.branch[indices], position)


def onto(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small tensor of the CPU on a device, without waiting for what the device computes now."""
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
