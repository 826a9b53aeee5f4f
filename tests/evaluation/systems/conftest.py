"""A pair of tiny models, a fuser that says something, and questions in two groups of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Callable

    from c2c_search.evaluation.items import Question
    from c2c_search.evaluation.systems import Materials
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.model import C2CModel


@pytest.fixture
def pair(tiny_model) -> C2CModel:
    import torch

    from c2c_search.inference.model import C2CModel

    return C2CModel(
        tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1),
        tiny_model("llama", layers=2, heads=1, head_dim=12, seed=2),
        None,
        cache_dtype=torch.float32,
    )


@pytest.fixture
def make_fuser(pair) -> Callable[..., Fuser]:
    """``make_fuser(injection="append")``: random weights that are large enough to matter."""
    import torch

    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.model import cache_shape

    def make(**fields) -> Fuser:
        torch.manual_seed(0)
        config = FuserConfig(**{"width": 8, "normalisation": "none", **fields})
        receiver = cache_shape(pair.receiver, adapted=config.lora_rank > 0)
        fuser = Fuser(config, receiver, cache_shape(pair.sharer)).eval()
        with torch.no_grad():
            for parameter in fuser.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return fuser

    return make


@pytest.fixture
def questions() -> tuple[Question, ...]:
    from c2c_search.evaluation.items import Item
    from c2c_search.evaluation.items import Question

    asked = {
        "long": ("colour", "Which colour has the sky on a very clear day?", ("blue", "red")),
        "red": ("colour", "Colour of blood?", ("blue", "dark red", "red")),
        "two": ("number", "One and one?", ("two", "three")),
        "six": ("number", "Two times three?", ("five", "six")),
    }
    return tuple(
        Question(
            item=Item(name, group, name, ({"role": "user", "content": text},), options, 0),
            messages=({"role": "user", "content": text},),
            options=options,
        )
        for name, (group, text, options) in asked.items()
    )


@pytest.fixture
def materials(pair, make_fuser, tiny_model) -> Materials:
    """Everything that any system needs."""
    from c2c_search.evaluation.systems import Materials

    return Materials(
        pair=pair,
        fuser=make_fuser(),
        exemplars=[
            (
                {"role": "user", "content": "Colour of grass?"},
                {"role": "assistant", "content": "green"},
            ),
            (
                {"role": "user", "content": "Two and two?"},
                {"role": "assistant", "content": "four"},
            ),
        ],
        trained={
            "no_sharer": make_fuser(sharer="blank"),
            "ridge": make_fuser(projector="ridge", injection="replace"),
        },
        adapted=tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=3),
    )
