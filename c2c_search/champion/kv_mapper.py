"""A champion's fuser as a KV mapper for vLLM's semantic router: affine maps, layer by layer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import torch
from safetensors.torch import save_file

from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.errors import in_yaml
from c2c_search.fuser.checkpoint import load
from c2c_search.host.files import disk_errors
from c2c_search.host.files import swapped_in
from c2c_search.host.files import write_text
from c2c_search.host.names import fit
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import check_sums
from c2c_search.inference.sums import write_sums


if TYPE_CHECKING:
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.manifest import Manifest
    from c2c_search.models.identity import ModelIdentity


MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_CLOSE = 1e-3  # of the largest number, for a map that was read off by its own outputs


@dataclass(frozen=True)
class AffineMaps:
    """What a fuser makes of the sharer's cache: ``features @ weight + bias``.

    Args:
        weights: Of keys and of values, ``(2, layers, inputs, outputs)``; inputs are those of a
            layer's sources one after the other.
        biases: ``(2, layers, outputs)``.
        sources: Sharer layers of each receiver layer.
    """

    weights: torch.Tensor
    biases: torch.Tensor
    sources: list[list[int]]

    @classmethod
    def of(cls, fuser: Fuser) -> AffineMaps | None:
        """Read off a fuser that puts such a map in the cache's place; None of any other one."""
        weights, biases = _affine(fuser)
        maps = cls(weights, biases, fuser.sources.tolist())
        draw = torch.Generator().manual_seed(0)
        own, said = (
            torch.randn(2, shape.layers, 16, shape.size, generator=draw)
            for shape in (fuser.receiver_shape, fuser.sharer_shape)
        )
        with torch.no_grad():
            found, expected = fuser(own, said), maps(said)
        close = (found - expected).abs().max() <= _CLOSE * expected.abs().max()
        return maps if bool(close) else None

    def __call__(self, sharer: torch.Tensor) -> torch.Tensor:
        """The receiver's cache before RoPE, from the sharer's before RoPE."""
        layers = [sharer[:, sources].transpose(1, 2).flatten(2) for sources in self.sources]
        return (
            torch.einsum("klti,klio->klto", torch.stack(layers, 1), self.weights)
            + (self.biases[:, :, None])
        )


