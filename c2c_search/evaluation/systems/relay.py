"""Text relay, where the sharer writes and the receiver reads what it wrote."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2c_search.evaluation.systems.passes import Pass
from c2c_search.evaluation.systems.passes import PassByPass
from c2c_search.evaluation.systems.passes import encode_alone
from c2c_search.evaluation.systems.passes import read_alone
from c2c_search.evaluation.systems.passes import reads_plain
from c2c_search.inference.model import model_alone
from c2c_search.tokenization.templates import LINES
from c2c_search.tokenization.templates import Message


if TYPE_CHECKING:
    from c2c_search.evaluation.systems.prompts import QuestionPrompts
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

    def ask(self, messages: Sequence[Message]) -> list[Message]:
        """What the sharer is asked about the last thing that the user says."""
        words = messages[_last_of_user(messages)]["content"]
        return [Message(role="user", content=self.sharer.format(question=words))]

    def tell(self, messages: Sequence[Message], text: str) -> list[Message]:
        """The conversation with the relayed text before the last thing that the user says."""
        last = _last_of_user(messages)
        words = self.receiver.format(text=text, question=messages[last]["content"])
        return [*messages[:last], Message(role="user", content=words), *messages[last + 1 :]]


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
        self.sharer = model_alone(pair, pair.sharer, "sharer")
        self.receiver = model_alone(pair, pair.receiver, "receiver")

    def passes(self, prompts: QuestionPrompts) -> Iterator[Pass]:
        self._relay(prompts)
        told = [
            self.prompt.tell(question.messages, self.heard[question.item.id])
            for question in prompts.questions
        ]
        yield from read_alone(prompts, self.receiver, encode_alone(self.receiver, told))

    def _relay(self, prompts: QuestionPrompts) -> None:
        """Ask the sharer, and keep what it says."""
        sharer = self.sharer
        asked = [
            self.prompt.ask(question.sharer_messages or question.messages)
            for question in prompts.questions
        ]
        plain = reads_plain(sharer)
        for each in read_alone(prompts, sharer, encode_alone(sharer, asked)):
            # The plain template is written in lines: the next line is another question.
            written = sharer.write(
                each.batch,
                max_new_tokens=self.max_new_tokens,
                stop=LINES["plain"] if plain else (),
            )
            for row, (text, _) in zip(each.rows, written, strict=True):
                self.heard[prompts.questions[row].item.id] = text.strip()


def _last_of_user(messages: Sequence[Message]) -> int:
    return max(index for index, message in enumerate(messages) if message["role"] == "user")
