"""Whether a model's weights are those of its configuration, none missing and none left over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from c2c_search.errors import SourceError


ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")

# What transformers does not know of already: causal masks that early versions saved, and what a
# language model leaves aside of one that also sees or hears.
_HARMLESS = re.compile(
    r"\.(attn|attention)\.(masked_)?bias$|\.rotary_emb\.inv_freq$"
    r"|^(model\.)?(vision_tower|vision_model|visual|audio_tower|multi_modal_projector)\."
)
_NAMED = 3


def require_whole(source: str, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Check what transformers says of the tensors that it loaded.

    It fills what is missing with random numbers and leaves out what is too much, and only warns.

    Args:
        source: Of the model.
        missing: Names of tensors that the model has and the files do not.
        unexpected: Names of tensors that the files have and the model does not.

    Raises:
        SourceError: There are any, and it matters.
    """
    if lacking := sorted(missing):
        raise SourceError(
            "The weights must hold every tensor of the language model.",
            value=f"{source} lacks {len(lacking)}, e.g. {lacking[0]}",
            hint="Choose the checkpoint of a causal language model, complete.",
        )
    if unused := sorted(name for name in unexpected if not _HARMLESS.search(name)):
        named = ", ".join(unused[:_NAMED]) + (", ..." if len(unused) > _NAMED else "")
        raise SourceError(
            "The model must use every tensor of its weights.",
            value=f"{source} leaves out {len(unused)}: {named}",
            hint="config.json is of another model, e.g. of fewer layers: restore the two that "
            "belong together.",
        )


def refuse_adapters(folder: Path) -> None:
    """Refuse a folder with an adapter, which transformers would load and nobody has hashed.

    Raises:
        SourceError: There is one.
    """
    if found := [name for name in ADAPTER_FILES if (folder / name).exists()]:
        raise SourceError(
            "A model folder must hold no adapter beside its weights.",
            value=f"{folder} with {', '.join(found)}",
            hint="Merge the adapter into the weights (peft: merge_and_unload), or remove it.",
        )
