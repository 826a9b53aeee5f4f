"""The fusers that `fuser_axes.py` compares: a base, and one change at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from pydantic import TypeAdapter

from c2c_search.config.training import Stages
from c2c_search.fuser.presets import PRESETS


C2C = "C2C, arXiv 2510.03215"
OURS = "this project"
FLOW = "Latent Cache Flow, arXiv 2605.22863"
DRAFT = "Draft-KV, arXiv 2609.34754"
RIDGE = "arXiv 2608.03893"
LORA = "LoRA, arXiv 2106.09685"
MENTOR = "MentorPulse, arXiv 2608.20927"
XBRIDGE = "XBridge, arXiv 2608.11676"
XKV = "XKV, arXiv 2608.20617"
BRIDGE = "CacheBridge, arXiv 2609.00891"
DENSE = "arXiv 2606.13594"


@dataclass(frozen=True)
class Variant:
    """One fuser.

    Args:
        axis: What is changed.
        value: To what.
        source: Paper or thread that the value comes from.
        fuser: Fields of `FuserConfig`.
        training: Fields of `TrainingConfig` that go along, e.g. another learning rate; stages
            as a line, see `training_of`.
    """

    axis: str
    value: str
    source: str
    fuser: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.axis}-{self.value}".replace(" ", "_").replace("/", "_").replace(",", "")


_BASE = {"width": 64, "layer_alignment": "proportional"}
BASE = Variant("base", "c2c", C2C, _BASE)


def _change(
    axis: str, value: str, source: str, /, *, training: Mapping[str, Any] = {}, **fuser: Any
) -> Variant:
    return Variant(axis, value, source, {**_BASE, **fuser}, training)


def _gate(value: str, source: str, **gate: Any) -> Variant:
    return _change("gate", value, source, gate=gate)


AXES = (
    BASE,
    _change("sharer", "blank", "prototype", sharer="blank"),
    _change("projector", "joint, rank 32", FLOW, projector="joint", rank=32),
    _change("projector", "joint, rank 8", FLOW, projector="joint", rank=8),
    _change("projector", "linear", RIDGE, projector="linear"),
    _change("projector", "ridge, replace", RIDGE, projector="ridge", injection="replace"),
    _change(
        "initialisation",
        "ridge, linear, replace",
        RIDGE,
        projector="linear",
        initialisation="ridge",
        injection="replace",
    ),
    _change("initialisation", "random", C2C, initialisation="random"),
    _change("depth", "1", OURS, depth=1),
    _change("depth", "2", OURS, depth=2),
    _change("depth", "5", C2C, depth=5),
    _change("width", "32", OURS, width=32),
    _change("width", "128", OURS, width=128),
    _change("input_activation", "false", C2C, input_activation=False),
    _change("activation", "silu", C2C, activation="silu"),
    _change("dropout", "0.1", C2C, dropout=0.1),
    _change("normalisation", "none", C2C, normalisation="none"),
    _change("normalisation", "rms", OURS, normalisation="rms"),
    _change("dynamic_weight", "false", OURS, dynamic_weight=False),
    _change("weight_granularity", "value", C2C, weight_granularity="value"),
    _gate("layer, gumbel, hard", C2C, granularity="layer", noise="gumbel", rule="hard"),
    _gate("layer, logistic, hard", "C2C #5", granularity="layer", noise="logistic", rule="hard"),
    _gate("layer, soft", OURS, granularity="layer"),
    _gate("head, soft", C2C, granularity="head"),
    _gate("token, soft", C2C, granularity="token"),
    _gate("value, soft", C2C, granularity="value"),
    _change("layer_alignment", "terminal", C2C, layer_alignment="terminal"),
    _change("layer_alignment", "similarity", "arXiv 1905.00414", layer_alignment="similarity"),
    _change("layer_alignment", "learned", OURS, layer_alignment="learned"),
    _change("sources_per_layer", "2, concat", RIDGE, sources_per_layer=2),
    _change("sources_per_layer", "4, concat", RIDGE, sources_per_layer=4),
    _change("sources_per_layer", "8, concat", RIDGE, sources_per_layer=8),
    _change("sources_per_layer", "2, mean", OURS, sources_per_layer=2, source_combination="mean"),
    _change(
        "sources_per_layer", "2, learned", OURS, sources_per_layer=2, source_combination="learned"
    ),
    _change("layer_share", "0.5, last", "KVComm", layer_share=0.5),
    _change("layer_share", "0.5, attention", RIDGE, layer_share=0.5, layers="attention"),
    _change("layers", "4, spread", OURS, layer_count=4, layers="spread"),
    _change("token_alignment", "first", C2C, token_alignment="first"),
    _change("token_alignment", "longest", C2C, token_alignment="longest"),
    _change("source", "hidden", XBRIDGE, source="hidden"),
    _change("keys", "unrotated", RIDGE, keys="unrotated"),
    _change("injection", "replace", OURS, injection="replace"),
    _change("injection", "append", FLOW, injection="append"),
    _change("injection", "side", DRAFT, injection="side"),
    _change("slots", "8, append", XKV, injection="append", slots=8),
    _change("message", "draft, append", DRAFT, injection="append", message="draft"),
    _change("message", "both, append", DRAFT, injection="append", message="both"),
    _change(
        "draft_tokens", "8, append", OURS, injection="append", message="draft", draft_tokens=8
    ),
    _change("refresh", "1, append", MENTOR, injection="append", refresh=1),
    _change(
        "stages",
        "reconstruction, answer, append",
        DRAFT,
        training={"stages": "reconstruction 20 -> answer 60 replay=0.2"},
        injection="append",
    ),
    _change(
        "receiver_sees",
        "half, append",
        DENSE,
        training={"receiver_sees": "half"},
        injection="append",
    ),
    _change("fuse_response", "true", "C2C pull request 6", fuse_response=True),
    _change("lora_rank", "8", LORA, lora_rank=8),
)

_LINEAR = {
    **_BASE,
    "projector": "linear",
    "initialisation": "ridge",
    "injection": "replace",
}
LINEAR_BASE = Variant("base", "linear, ridge, replace", RIDGE, _LINEAR)


def _linear(
    axis: str, value: str, source: str, /, *, training: Mapping[str, Any] = {}, **fuser: Any
) -> Variant:
    return Variant(f"linear {axis}", value, source, {**_LINEAR, **fuser}, training)


def _side(value: str, source: str, **fuser: Any) -> Variant:
    gate = {"granularity": "head", "rule": "tanh"}
    return _linear("injection", value, source, **{"injection": "side", "gate": gate, **fuser})


LINEAR = (
    LINEAR_BASE,
    _linear("initialisation", "zero", OURS, initialisation="zero"),
    _linear("dynamic_weight", "false", OURS, dynamic_weight=False),
    _linear("injection", "append", FLOW, injection="append"),
    _linear("injection", "append, gated", OURS, injection="append", gate={"granularity": "head"}),
    _side("side", DRAFT),
    _side("side, read by all", DRAFT, reads_from="all"),
    _side("side, unrotated", DRAFT, keys="unrotated"),
    _side("side, no bias", DRAFT, initialisation="random", bias=False),
    _side("side, refreshed every token", MENTOR, refresh=1),
    _linear("slots", "8, append", XKV, injection="append", slots=8),
    _linear("message", "draft, append", DRAFT, injection="append", message="draft"),
    _linear("message", "both, append", DRAFT, injection="append", message="both"),
    _linear(
        "stages",
        "reconstruction, answer, append",
        DRAFT,
        training={"stages": "reconstruction 20 -> answer 60 replay=0.2"},
        injection="append",
    ),
    _linear(
        "receiver_sees",
        "half, append",
        DENSE,
        training={"receiver_sees": "half"},
        injection="append",
    ),
    _linear("rank", "32", FLOW, rank=32),
    _linear("projector", "joint, rank 32", FLOW, projector="joint", rank=32),
    _linear("projector", "joint, rank 128", FLOW, projector="joint", rank=128),
    _linear("source", "hidden", XBRIDGE, source="hidden"),
    _linear("keys", "unrotated", RIDGE, keys="unrotated"),
    _linear("sources_per_layer", "2, concat", RIDGE, sources_per_layer=2),
    _linear("layer_alignment", "similarity", "arXiv 1905.00414", layer_alignment="similarity"),
    _linear("layer_share", "0.5, attention", RIDGE, layer_share=0.5, layers="attention"),
    _linear("layers", "4, last", DRAFT, layer_count=4),
    _linear("layers", "4, spread", OURS, layer_count=4, layers="spread"),
    _linear("sources_per_layer", "8, concat", RIDGE, sources_per_layer=8),
    _linear("gate", "head, soft", C2C, gate={"granularity": "head"}),
    _linear("ridge_penalty", "1", OURS, ridge_penalty=1.0),
    _linear(
        "ridge_weighting",
        "attention",
        BRIDGE,
        ridge_weighting="attention",
    ),
    _linear("lora_rank", "8", LORA, lora_rank=8),
)

SIZE = (
    BASE,
    _change("width", "16", OURS, width=16),
    _change("projector", "joint, rank 8, width 16", FLOW, projector="joint", rank=8, width=16),
    Variant(
        "published",
        "width 1024",
        C2C,
        {**PRESETS["c2c"].fuser, "token_alignment": "span"},  # whose prompt caches are the others'
        # Its own rate, 1e-4, is for 1,929 steps of 256 examples.
        {"learning_rate": 1e-3},
    ),
    # What the width alone is worth: the base's gate, start, alignment and normalisation.
    Variant("width", "1024", C2C, {**_BASE, "width": 1024}, {"learning_rate": 1e-3}),
    LINEAR_BASE,
)

_APPEND = {
    **_LINEAR,
    "injection": "append",
    "keys": "unrotated",
    "dynamic_weight": False,
}
_PRIVATE = {**_APPEND, "injection": "side", "layer_count": 10, "layers": "spread"}
_PRIVATE_TRAINING = {"learning_rate": 2e-3}
PRIVATE_BASE = Variant(
    "base", "linear, side, 10 layers spread, ridge", OURS, _PRIVATE, _PRIVATE_TRAINING
)


def _private(
    axis: str, value: str, source: str, /, *, training: Mapping[str, Any] = {}, **fuser: Any
) -> Variant:
    return Variant(
        f"private {axis}",
        value,
        source,
        {**_PRIVATE, **fuser},
        {**_PRIVATE_TRAINING, **training},
    )


def _appended(axis: str, value: str, source: str, /, **fuser: Any) -> Variant:
    changed = {**_APPEND, **fuser}
    return Variant(f"private {axis}", f"{value}, append", source, changed, _PRIVATE_TRAINING)


PRIVATE = (
    PRIVATE_BASE,
    _private("layer_count", "4", DRAFT, layer_count=4),
    _private("layer_count", "16", OURS, layer_count=16),
    _private("layers", "last", DRAFT, layers="last"),
    _private("layers", "attention", RIDGE, layers="attention"),
    _private("reads_from", "all", DRAFT, reads_from="all"),
    _private("rank", "32", FLOW, rank=32),
    _private("projector", "joint, rank 32", FLOW, projector="joint", rank=32),
    _private("initialisation", "zero", OURS, initialisation="zero"),
    _private("keys", "rotated", OURS, keys="rotated"),
    _private("layer_alignment", "terminal", C2C, layer_alignment="terminal"),
    _private("sources_per_layer", "4, concat", RIDGE, sources_per_layer=4),
    _private("ridge_weighting", "attention", BRIDGE, ridge_weighting="attention"),
    *(
        _private("gate", f"{each}, tanh", DRAFT, gate={"granularity": each, "rule": "tanh"})
        for each in ("layer", "head", "token", "value")
    ),
    _private("slots", "32", XKV, slots=32),
    _private("receiver_sees", "half", DENSE, training={"receiver_sees": "half"}),
    _private(
        "stages",
        "reconstruction, answer",
        DRAFT,
        training={"stages": "reconstruction 150 -> answer 250"},
    ),
    _appended("injection", "all layers", FLOW),
    _appended("injection", "all layers, gate per head", OURS, gate={"granularity": "head"}),
    _appended("injection", "8 slots", XKV, slots=8),
    _private("message", "draft", DRAFT, message="draft"),
    _private("message", "both", DRAFT, message="both"),
    _private("source", "hidden", XBRIDGE, source="hidden"),
)

SETS = {"axes": AXES, "linear": LINEAR, "size": SIZE, "private": PRIVATE}
TITLES = {
    "axes": "Around the published kind of fuser",
    "linear": "Around the best of them",
    "size": "Size",
    "private": "Around the best of them where the sharer alone has read the text",
}


def training_of(variant: Variant, steps: int) -> Mapping[str, Any]:
    """What a variant's training sets, its stages scaled to so many steps in all."""
    if (line := variant.training.get("stages")) is None:
        return variant.training
    stages = TypeAdapter(Stages).validate_python(line)
    total = sum(stage.steps for stage in stages)
    ends = [
        round(sum(one.steps for one in stages[: i + 1]) * steps / total)
        for i in range(len(stages))
    ]
    counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    scaled = [
        stage.model_copy(update={"steps": count})
        for stage, count in zip(stages, counts, strict=True)
    ]
    return {**variant.training, "stages": tuple(scaled)}
