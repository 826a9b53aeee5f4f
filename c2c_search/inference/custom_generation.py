"""A champion inside transformers' own ``model.generate(custom_generate=...)``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from weakref import WeakKeyDictionary

import torch

from c2c_search.errors import ConfigError
from c2c_search.inference.listening import as_asked
from c2c_search.inference.loading import open_champion
from c2c_search.inference.model import C2CModel


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.models.loading import LoadedModel


_opened: WeakKeyDictionary[PreTrainedModel, C2CModel] = WeakKeyDictionary()


@torch.no_grad()
def generate_with(model: PreTrainedModel, champion: Path, **arguments: Any) -> torch.Tensor:
    """Answer with a champion whose receiver is the caller's model.

    Args:
        model: The receiver; its sharer and fuser are loaded once, and kept as long as it is.
        champion: The champion's folder.
        arguments: As `C2CModel.generate` takes them, ``input_ids`` among them; what is None is
            left out.

    Returns:
        Prompts and answers ``(prompts, tokens)``, as transformers gives them.

    Raises:
        ConfigError: The model is not the champion's receiver, or an argument is not taken.
    """
    if model not in _opened:
        _opened[model] = _open(model, champion)
    given = {name: value for name, value in arguments.items() if value is not None}
    found: torch.Tensor = _opened[model].generate(**given)
    return found


def _open(model: PreTrainedModel, champion: Path) -> C2CModel:
    opened = open_champion(champion, model.device, model.dtype)
    _require_same(model, opened.receiver)
    receiver = replace(opened.receiver, model=model)
    return as_asked(C2CModel, replace(opened, receiver=receiver), None)


def _require_same(model: PreTrainedModel, receiver: LoadedModel) -> None:
    """Compare every weight: a fuser works only with the receiver it was trained for."""
    wanted = dict(receiver.model.named_parameters())
    found = dict(model.named_parameters())
    differ = sorted(wanted.keys() ^ found.keys()) or [
        name for name, tensor in wanted.items() if not torch.equal(tensor, found[name])
    ]
    if differ:
        raise ConfigError(
            "The model that generates must be the champion's receiver, to the bit.",
            value=f"{model.config._name_or_path}: {len(differ)} tensors differ, {differ[0]} first",
            hint=f"Load {receiver.identity.source} in {model.dtype}.",
        )
