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
        since: Position from which on it is seen; from the first when left out.
    """

    prompt: torch.Tensor
    branch: torch.Tensor
    position: torch.Tensor
    since: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompt)

    def then(self, more: Tokens) -> Tokens:
        since = None
        if self.since is not None or more.since is not None:
            first = [torch.zeros_like(each.position) for each in (self, more)]
            since = torch.cat(
                [
                    zeros if each.since is None else each.since
                    for each, zeros in zip((self, more), first, strict=True)
                ]
            )
        return Tokens(
            torch.cat([self.prompt, more.prompt]),
            torch.cat([self.branch, more.branch]),
            torch.cat([self.position, more.position]),
            since,
        )

    def at(self, index: torch.Tensor) -> Tokens:
        """Some of the tokens, in the shape of their indices."""
        since = None if self.since is None else self.since[index]
        return Tokens(self.prompt[index], self.branch[index], self.position[index], since)

    def see(self, read: Tokens) -> torch.Tensor:
        """Whether each sees what was read of its prompt, whichever stands first; they broadcast.

        It sees the trunk and its own branch, from where on that is seen.
        """
        seen = (read.branch == TRUNK) | (read.branch == self.branch)
        return seen if read.since is None else seen & (read.since <= self.position)

    def take(self, indices: torch.Tensor, position: torch.Tensor) -> Tokens:
        """Some of the tokens, at other positions."""
        return Tokens(self.prompt[indices], self.branch[indices], position)


def onto(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small tensor of the CPU on a device, without waiting for what the device computes now."""
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
