"""Evaluation room: text relay, where the sharer writes and the receiver reads what it wrote."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2c_search.evaluation.scoring import model_alone
from c2c_search.evaluation.systems.passes import Pass
from c2c_search.evaluation.systems.passes import PassByPass
from c2c_search.evaluation.systems.passes import encode_alone
from c2c_search.evaluation.systems.passes import read_alone
from c2c_search.pair.prompts import Message


if TYPE_CHECKING:
    from c2c_search.evaluation.systems.reading import Reading
    from c2c_search.inference.model import C2CModel


@dataclass(frozen=True)
class RelayPrompt:
    """What is said around the words that are relayed.

    Args:
        sharer: What the sharer is asked, with ``{question}`` in it.
        receiver: What the receiver is asked, with ``{text}`` and ``{question}`` in it.
    """

    sharer: str
    receiver: str


BACKGROUND = RelayPrompt(
    sharer=(
        "In one clear sentence, describe the most essential background knowledge needed to answer "
        "the question: {question} Do NOT directly solve or give answer to the question."
    ),
    receiver="Background: {text}\n\n{question}",
)
"""Text-to-text communication as C2C compares itself with (arXiv 2510.03215, appendix)."""

ADVICE = RelayPrompt(
    sharer="{question}\n\nAnswer in one clear sentence, with the reason.",
    receiver="Somebody else answers: {text}\n\n{question}",
)
"""The sharer may say what it thinks, which the published prompt forbids; this project."""


class Relay(PassByPass):
    """The sharer writes greedily, and the receiver reads that before the question.

    The published code shows the receiver the sharer's whole prompt as an earlier turn; here it
    reads the relayed words alone, so that nothing is handed over that only the sharer was given.

    Args:
        name: In `SYSTEMS`.
        pair: Receiver and sharer.
        prompt: What both are asked.
        max_new_tokens: Where the sharer is cut.
    """

    def __init__(
        self, name: str, pair: C2CModel, prompt: RelayPrompt, *, max_new_tokens: int = 64
    ) -> None:
        super().__init__(name)
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.sharer = model_alone(pair, pair.sharer)
        self.receiver = model_alone(pair, pair.receiver)

    def passes(self, reading: Reading) -> Iterator[Pass]:
        self._relay(reading)
        told = []
        for question in reading.questions:
            place, asked = _question(question.messages)
            words = self.prompt.receiver.format(text=self.heard[question.item.id], question=asked)
            before, after = question.messages[:place], question.messages[place + 1 :]
            told.append([*before, Message(role="user", content=words), *after])
        yield from read_alone(reading, self.receiver, encode_alone(self.receiver, told))

    def _relay(self, reading: Reading) -> None:
        """Ask the sharer, and keep what it says."""
        sharer = self.sharer
        asked = []
        for question in reading.questions:
            _, words = _question(question.sharer_messages or question.messages)
            content = self.prompt.sharer.format(question=words)
            asked.append([Message(role="user", content=content)])
        chat = sharer.template == "chat" and sharer.receiver.text_tokenizer.chat_template
        for each in read_alone(reading, sharer, encode_alone(sharer, asked)):
            # The plain template is written in lines: the next line is another question.
            written = sharer.write(
                each.batch, max_new_tokens=self.max_new_tokens, stop=() if chat else ("\n",)
            )
            for row, (text, _) in zip(each.rows, written, strict=True):
                self.heard[reading.questions[row].item.id] = text.strip()


def _question(messages: Sequence[Message]) -> tuple[int, str]:
    """The last thing the user says: which message it is, and its words."""
    said = [place for place, message in enumerate(messages) if message["role"] == "user"]
    return said[-1], messages[said[-1]]["content"]
