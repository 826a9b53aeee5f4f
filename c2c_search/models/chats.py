"""Models that are to read chats and have no template to write one in: told, never silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from c2c_search.models.at_hand import folder_at_hand
from c2c_search.models.identity import stored_chat_template
from c2c_search.tokenization.templates import PairTemplate
from c2c_search.tokenization.templates import Role
from c2c_search.tokenization.templates import lacks_chat_template
from c2c_search.tokenization.templates import template_of


if TYPE_CHECKING:
    from c2c_search.models.loading import LoadedModel

_ROLES: tuple[Role, ...] = ("receiver", "sharer")


def chat_notices(
    template: PairTemplate, receiver: LoadedModel, sharer: LoadedModel | None = None
) -> Iterator[str]:
    """Say of each model that is to read chats, and has no chat template, what it reads instead.

    Args:
        template: Of both roles, or of each.
        receiver: A model that answers.
        sharer: One that speaks, if there is one.
    """
    for role, loaded in zip(_ROLES, (receiver, sharer), strict=True):
        of_role = template_of(template, role)
        if loaded is not None and lacks_chat_template(of_role, loaded.text_tokenizer):
            yield _told(role, loaded.identity.source)


def chat_notices_at_hand(template: PairTemplate, receiver: str, sharer: str) -> Iterator[str]:
    """The same of models that are on this machine, by their sources; nothing is loaded."""
    for role, source in zip(_ROLES, (receiver, sharer), strict=True):
        folder = folder_at_hand(source) if template_of(template, role) == "chat" else None
        if folder is not None and stored_chat_template(folder) is None:
            yield _told(role, source)


def _told(role: Role, source: str) -> str:
    other = "sharer" if role == "receiver" else "receiver"
    return (
        f"The {role} {source} has no chat template: it reads plain lines (Question: ..., "
        f"Answer:). Say so with a template for each role, {role}: plain and {other}: chat, or "
        "choose an instructed model."
    )
