"""A system's row in the register: how it is built, what it needs and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Literal
from typing import TypeVar

from c2c_search import system_names
from c2c_search.config.trial import TrialConfig
from c2c_search.plugins import Register


if TYPE_CHECKING:
    import torch

    from c2c_search.evaluation.results import SystemResult
    from c2c_search.evaluation.systems.system import System
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.templates import Message


Kind = Literal["model", "system", "control"]
"""One model alone; what is proposed and what it competes with; what explains its success away."""

Need = Literal["sharer", "fuser", "exemplars", "trial", "others"]
"""A second model, a fuser, examples with answers, how the fuser was trained, other questions."""

Learner = Literal["fuser", "lora", "cartridge"]
"""What learns: a fuser between both models, or on the receiver alone LoRA or a KV prefix."""

SUBJECT = "c2c"
"""The system that is evaluated; the others are what it is compared with."""

DERANGED = "deranged"
"""The same fuser with other items' messages: what it then still knows, nobody has told it."""


@dataclass(frozen=True)
class Materials:
    """What systems are made of; each takes what it needs.

    Args:
        pair: Receiver and sharer, without a fuser.
        fuser: What is evaluated.
        exemplars: Questions with their answers, a user's turn and an assistant's each.
        trained: What was trained for this very system: a fuser, the receiver with LoRA in it, or
            a KV prefix of the receiver, ``(2, layers, entries, size)``.
        seed: Of what is random.
        derangements: How often a question hears another item's message, each time another's.
    """

    pair: C2CModel
    fuser: Fuser | None = None
    exemplars: Sequence[tuple[Message, Message]] = ()
    trained: Fuser | LoadedModel | torch.Tensor | None = None
    seed: int = 0
    derangements: int = 1

    def fused(self, fuser: Fuser | None, kind: type[C2CModel] | None = None) -> C2CModel:
        """The pair with a fuser, on the models that are loaded already."""
        from c2c_search.evaluation.scoring import with_fuser
        from c2c_search.inference.model import C2CModel

        assert fuser is not None, "a system that needs a fuser"
        return with_fuser(self.pair, fuser.eval(), kind or C2CModel)


Build = Callable[[str, Materials], "System"]
"""Makes a system of its name and materials."""


def _unchanged(trial: TrialConfig) -> TrialConfig:
    return trial


@dataclass(frozen=True)
class Recipe:
    """How a system is trained: as the fuser that is evaluated was, but for what is named here.

    Args:
        learner: What learns, on the trial's data, for its steps, with its seed.
        variant: From the trial's configuration to the system's own.
    """

    learner: Learner = "fuser"
    variant: Callable[[TrialConfig], TrialConfig] = _unchanged


@dataclass(frozen=True)
class Derivation:
    """How a system's answers follow from those of others, without computing anything.

    Args:
        of: Those systems.
        fit: From their answers on the selection split to a number to answer with.
        derive: From their answers on a split and that number (0 where there is no selection
            split) to the system's own.
    """

    of: tuple[str, ...]
    fit: Callable[..., float]
    derive: Callable[..., SystemResult]


@dataclass(frozen=True)
class SystemEntry:
    """A system, before it is built.

    Args:
        name: As in ``--systems`` and in a pipeline's ``champion.controls``.
        title: As in tables.
        suffix: What reports put behind a finalist's name.
        reference: The paper it comes from.
        needs: What it cannot be built without, beside a receiver.
        kind: What it is there for.
        builder: None where its answers follow from those of others.
        recipe: None where nothing is trained.
        derivation: None where it answers itself.
    """

    name: str
    title: str
    suffix: str
    reference: str
    needs: frozenset[Need]
    kind: Kind
    builder: Build | None = None
    recipe: Recipe | None = None
    derivation: Derivation | None = None

    def build(self, materials: Materials) -> System:
        """The system, ready to answer."""
        assert self.builder is not None, f"{self.name} follows from other systems' answers"
        return self.builder(self.name, materials)

    @property
    def no_control(self) -> str | None:
        """Why a finalist cannot be measured against it; None if it can."""
        if self.kind == "model":
            return "every model of a study is a control already"
        if self.name == SUBJECT or (self.derivation and SUBJECT in self.derivation.of):
            return "this is the finalist itself"
        if "exemplars" in self.needs:
            return "it needs worked examples, which a study has none of"
        return None


SYSTEMS: Register[SystemEntry] = system_names.SYSTEMS
"""Every system, by name, in the order of tables."""

_Builder = TypeVar("_Builder", bound=Build)
_Derive = TypeVar("_Derive", bound="Callable[..., SystemResult]")


def system(
    name: str,
    *,
    title: str,
    reference: str,
    kind: Kind,
    needs: Sequence[Need] = (),
    recipe: Recipe | None = None,
    suffix: str | None = None,
) -> Callable[[_Builder], _Builder]:
    """Register a system: decorates its class, or a function, called with name and materials.

    Args:
        name: See `SystemEntry`, as for the others.
        title: In tables.
        reference: Paper or project.
        kind: Its purpose.
        needs: What it is built from.
        recipe: How it is trained, if it is.
        suffix: The name in words when left out.
    """

    def register(builder: _Builder) -> _Builder:
        entry = SystemEntry(
            name=name,
            title=title,
            suffix=suffix or name.replace("_", " "),
            reference=reference,
            needs=frozenset(needs),
            kind=kind,
            builder=builder,
            recipe=recipe,
        )
        SYSTEMS.add(name, builder, entry)
        return builder

    return register


def derived_system(
    name: str,
    *,
    title: str,
    reference: str,
    kind: Kind,
    of: tuple[str, ...],
    fit: Callable[..., float],
    needs: Sequence[Need] = (),
) -> Callable[[_Derive], _Derive]:
    """Register a system that follows from others: decorates a `Derivation`'s ``derive``."""

    def register(derive: _Derive) -> _Derive:
        entry = SystemEntry(
            name=name,
            title=title,
            suffix=name.replace("_", " "),
            reference=reference,
            needs=frozenset(needs),
            kind=kind,
            derivation=Derivation(of, fit, derive),
        )
        SYSTEMS.add(name, derive, entry)
        return derive

    return register
