"""What a champion's sharer sends, and where its receiver hears it, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import ValidationError

from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.layers import listed
from c2c_search.plugins import foreign_file


if TYPE_CHECKING:
    from c2c_search.inference.manifest import Manifest


_NAMED = {
    "last": "the last {count}",
    "spread": "{count} spread over the depth",
    "attention": "{count} that calibration prompts chose",
}


def message_in_words(manifest: Manifest) -> str:
    """Sentences on the message's kind, length, source, place and layers, each after a space.

    Empty where the trial is not known, as of an imported fuser, or names a plug-in that may not be
    imported for a champion of somebody else's.
    """
    try:
        with foreign_file():
            config = FuserConfig.model_validate((manifest.trial or {})["fuser"])
    except (KeyError, ValidationError):
        return ""
    return "".join(f" {sentence}" for sentence in _sentences(config))


def _sentences(config: FuserConfig) -> Iterator[str]:
    tokens = f"greedily, at most {config.draft_tokens} tokens"
    what = "keys and values" if config.source == "kv" else "layers' outputs (hidden states)"
    drafts = f"The sharer first drafts an answer ({tokens}); the message is made of its {what}"
    yield {
        "prompt": f"The message is made of the sharer's {what} of its prompt.",
        "draft": f"{drafts} of that draft, and not of the prompt.",
        "both": f"{drafts} of prompt and draft.",
    }[config.message]
    if config.slots is not None:
        entries = "1 entry" if config.slots == 1 else f"{config.slots} entries"
        yield f"A message is {entries} in each layer, however much the sharer has read."
    if config.adds_memory:
        readers = "all tokens" if config.reads_from == "all" else "the last token"
        yield (
            f"The receiver's cache stays as it is; {readers} of its prompt, and those of the "
            "answer, read the message by a second attention beside it."
        )
    elif config.adds_entries:
        yield "The receiver's cache stays as it is; the message stands in front of it."
    else:
        yield f"The message changes the receiver's cache in place (injection {config.injection})."
    yield f"It is heard in {_layers(config)}."
    if config.anchored:
        yield (
            f"Beside it crosses text: the {config.anchors} words of what the sharer alone has "
            f"read or drafted, at most {config.anchor_tokens} tokens, which the receiver reads in "
            "front of its question. Where a document is not for the receiver's eyes, do not use "
            "this champion."
        )


def _layers(config: FuserConfig) -> str:
    """Which of the receiver's layers are fused."""
    if named := listed(config.layers):
        fed = [
            f"{layer} (the sharer's {', '.join(map(str, sources))})" if sources else str(layer)
            for layer, sources in named.items()
        ]
        return f"the receiver's layers {', '.join(fed)}, counted from 0"
    if config.all_layers:
        return "all layers of the receiver"
    if config.layer_count is None:
        count = f"{100 * config.layer_share:.3g} % of the layers"
    else:
        count = "1 layer" if config.layer_count == 1 else f"{config.layer_count} layers"
    return f"{_NAMED[config.layers].format(count=count)} of the receiver"
