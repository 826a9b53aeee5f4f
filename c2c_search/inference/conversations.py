"""What a model is asked: a question, a conversation, or several of either."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from c2c_search.errors import ConfigError
from c2c_search.tokenization.templates import Message
from c2c_search.tokenization.templates import asked


Conversation = str | Sequence[Message]
"""One question, or the turns of a conversation."""


@dataclass(frozen=True)
class Asked:
    """Conversations, and whether there was one alone, which is answered by one answer.

    Args:
        conversations: The turns of each.
        single: Whether it was asked by itself.
    """

    conversations: list[list[Message]]
    single: bool

    @classmethod
    def read(cls, given: Conversation | Sequence[Conversation]) -> Asked:
        """Tell one question from several, and one conversation from several.

        Raises:
            ConfigError: It is none of these, or nothing is asked.
        """
        if isinstance(given, str) or _is_conversation(given):
            return cls([turns(given)], single=True)
        if not isinstance(given, Sequence) or not given:
            raise _refused(given)
        return cls([turns(each) for each in given], single=False)


def turns(conversation: Any) -> list[Message]:
    """The turns of one conversation, or a question as the only one.

    Raises:
        ConfigError: It is no conversation, or does not end with what is to be answered.
    """
    if isinstance(conversation, str):
        return asked(conversation)
    if not _is_conversation(conversation):
        raise _refused(conversation)
    found: list[Message] = []
    for turn in conversation:
        role, content = turn.get("role"), turn.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise ConfigError(
                "A turn of a conversation has a role and a content, both texts.",
                value=turn,
                hint="For example {'role': 'user', 'content': 'Where is Timbuktu?'}.",
            )
        found.append(Message(role=role, content=content))
    if found[-1]["role"] == "assistant":
        raise ConfigError(
            "A conversation ends with what is to be answered, not with an answer.",
            value=found[-1],
            hint="Add the user's next turn.",
        )
    return found


def options_of(asked: Asked, options: Sequence[str] | Sequence[Sequence[str]]) -> list[list[str]]:
    """The options of each conversation.

    Args:
        asked: The conversations.
        options: Texts of the only one, or of each.

    Raises:
        ConfigError: They are not some texts for each conversation.
    """
    of_each: Sequence[Any] = [options] if asked.single else options
    found = [[*texts] for texts in of_each if not isinstance(texts, str)]
    whole = len(found) == len(of_each) == len(asked.conversations)
    if not whole or any(
        not texts or not all(isinstance(text, str) for text in texts) for texts in found
    ):
        raise ConfigError(
            "Options are a list of texts, or one list for each prompt of several.",
            value=options,
            hint="For example score('Where is Timbuktu?', ['Mali', 'Chad']).",
        )
    return found


def _is_conversation(given: Any) -> bool:
    return (
        isinstance(given, Sequence)
        and not isinstance(given, str)
        and len(given) > 0
        and all(isinstance(turn, Mapping) for turn in given)
    )


def _refused(given: Any) -> ConfigError:
    return ConfigError(
        "A model is asked a question, a conversation, or a list of either.",
        value=given,
        hint="A conversation is a list of turns such as {'role': 'user', 'content': '...'}.",
    )
