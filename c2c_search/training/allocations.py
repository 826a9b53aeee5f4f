"""Training room: how many bytes of tensors are alive at the peak of what runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Counts the tensors of one device that are made within it, forward and backward.

    A tensor counts from the operation that makes it until nothing holds its storage any more;
    views count nothing. What an operation claims and gives back inside itself is not seen.

    Args:
        device: Type of the device, e.g. ``meta``: then nothing is computed, and all is counted.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._device = device
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        given = {storage._cdata for storage in self._storages((args, kwargs))}
        made = func(*args, **kwargs)
        for storage in self._storages(made):
            if storage._cdata not in given and storage._cdata not in self._known:
                self._count(storage)
        return made

    def _storages(self, tree: Any) -> list[torch.UntypedStorage]:
        return [
            leaf.untyped_storage()
            for leaf in tree_leaves(tree)
            if isinstance(leaf, torch.Tensor) and leaf.device.type == self._device
        ]

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()

        def gone(_: object) -> None:
            self.live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)


class AttentionOf(TorchFunctionMode):
    """Lets attention of tensors without content take the kernel that a real device would take.

    By itself torch takes the one there that holds every score of every head.

    Args:
        device: The real device.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention and args[0].is_meta:
            return self._attend(*args, **kwargs)
        return func(*args, **kwargs)

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        kernels = torch.ops.aten
        name = self._kernel(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
        inputs = (query, key, value)
        match name:
            case "FLASH_ATTENTION" if self._device.type == "cpu":
                made = kernels._scaled_dot_product_flash_attention_for_cpu(
                    *inputs, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
                )
            case "FLASH_ATTENTION":
                made = kernels._scaled_dot_product_flash_attention(
                    *inputs, dropout_p, is_causal, False, scale=scale
                )
            case "EFFICIENT_ATTENTION":
                made = kernels._scaled_dot_product_efficient_attention(
                    *inputs, attn_mask, True, dropout_p, is_causal, scale=scale
                )
            case "CUDNN_ATTENTION":
                made = kernels._scaled_dot_product_cudnn_attention(
                    *inputs, attn_mask, True, dropout_p, is_causal, False, scale=scale
                )
            case _:
                return torch.nn.functional.scaled_dot_product_attention(
                    *inputs,
                    attn_mask,
                    dropout_p,
                    is_causal,
                    scale=scale,
                    enable_gqa=enable_gqa,
                )
        attended: torch.Tensor = made[0]
        return attended

    def _kernel(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        dropout_p: float,
        is_causal: bool,
        scale: float | None,
        enable_gqa: bool,
    ) -> str:
        """The kernel's name; torch decides by shapes, strides, dtypes and device alone."""
        like = [None if one is None else self._like(one) for one in (query, key, value, mask)]
        number = torch._fused_sdp_choice(
            *like, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
        return torch.nn.attention.SDPBackend(number).name

    def _like(self, tensor: torch.Tensor) -> torch.Tensor:
        made = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device=self._device
        )
        return made.requires_grad_(tensor.requires_grad)
