"""Pairs of tiny random models with fusers between them that already say something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Callable

    from c2c_search.inference.model import C2CModel


@pytest.fixture
def make_pair(tiny_model) -> Callable[..., C2CModel]:
    """``make_pair(keys="unrotated")``; ``receiver=`` and ``sharer=`` are loaded models."""
    import torch

    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.model import C2CModel
    from c2c_search.inference.model import cache_shape

    def make(*, receiver=None, sharer=None, trained=True, **fields) -> C2CModel:
        receiver = receiver or tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1)
        sharer = sharer or tiny_model("llama", layers=2, heads=1, head_dim=12, seed=2)
        torch.manual_seed(0)
        fields = {"width": 8, "normalisation": "none", **fields}
        fuser = Fuser(FuserConfig(**fields), cache_shape(receiver), cache_shape(sharer)).eval()
        if trained:
            with torch.no_grad():
                for parameter in fuser.parameters():
                    parameter.add_(0.3 * torch.randn_like(parameter))
        return C2CModel(receiver, sharer, fuser, cache_dtype=torch.float32)

    return make