@torch.no_grad()
def _affine(fuser: Fuser) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases as `AffineMaps` has them, if there are any."""
    ours, theirs = fuser.receiver_shape, fuser.sharer_shape

    def told(sharer: torch.Tensor) -> torch.Tensor:
        count = sharer.shape[2]
        return fuser(torch.zeros(2, ours.layers, count, ours.size), sharer)

    nothing = torch.zeros(2, theirs.layers, 1, theirs.size)
    biases = told(nothing)
    sources = fuser.sources.tolist()
    weights = torch.zeros(2, ours.layers, len(sources[0]), theirs.size, ours.size)
    for layer in {each for of_layer in sources for each in of_layer}:
        # One number of keys and of values at a time: a token each.
        ones = torch.zeros(2, theirs.layers, theirs.size, theirs.size)
        ones[:, layer] = torch.eye(theirs.size)
        slopes = told(ones) - biases
        for number, of_layer in enumerate(sources):
            for slot in (slot for slot, each in enumerate(of_layer) if each == layer):
                weights[:, number, slot] = slopes[:, number]
    return weights.flatten(2, 3), biases[:, :, 0]


def write_kv_mapper(champion: Path, to: Path) -> Path:
    """Write a champion's fuser as a mapper: ``manifest.json``, weights, ``SHA256SUMS``.

    What the router's connector does with it: the mapped cache of all of the receiver's tokens but
    the last takes the place of the receiver's own. Source: the artifact of vLLM's semantic
    router (its src/training/kv_mapper, schema version 1).

    Args:
        champion: A champion's folder.
        to: Folder in which one of the mapper's name is made.

    Returns:
        The mapper's folder.

    Raises:
        ConfigError: Lists everything that the format cannot say of this champion.
        IntegrityError: The champion is not as it was written.
        StoreError: The mapper's folder is there already, or cannot be written.
    """
    check_sums(champion)
    manifest, fuser = read_manifest(champion), load(champion).eval()
    reasons = obstacles(manifest, fuser)
    maps = None if reasons else AffineMaps.of(fuser)
    if not reasons and maps is None:
        reasons = ["what it makes of the sharer's cache is not an affine map of it alone"]
    if maps is None:
        raise ConfigError(
            "A KV mapper of the semantic router cannot say all of this champion:\n"
            + "\n".join(f"  {reason}" for reason in reasons)
        )
    content = _manifest(manifest, fuser)
    folder = to / content["mapper_id"]
    if folder.exists():
        raise StoreError(
            "A mapper of this name is there already.",
            value=str(folder),
            hint="Name another folder with --to, or remove this one yourself.",
        )
    tensors = {
        f"target.{layer}.{kind}.{name}": each[number, layer].contiguous()
        for number, kind in enumerate(("k", "v"))
        for layer in range(len(maps.sources))
        for name, each in (("W", maps.weights), ("b", maps.biases))
    }
    with disk_errors(to), swapped_in(folder) as made:
        save_file(tensors, made / WEIGHTS)
        write_text(made / MANIFEST, json.dumps(content, indent=2, sort_keys=True) + "\n")
        write_sums(made)
    return folder


def obstacles(manifest: Manifest, fuser: Fuser) -> list[str]:
    """Every reason why a champion cannot be written as a mapper, as far as its files tell."""
    config, ours, theirs = fuser.config, fuser.receiver_shape, fuser.sharer_shape
    only = {
        "injection": "replace",
        "source": "kv",
        "sharer": "real",
        "keys": "unrotated",
        "message": "prompt",
        "fuse_response": False,
        "refresh": None,
        "slots": None,
        "lora_rank": 0,
    }
    reasons = [
        f"{name} is {in_yaml(getattr(config, name))}, and the format knows only {in_yaml(value)}"
        for name, value in only.items()
        if getattr(config, name) != value
    ]
    if fuser.layers != list(range(ours.layers)):
        reasons.append(f"{len(fuser.layers)} of {ours.layers} layers are fused, and it needs all")
    if (ours.heads, ours.head_dim) != (theirs.heads, theirs.head_dim):
        reasons.append(
            "the models' KV heads differ, in number or size, and it states one for both"
        )
    pair = manifest.pair
    if not pair.receiver.tokenizes_as(pair.sharer):
        reasons.append("the models' tokenizers differ, and it maps token by token")
    for role, model in (("receiver", pair.receiver), ("sharer", pair.sharer)):
        if not model.source.startswith("hf:") or not _COMMIT.fullmatch(model.revision or ""):
            reasons.append(f"the {role} is {model.source}, and it names commits of the hub")
    return reasons


def _manifest(manifest: Manifest, fuser: Fuser) -> dict[str, Any]:
    pair, shape, config = manifest.pair, fuser.receiver_shape, fuser.config
    precision = _PRECISIONS[manifest.dtype or "float32"]
    layers = {str(number): sources for number, sources in enumerate(fuser.sources.tolist())}
    heads = f"full_head-{precision}-tp1-h{shape.heads}"
    commits = f"s{pair.sharer.revision}-t{pair.receiver.revision}"
    return {
        "schema_version": 1,
        "mapper_id": f"{fit(manifest.name)}-{heads}-{commits}-b1",
        "compatibility": {
            "source_model": _repository(pair.sharer),
            "source_revision": pair.sharer.revision,
            "target_model": _repository(pair.receiver),
            "target_revision": pair.receiver.revision,
            "variant": "full_head",
            "precision": precision,
            "source_tp": 1,
            "target_tp": 1,
            "head_order": "contiguous",
            "num_kv_heads": shape.heads,
            "head_dim": shape.head_dim,
        },
        "topk": fuser.sources.shape[1],
        "ridge_alpha": 0.0,  # ours is relative to the inputs' variance, and said below
        "centered_inputs": True,
        "rope_stripped_on_keys": True,
        "source_layers_per_target": {"k": layers, "v": layers},
        "calibration": {
            "tool": f"c2c-search {manifest.c2c_search_version}",
            "trial": manifest.trial_hash,
            "data": manifest.data,
            "relative_ridge_penalty": config.ridge_penalty if config.fitted else None,
        },
        "evaluation_report": None,
    }


def _repository(model: ModelIdentity) -> str:
    return model.source.removeprefix("hf:").partition("@")[0]
