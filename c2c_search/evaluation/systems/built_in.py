"""The rows of the systems that come with c2c-search.

The systems themselves are imported when they are built, so that what each is can be told before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.systems.registry import DERANGED
from c2c_search.evaluation.systems.registry import Materials
from c2c_search.evaluation.systems.registry import Recipe
from c2c_search.evaluation.systems.registry import derived_system
from c2c_search.evaluation.systems.registry import system


if TYPE_CHECKING:
    from c2c_search.evaluation.results import SystemResult
    from c2c_search.evaluation.systems.system import System


C2C = "C2C (arXiv 2510.03215)"


@system("receiver", title="Receiver alone", reference=C2C, kind="model")
def receiver(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.alone import Receiver

    return Receiver(name, materials.pair)


@system("sharer", title="Sharer alone", reference=C2C, needs=["sharer"], kind="model")
def sharer(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.alone import Sharer

    return Sharer(name, materials.pair)


@system(
    "text_relay",
    title="Text relay",
    reference=f"{C2C}, text-to-text, appendix",
    needs=["sharer"],
    kind="system",
)
def text_relay(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.relay import BACKGROUND
    from c2c_search.evaluation.systems.relay import Relay

    return Relay(name, materials.pair, BACKGROUND)


@system(
    "text_relay_answer",
    title="Text relay, may answer",
    reference="text relay whose sharer may answer, this project",
    needs=["sharer"],
    kind="system",
)
def text_relay_answer(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.relay import ADVICE
    from c2c_search.evaluation.systems.relay import Relay

    return Relay(name, materials.pair, ADVICE)


def _fit_margin(receiver: SystemResult, sharer: SystemResult) -> float:
    from c2c_search.evaluation.systems.routing import fit_margin

    return fit_margin(receiver, sharer)


@derived_system(
    "routing",
    title="Routing",
    reference=f"{C2C}, query-level routing; here by confidence",
    needs=["sharer"],
    kind="system",
    of=("receiver", "sharer"),
    fit=_fit_margin,
)
def routing(receiver: SystemResult, sharer: SystemResult, margin: float) -> SystemResult:
    from c2c_search.evaluation.systems.routing import route

    return route(receiver, sharer, margin)


@system(
    "c2c",
    title="C2C",
    reference=C2C,
    needs=["sharer", "fuser"],
    kind="system",
    recipe=Recipe(),
)
def c2c(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.c2c import Fused

    return Fused(name, materials.fused(materials.fuser))


def _fit_limit(receiver: SystemResult, c2c: SystemResult) -> float:
    from c2c_search.evaluation.systems.confident import fit_limit

    return fit_limit(receiver, c2c)


@derived_system(
    "c2c_confident",
    title="C2C, listening when unsure",
    reference="C2C where the receiver alone is unsure, this project",
    needs=["sharer", "fuser"],
    kind="system",
    of=("receiver", "c2c"),
    fit=_fit_limit,
)
def c2c_confident(receiver: SystemResult, c2c: SystemResult, limit: float) -> SystemResult:
    from c2c_search.evaluation.systems.confident import listen

    return listen(receiver, c2c, limit)


@system(
    "few_shot",
    title="Receiver, few-shot",
    reference=f"{C2C}, section 3.2",
    needs=["exemplars"],
    kind="control",
)
def few_shot(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.exemplars import FewShot

    return FewShot(name, materials.pair, materials.exemplars)


@system(
    "oracle",
    title="Oracle",
    reference=f"{C2C}, section 3.2",
    needs=["exemplars"],
    kind="control",
)
def oracle(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.exemplars import Oracle

    return Oracle(name, materials.pair, materials.exemplars)


@system(
    "no_sharer",
    title="No-sharer fuser",
    suffix="twin",
    reference="a fuser trained on a blank sharer, this project",
    needs=["sharer", "trial"],
    kind="control",
    recipe=Recipe(variant=TrialConfig.with_blank_sharer),
)
def no_sharer(name: str, materials: Materials) -> System:
    return _of_own_fuser(name, materials)


@system(
    DERANGED,
    title="Deranged sharer",
    reference="a sharer that reads other items, Draft-KV (arXiv 2609.34754)",
    needs=["sharer", "fuser", "others"],
    kind="control",
)
def deranged(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.c2c import Deranged

    return Deranged(name, materials.fused(materials.fuser), materials.derangements)


@system(
    "zeroed",
    title="Zeroed message",
    reference="the fuser hears a message of zeros, this project",
    needs=["sharer", "fuser"],
    kind="control",
)
def zeroed(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.c2c import unanchored
    from c2c_search.evaluation.systems.messages import Zeroed

    assert materials.fuser is not None
    return Zeroed(name, materials.fused(unanchored(materials.fuser)))


@system(
    "noise",
    title="Noise message",
    reference="the fuser hears noise of the message's moments, this project",
    needs=["sharer", "fuser"],
    kind="control",
)
def noise(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.messages import Noise

    return Noise(name, materials.fused(materials.fuser), materials.seed)


@system(
    "random",
    title="Random fuser",
    reference="the fuser with its weights shuffled, this project",
    needs=["sharer", "fuser"],
    kind="control",
)
def random(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.c2c import Fused
    from c2c_search.evaluation.systems.c2c import shuffled

    assert materials.fuser is not None
    return Fused(name, materials.fused(shuffled(materials.fuser, materials.seed)))


@system(
    "shut",
    title="Shut gate",
    reference="a fuser that may say nothing, this project",
    needs=["sharer", "fuser"],
    kind="control",
)
def shut(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.c2c import Fused
    from c2c_search.evaluation.systems.c2c import Shut
    from c2c_search.evaluation.systems.c2c import unanchored

    assert materials.fuser is not None
    return Fused(name, materials.fused(unanchored(materials.fuser), Shut))


@system(
    "anchors",
    title="Anchors alone",
    reference="the receiver reads the anchors, without the fuser; this project",
    needs=["sharer", "fuser"],
    kind="control",
)
def anchors(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.c2c import Fused
    from c2c_search.evaluation.systems.c2c import Shut

    return Fused(name, materials.fused(materials.fuser, Shut))


@system(
    "self",
    title="Self-sharer",
    reference="a fuser trained with the receiver as its own sharer, this project",
    needs=["sharer", "trial"],
    kind="control",
    recipe=Recipe(variant=TrialConfig.with_self),
)
def itself(name: str, materials: Materials) -> System:
    return _of_own_fuser(name, materials)


@system(
    "ridge",
    title="Ridge map",
    reference="closed-form ridge, arXiv 2608.03893",
    needs=["sharer", "trial"],
    kind="control",
    recipe=Recipe(variant=TrialConfig.with_ridge),
)
def ridge(name: str, materials: Materials) -> System:
    return _of_own_fuser(name, materials)


@system(
    "lora",
    title="LoRA on the receiver",
    suffix="LoRA",
    reference="LoRA (arXiv 2106.09685), of the fuser's size",
    needs=["trial"],
    kind="control",
    recipe=Recipe(learner="lora"),
)
def lora(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.alone import Adapted
    from c2c_search.models.loading import LoadedModel

    assert isinstance(materials.trained, LoadedModel)
    return Adapted(name, materials.pair, materials.trained)


@system(
    "cartridge",
    title="Cartridge on the receiver",
    reference="a trained KV prefix (Cartridges, arXiv 2506.06266), of the fuser's size",
    needs=["trial"],
    kind="control",
    recipe=Recipe(learner="cartridge"),
)
def cartridge(name: str, materials: Materials) -> System:
    import torch

    from c2c_search.evaluation.systems.alone import Prefixed

    assert isinstance(materials.trained, torch.Tensor)
    return Prefixed(name, materials.pair, materials.trained)


def _of_own_fuser(name: str, materials: Materials) -> System:
    """A fuser that was trained as a control."""
    from c2c_search.evaluation.systems.c2c import Fused
    from c2c_search.fuser.fuser import Fuser

    assert isinstance(materials.trained, Fuser)
    return Fused(name, materials.fused(materials.trained))
