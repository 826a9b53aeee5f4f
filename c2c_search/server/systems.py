"""What answers under which name: a champion, its two models alone, and text relay."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Protocol

from c2c_search.evaluation.systems.relay import BACKGROUND
from c2c_search.inference.doubt import doubt_of_words
from c2c_search.inference.generation_settings import GenerationSettings
from c2c_search.inference.listening import ConfidentModel
from c2c_search.inference.model import model_alone
from c2c_search.server.failures import ApiError
from c2c_search.server.writing import Heard
from c2c_search.server.writing import Prompt
from c2c_search.server.writing import Wanted
from c2c_search.server.writing import Written


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel
    from c2c_search.server.group import Group


_RELAYED_TOKENS = 64


@dataclass(frozen=True)
class Part:
    """One decoding of a system's answer.

    Args:
        group: Whose.
        wanted: What is decoded.
        told: Whether its words are the answer's, and told as they come.
    """

    group: Group
    wanted: Wanted
    told: bool = True


Parts = Generator[Part, Written, Written]
"""Yields what is to be decoded, is sent what was written, and returns the answer."""


class System(Protocol):
    """Something that answers."""

    @property
    def model(self) -> C2CModel:
        """What reads the prompt first."""

    def answer(self, wanted: Wanted) -> Parts:
        """The parts of an answer."""


@dataclass(frozen=True)
class Direct:
    """A pair, or a model alone, which answers what it is asked."""

    group: Group

    @property
    def model(self) -> C2CModel:
        """What answers."""
        return self.group.model

    def answer(self, wanted: Wanted) -> Parts:
        """One part."""
        return (yield Part(self.group, wanted))


@dataclass(frozen=True)
class Confident:
    """A champion that asks its sharer only where the receiver alone is unsure.

    Args:
        receiver: The receiver alone.
        pair: Both.
        limit: Of the receiver's doubt, below which the sharer is not asked.
    """

    receiver: Group
    pair: Group
    limit: float

    @property
    def model(self) -> C2CModel:
        """What answers."""
        return self.pair.model

    def answer(self, wanted: Wanted) -> Parts:
        """The receiver's own greedy answer, and the pair's where that is in doubt."""
        if wanted.echo is not None:  # a text is scored as offline: by both
            return (yield Part(self.pair, wanted))
        greedy = replace(wanted, settings=wanted.settings.greedy())
        alone = yield Part(self.receiver, greedy, told=False)
        if doubt_of_words(alone.likelihood) >= self.limit:
            return replace((yield Part(self.pair, wanted)), listened=True)
        if wanted.settings.samples:
            alone = yield Part(self.receiver, wanted)
        return replace(alone, listened=False)


@dataclass(frozen=True)
class TextRelay:
    """The sharer writes background, the receiver reads it before the question."""

    sharer: Group
    receiver: Group

    @property
    def model(self) -> C2CModel:
        """What answers."""
        return self.receiver.model

    def answer(self, wanted: Wanted) -> Parts:
        """What the sharer writes, then the receiver's answer."""
        if not wanted.prompt.turns:
            raise ApiError(
                400,
                "Text relay answers a conversation: use /v1/chat/completions.",
                param="model",
                code="unsupported_value",
            )
        theirs = wanted.prompt.sharer_turns or wanted.prompt.turns
        settings = GenerationSettings(max_new_tokens=_RELAYED_TOKENS)
        asked = Wanted(Prompt(turns=tuple(BACKGROUND.ask(theirs))), settings)
        said = yield Part(self.sharer, asked, told=False)
        told = BACKGROUND.tell(wanted.prompt.turns, said.text)
        answer = yield Part(self.receiver, replace(wanted, prompt=Prompt(turns=tuple(told))))
        return replace(answer, heard=Heard(said.text, None)) if wanted.heard else answer


def systems_of(name: str, model: C2CModel, group: GroupMaker) -> dict[str, System]:
    """All that answers with a champion's models, by name.

    Args:
        name: Of the champion.
        model: It.
        group: Makes a group of a model.
    """
    receiver = group(model_alone(model, model.receiver, "receiver"))
    sharer = group(model_alone(model, model.sharer, "sharer"))
    pair = group(model)
    champion: System = Direct(pair)
    if isinstance(model, ConfidentModel):
        champion = Confident(receiver, pair, model.limits.words)
    return {
        name: champion,
        f"{name}/receiver": Direct(receiver),
        f"{name}/sharer": Direct(sharer),
        f"{name}/text-relay": TextRelay(sharer, receiver),
    }


class GroupMaker(Protocol):
    """Makes a group of a model."""

    def __call__(self, model: C2CModel) -> Group: ...
