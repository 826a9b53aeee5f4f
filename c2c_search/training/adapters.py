"""An adapter or a cartridge in a folder, as peft reads it, and a receiver with one in it."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from c2c_search.errors import IntegrityError
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.host.files import replacing
from c2c_search.host.files import write_text
from c2c_search.models.geometry import geometry
from c2c_search.models.identity import file_sha256
from c2c_search.models.loading import LoadedModel
from c2c_search.models.loading import load


if TYPE_CHECKING:
    from collections.abc import Mapping

    from peft import CartridgeConfig
    from peft import PeftConfig
    from peft import PeftModel

    from c2c_search.evaluation.systems.registry import Learner
    from c2c_search.fuser.fuser import Fuser


_CONFIG_NAME = "adapter_config.json"
_WEIGHTS_NAME = "adapter_model.safetensors"
_ENTRIES = "prompt_embeddings"  # of a cartridge, as peft calls them


def save(adapted: PeftModel, source: str, directory: Path) -> None:
    """Write an adapter as peft reads it, each file whole or not at all.

    Args:
        adapted: The model with its adapter.
        source: What the model is loaded from.
        directory: Made if absent.
    """
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    _write(adapted.peft_config["default"], tensors, source, directory)


def save_cartridge(
    config: CartridgeConfig, weight: torch.Tensor, source: str, directory: Path
) -> None:
    """Write a cartridge as peft reads it, each file whole or not at all.

    Args:
        config: Of the cartridge.
        weight: Its entries, as `flat_entries` gives them.
        source: What the model is loaded from.
        directory: Made if absent.
    """
    _write(config, {_ENTRIES: weight}, source, directory)


def _write(
    config: PeftConfig, tensors: Mapping[str, torch.Tensor], source: str, directory: Path
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(directory / _WEIGHTS_NAME) as weights:
        save_file(kept, weights, metadata={"format": "pt"})
    content = config.to_dict() | {"base_model_name_or_path": source, "inference_mode": True}
    text = json.dumps(content, indent=2, sort_keys=True, default=sorted) + "\n"
    write_text(directory / _CONFIG_NAME, text)


def flat_entries(entries: torch.Tensor) -> torch.Tensor:
    """Cache entries ``(2, layers, entries, size)`` in peft's layout.

    Returns:
        ``(entries, layers * 2 * size)``: layer after layer, keys before values.
    """
    return entries.permute(2, 1, 0, 3).flatten(1)


def stacked_entries(flat: torch.Tensor, layers: int) -> torch.Tensor:
    """The inverse of `flat_entries`, a view."""
    return flat.unflatten(1, (layers, 2, -1)).permute(2, 1, 0, 3)


def load_trained(
    learner: Learner, receiver: LoadedModel, folder: Path
) -> Fuser | LoadedModel | torch.Tensor:
    """What a training has left: a fuser, the receiver with an adapter in it, or its KV prefix.

    Args:
        learner: What learned.
        receiver: Unchanged.
        folder: Of its best rung.

    Raises:
        IntegrityError: A file is missing.
    """
    if learner == "fuser":
        return load_fuser(folder, foreign=False)
    if learner == "cartridge":
        return load_cartridge(receiver, folder)
    return load_adapted(receiver, folder)


def load_cartridge(receiver: LoadedModel, folder: Path) -> torch.Tensor:
    """The entries of a cartridge, ``(2, layers, entries, size)`` in float32.

    Args:
        receiver: Whose cache they are for.
        folder: What `save_cartridge` writes.

    Raises:
        IntegrityError: A file is missing.
    """
    _check_complete(folder)
    flat = load_file(folder / _WEIGHTS_NAME)[_ENTRIES]
    return stacked_entries(flat, geometry(receiver.model).layers)


def load_adapted(
    receiver: LoadedModel | str, adapter: Path, cache_dir: Path | None = None
) -> LoadedModel:
    """A second copy of a receiver with an adapter in it.

    In float32 it is merged into the weights. The digits of bfloat16 would swallow most of a small
    update: there it is added to what the weights give, as it was trained and validated.
    Its identity is its own, so that no prompt cache of the receiver is taken for one of its own.

    Args:
        receiver: Unchanged; or where to load it from.
        adapter: The folder that `save` writes.
        cache_dir: Where models are kept, if it is to be loaded.

    Raises:
        IntegrityError: A file of the adapter is missing.
        SourceError: The receiver cannot be loaded.
    """
    from peft import PeftModel

    _check_complete(adapter)
    if isinstance(receiver, str):
        base = load(receiver, cache_dir=cache_dir)
        model = base.model
    else:
        base = receiver
        model = copy.deepcopy(base.model)
    adapted = PeftModel.from_pretrained(model, str(adapter))
    exact = model.dtype == torch.float32
    adapted = adapted.merge_and_unload() if exact else adapted.get_base_model()
    digest = hashlib.sha256(
        "\0".join(
            [base.identity.weights_sha256]
            + [file_sha256(adapter / name) for name in (_CONFIG_NAME, _WEIGHTS_NAME)]
        ).encode()
    ).hexdigest()
    identity = base.identity.model_copy(
        update={
            "source": f"{base.identity.source}+lora-{digest[:12]}",
            "weights_sha256": digest,
        }
    )
    return replace(base, identity=identity, model=adapted.eval().requires_grad_(False))


def _check_complete(folder: Path) -> None:
    for name in (_CONFIG_NAME, _WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise IntegrityError(
                f"An adapter folder holds {_CONFIG_NAME} and {_WEIGHTS_NAME}.",
                value=str(folder / name),
                hint="This file is missing: train the adapter again.",
            )
