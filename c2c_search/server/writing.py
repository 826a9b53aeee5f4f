"""One answer while it is written: its next token, its words so far, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.answering import AnswerWriter
from c2c_search.inference.sampling import Stops
from c2c_search.tokenization.templates import LINES


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from c2c_search.inference.generation_settings import GenerationSettings
    from c2c_search.inference.message_effect import MessageEffect
    from c2c_search.inference.model import C2CModel
    from c2c_search.tokenization.templates import Message


_INCOMPLETE = "\ufffd"  # what a part of a letter's bytes decodes to


@dataclass(frozen=True)
class Prompt:
    """What is to be answered.

    Args:
        turns: A conversation, which both models read in their templates; or
        ids: the receiver's token ids, which are gone on from as they are.
        sharer_turns: What the sharer reads instead.
    """

    turns: tuple[Message, ...] = ()
    ids: tuple[int, ...] = ()
    sharer_turns: tuple[Message, ...] | None = None

    @property
    def key(self) -> object:
        """The same for the same prompt."""
        turns, theirs = (
            None if each is None else tuple((turn["role"], turn["content"]) for turn in each)
            for each in (self.turns, self.sharer_turns)
        )
        return turns, self.ids, theirs


@dataclass(frozen=True)
class Echo:
    """A text that stands behind a prompt, and is to be scored instead of an answer.

    Args:
        ids: The receiver's tokens of it.
        goes_on: Whether the likeliest token behind it is wanted too.
    """

    ids: tuple[int, ...]
    goes_on: bool


@dataclass(frozen=True)
class Wanted:
    """An answer that is to be written, or a text that is to be scored.

    Args:
        prompt: What is answered.
        settings: How.
        seed: Of what is drawn.
        top: Likeliest tokens that are told beside each one.
        echo: What is scored instead.
        heard: Whether to tell what the receiver has heard.
    """

    prompt: Prompt
    settings: GenerationSettings
    seed: int = 0
    top: int = 0
    echo: Echo | None = None
    heard: bool = False

    @property
    def behind(self) -> int:
        """Most tokens that may come to stand behind the prompt."""
        if self.echo is None:
            return self.settings.most(0)
        return len(self.echo.ids) + self.echo.goes_on


@dataclass(frozen=True)
class ToldToken:
    """A token of an answer.

    Args:
        id: Its number.
        text: In words.
        likelihood: Its log-probability (nats), before anything is penalised or left out; None of
            a text's token that nothing stands before, or that belongs to the message.
        top: The likeliest tokens there, in words, with theirs.
    """

    id: int
    text: str
    likelihood: float | None
    top: tuple[tuple[str, float], ...]

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerFast,
        token: int,
        likelihood: float | None,
        top: Iterable[tuple[int, float]] = (),
    ) -> ToldToken:
        """A token and the likeliest ones there by their numbers, put into words."""
        named = tuple((str(tokenizer.decode([each])), value) for each, value in top)
        return cls(token, str(tokenizer.decode([token])), likelihood, named)


@dataclass(frozen=True)
class Heard:
    """What the receiver has heard of the sharer.

    Args:
        text: In words: the sharer's draft, or what it was made to say; None where it has written
            nothing.
        effect: What each token of its message did; None where there is none, or it is too long.
        words: That it has read as text (`FuserConfig.anchors`); None without any.
    """

    text: str | None
    effect: MessageEffect | None
    words: str | None = None


@dataclass
class Written:
    """What has been written.

    Args:
        prompt_tokens: That the receiver read.
        text: The answer.
        tokens: All of it, the one that ended it included.
        reason: ``stop`` where it ended by itself, ``length`` where it was cut.
        listened: Whether the sharer was asked; None where nobody decides on that.
        echoed: Of its tokens, those in front that were given and not written.
        heard: What the receiver has heard, where that was asked and it has.
    """

    prompt_tokens: int
    text: str = ""
    tokens: list[ToldToken] = field(default_factory=list)
    reason: str = "stop"
    listened: bool | None = None
    echoed: int = 0
    heard: Heard | None = None

    @property
    def new_tokens(self) -> int:
        """Tokens that were written."""
        return len(self.tokens) - self.echoed

    @property
    def likelihood(self) -> float:
        """Mean log-probability (nats) of its tokens; 0 where nothing was written."""
        total = sum(token.likelihood or 0.0 for token in self.tokens)
        return total / max(len(self.tokens), 1)


Tell = Callable[[str, Sequence[ToldToken]], None]
"""Called with words that have come, and the tokens that came since the last call."""


class Writing:
    """An answer in the making.

    Args:
        model: What answers.
        wanted: The answer.
        ids: The receiver's tokens of the prompt.
        tell: Told words as soon as it is clear that they belong to the answer.
    """

    def __init__(self, model: C2CModel, wanted: Wanted, ids: Sequence[int], tell: Tell) -> None:
        settings, of_turns = wanted.settings, bool(wanted.prompt.turns)
        self._tokenizer = model.receiver.text_tokenizer
        self._ends = settings.ends(model.receiver)
        lines = LINES[model.receiver_template] if of_turns else ()
        self._stops = Stops(self._tokenizer, (*lines, *settings.stops))
        rules = settings.rules([ids], [wanted.seed], device=model.device, ends=self._ends)
        self._writer = AnswerWriter(rules, 1, None)
        self._strips = of_turns  # text that is gone on from keeps its white space
        self._most = settings.most(len(ids))
        self._top, self._tell = wanted.top, tell
        self._ids: list[int] = []
        self._said, self._untold = "", 0
        self.written = Written(len(ids))

    def take(self, logits: torch.Tensor) -> int | None:
        """Choose the next token, and say what can be said.

        Args:
            logits: Of the next token, ``(1, vocabulary)``.

        Returns:
            The token; None where the answer has ended.
        """
        (token,) = self._writer.choose([0], logits)
        self.written.tokens.append(self._told(token, logits))
        if token in self._ends:
            self._finish("stop")
            return None
        self._ids.append(token)
        hit = self._stops.hit(self._ids)
        if hit or len(self._ids) >= self._most:
            self._finish("stop" if hit else "length")
            return None
        text = self._stops.decode(self._ids)
        if not text.endswith(_INCOMPLETE) and not self._stops.may_begin(text):
            self._say(text)
        return token

    def _finish(self, reason: str) -> None:
        self._writer.likelihoods()  # raises if one is no number
        text = self._stops.before(self._ids)
        self.written.text = text.strip() if self._strips else text
        self.written.reason = reason
        self._say(self.written.text, last=True)

    def _say(self, text: str, *, last: bool = False) -> None:
        text = text.strip() if self._strips else text
        fresh = text[len(self._said) :] if text.startswith(self._said) else ""
        if not fresh and not last:
            return
        tokens = self.written.tokens[self._untold :]
        self._said, self._untold = self._said + fresh, len(self.written.tokens)
        self._tell(fresh, tokens)

    def _told(self, token: int, logits: torch.Tensor) -> ToldToken:
        likelihood = float(self._writer.steps[-1])
        top: list[tuple[int, float]] = []
        if self._top:
            best = logits[0].float().log_softmax(dim=-1).topk(self._top)
            top = [*zip(best.indices.tolist(), best.values.tolist(), strict=True)]
        return ToldToken.of(self._tokenizer, token, likelihood, top)
