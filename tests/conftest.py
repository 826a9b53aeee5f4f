"""Tiny random models for every room: two layers, on the CPU, in milliseconds."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from c2c_search.host.threads import usable_cores


if TYPE_CHECKING:
    from collections.abc import Callable

    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel
    from c2c_search.models.pair import PairSpec

# How fast a busy machine is says nothing about a property.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The same arithmetic on every machine; what is about the choice sets it itself.
os.environ.setdefault("C2C_SEARCH_DTYPE", "float32")
# Threads of several workers that share a core spend their time on waiting for one another.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(usable_cores() // workers, 1)))


# Folders and files of whole studies and trainings.
LONG = ("study", "training", "evaluator", "benchmarks", "test_tutorial.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first: a worker that began one last would be waited for."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    long = {item.path for item in items if {item.path.name, item.path.parent.name} & {*LONG}}
    items.sort(key=lambda item: (item.path not in slow, item.path not in long))


@pytest.fixture(scope="module", autouse=True)
def _spare_the_collector() -> None:
    """Keep garbage collection to what a file's own tests make.

    Trainings, measurements of memory and some libraries ask for a full collection each time; with
    every module and every test of the suite to look through, it would take a second.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A byte-level tokenizer with offsets, made here: no training, no download."""
    from c2c_search.testing.tiny_models import byte_tokenizer

    return byte_tokenizer()


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., LoadedModel]:
    """Make a random model: ``tiny_model("llama", layers=2, heads=2, head_dim=8, seed=0)``."""
    from c2c_search.testing.tiny_models import random_model

    return random_model


@pytest.fixture(scope="session")
def make_pair(tiny_model) -> Callable[..., C2CModel]:
    """A pair whose fuser already says something: ``make_pair(keys="unrotated")``.

    ``receiver=`` and ``sharer=`` are loaded models.
    """
    import torch

    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.loading import cache_shape
    from c2c_search.inference.model import C2CModel

    def make(*, receiver=None, sharer=None, trained=True, **fields) -> C2CModel:
        receiver = receiver or tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1)
        sharer = sharer or tiny_model("llama", layers=2, heads=1, head_dim=12, seed=2)
        torch.manual_seed(0)
        fields = {"width": 8, "normalisation": "none", **fields}
        config = FuserConfig(**fields)
        shape = cache_shape(receiver, adapted=config.lora_rank > 0)
        fuser = Fuser(config, shape, cache_shape(sharer, source=config.source)).eval()
        if trained:
            with torch.no_grad():
                for parameter in fuser.parameters():
                    parameter.add_(0.3 * torch.randn_like(parameter))
        return C2CModel(receiver, sharer, fuser, cache_dtype=torch.float32)

    return make


@pytest.fixture(scope="session")
def tiny_pair(tiny_model, tmp_path_factory) -> PairSpec:
    """Two tiny random models on disk."""
    from c2c_search.models.pair import PairSpec

    paths = {}
    for role, options in {
        "receiver": {"seed": 1},
        "sharer": {"layers": 3, "heads": 1, "head_dim": 12, "seed": 2},
    }.items():
        path = tmp_path_factory.mktemp("models") / role
        loaded = tiny_model("llama", **options)
        loaded.model.save_pretrained(path)
        loaded.tokenizer.save_pretrained(path)
        paths[role] = f"path:{path}"
    return PairSpec(**paths)
