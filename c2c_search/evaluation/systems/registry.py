"""The register of all systems by name, and what each of them is made of.

The systems themselves are imported when they are built, so that names can be checked first.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Literal


if TYPE_CHECKING:
    from c2c_search.evaluation.systems.system import System
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.templates import Message


Kind = Literal["model", "system", "control"]
"""One model alone; what is proposed and what it competes with; what explains its success away."""

Need = Literal["sharer", "fuser", "exemplars", "trial"]
"""A second model, a fuser, examples with answers, how the fuser was trained."""

C2C = "C2C (arXiv 2510.03215)"


@dataclass(frozen=True)
class Materials:
    """What systems are made of; each takes what it needs.

    Args:
        pair: Receiver and sharer, without a fuser.
        fuser: What is evaluated.
        exemplars: Questions with their answers, a user's turn and an assistant's each.
        trained: Fusers trained as controls, by the name of their system.
        adapted: The receiver with LoRA in it.
        seed: Of what is random.
    """

    pair: C2CModel
    fuser: Fuser | None = None
    exemplars: Sequence[tuple[Message, Message]] = ()
    trained: Mapping[str, Fuser] | None = None
    adapted: LoadedModel | None = None
    seed: int = 0

    def fused(self, fuser: Fuser | None, kind: type[C2CModel] | None = None) -> C2CModel:
        """The pair with a fuser, on the models that are loaded already."""
        from c2c_search.evaluation.scoring import with_fuser
        from c2c_search.inference.model import C2CModel

        assert fuser is not None, "a system that needs a fuser"
        return with_fuser(self.pair, fuser.eval(), kind or C2CModel)


Build = Callable[[str, Materials], "System"]
"""Makes a system of its name and materials."""


@dataclass(frozen=True)
class SystemEntry:
    """A system, before it is built.

    Args:
        name: As in ``--systems``.
        title: As in tables.
        reference: The paper it comes from.
        needs: What it cannot be built without, beside a receiver.
        kind: What it is there for.
        builder: None where its answers follow from those of others.
    """

    name: str
    title: str
    reference: str
    needs: frozenset[Need]
    kind: Kind
    builder: Build | None

    def build(self, materials: Materials) -> System:
        """The system, ready to answer."""
        assert self.builder is not None, f"{self.name} follows from other systems' answers"
        return self.builder(self.name, materials)


SYSTEMS: dict[str, SystemEntry] = {}
"""Every system, by name, in the order of tables."""


def system(
    name: str, *, title: str, reference: str, needs: Sequence[Need] = (), kind: Kind
) -> Callable[[Build], Build]:
    """Register a system: decorates the function that builds it; see `SystemEntry`."""

    def register(builder: Build) -> Build:
        SYSTEMS[name] = SystemEntry(name, title, reference, frozenset(needs), kind, builder)
        return builder

    return register


@system("receiver", title="Receiver alone", reference=C2C, kind="model")
def _receiver(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.alone import Receiver

    return Receiver(name, materials.pair)


@system("sharer", title="Sharer alone", reference=C2C, needs=["sharer"], kind="model")
def _sharer(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.alone import Sharer

    return Sharer(name, materials.pair)


@system(
    "text_relay",
    title="Text relay",
    reference=f"{C2C}, text-to-text, appendix",
    needs=["sharer"],
    kind="system",
)
def _text_relay(name: str, materials: Materials) -> System:
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
def _text_relay_answer(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.relay import ADVICE
    from c2c_search.evaluation.systems.relay import Relay

    return Relay(name, materials.pair, ADVICE)


SYSTEMS["routing"] = SystemEntry(
    "routing",
    title="Routing",
    reference=f"{C2C}, query-level routing; here by confidence",
    needs=frozenset(["sharer"]),
    kind="system",
    builder=None,
)


@system("c2c", title="C2C", reference=C2C, needs=["sharer", "fuser"], kind="system")
def _c2c(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.c2c import Fused

    return Fused(name, materials.fused(materials.fuser))


@system(
    "few_shot",
    title="Receiver, few-shot",
    reference=f"{C2C}, section 3.2",
    needs=["exemplars"],
    kind="control",
)
def _few_shot(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.exemplars import FewShot

    return FewShot(name, materials.pair, materials.exemplars)


@system(
    "oracle",
    title="Oracle",
    reference=f"{C2C}, section 3.2",
    needs=["exemplars"],
    kind="control",
)
def _oracle(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.exemplars import Oracle

    return Oracle(name, materials.pair, materials.exemplars)


@system(
    "no_sharer",
    title="No-sharer fuser",
    reference="a fuser trained on a blank sharer, this project",
    needs=["sharer", "trial"],
    kind="control",
)
def _no_sharer(name: str, materials: Materials) -> System:
    return _trained(name, materials)


@system(
    "mismatched",
    title="Mismatched sharer",
    reference="a sharer that reads another item, this project",
    needs=["sharer", "fuser"],
    kind="control",
)
def _mismatched(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.c2c import Fused

    return Fused(name, materials.fused(materials.fuser), mismatched=True)


@system(
    "random",
    title="Random fuser",
    reference="the fuser with its weights shuffled, this project",
    needs=["sharer", "fuser"],
    kind="control",
)
def _random(name: str, materials: Materials) -> System:
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
def _shut(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.c2c import Fused
    from c2c_search.evaluation.systems.c2c import Shut

    return Fused(name, materials.fused(materials.fuser, Shut))


@system(
    "ridge",
    title="Ridge map",
    reference="closed-form ridge, arXiv 2608.03893",
    needs=["sharer", "trial"],
    kind="control",
)
def _ridge(name: str, materials: Materials) -> System:
    return _trained(name, materials)


@system(
    "lora",
    title="LoRA on the receiver",
    reference="LoRA (arXiv 2106.09685), of the fuser's size",
    needs=["trial"],
    kind="control",
)
def _lora(name: str, materials: Materials) -> System:
    from c2c_search.evaluation.systems.alone import Adapted

    assert materials.adapted is not None
    return Adapted(name, materials.pair, materials.adapted)


def _trained(name: str, materials: Materials) -> System:
    """A fuser that was trained as a control."""
    from c2c_search.evaluation.systems.c2c import Fused

    return Fused(name, materials.fused((materials.trained or {}).get(name)))
