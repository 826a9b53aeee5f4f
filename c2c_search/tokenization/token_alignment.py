"""Which sharer token stands for each receiver token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from c2c_search.errors import DataError
from c2c_search.tokenization.alignments import TOKEN_ALIGNMENTS
from c2c_search.tokenization.alignments import AlignmentFunction
from c2c_search.tokenization.alignments import first_token
from c2c_search.tokenization.alignments import longest_token
from c2c_search.tokenization.alignments import token_alignment
from c2c_search.tokenization.one_to_one import synthesize
from c2c_search.tokenization.spans import AlignedTokens
from c2c_search.tokenization.spans import Integers
from c2c_search.tokenization.spans import TokenizedPrompt
from c2c_search.tokenization.spans import read_all
from c2c_search.tokenization.spans import segment_ends
from c2c_search.tokenization.templates import Message
from c2c_search.tokenization.templates import Rendered
from c2c_search.tokenization.templates import RoleTemplates
from c2c_search.tokenization.templates import Template
from c2c_search.tokenization.templates import render_all
from c2c_search.tokenization.templates import template_of
from c2c_search.tokenization.vocabulary import translate


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as both models read it.

    Args:
        receiver_ids: The receiver's tokens.
        sharer_ids: What the sharer reads: the same prompt by its own tokenization (``span``), or
            made from the receiver's tokens (``first``, ``longest``).
        alignment: For each receiver token, the position of its sharer token.
        receiver_text: What the receiver reads; None where it is given as token ids.
        sharer_text: What the sharer reads by its own tokenization.
        drafted: Of the sharer's tokens, so many at the end are its draft of the answer.
        anchored: Where, among the receiver's tokens, words of the sharer begin and end; None
            where nobody has looked for any.
    """

    receiver_ids: tuple[int, ...]
    sharer_ids: tuple[int, ...]
    alignment: tuple[int, ...]
    receiver_text: Rendered | None = field(default=None, compare=False, repr=False)
    sharer_text: Rendered | None = field(default=None, compare=False, repr=False)
    drafted: int = 0
    anchored: tuple[int, int] | None = None

    @property
    def anchors(self) -> tuple[int, ...]:
        """Words of the sharer among the receiver's tokens; empty where there are none."""
        return () if self.anchored is None else self.receiver_ids[slice(*self.anchored)]

    def with_anchors(self, at: int, ids: Sequence[int]) -> EncodedPrompt:
        """The same where the receiver reads words of the sharer before its token ``at``.

        They are aligned as the token before them, if any: no map is ever fitted on them.
        """
        ours, told = self.receiver_ids, self.alignment
        like = told[at - 1] if at else 0
        return replace(
            self,
            receiver_ids=(*ours[:at], *ids, *ours[at:]),
            alignment=(*told[:at], *[like] * len(ids), *told[at:]),
            anchored=(at, at + len(ids)),
        )

    @property
    def draft(self) -> tuple[int, ...]:
        """The sharer's draft; empty where there is none."""
        return self.sharer_ids[len(self.sharer_ids) - self.drafted :]

    def with_draft(self, ids: Sequence[int]) -> EncodedPrompt:
        """The same where the sharer reads on, a draft of its own or one that is given."""
        return replace(self, sharer_ids=(*self.sharer_ids, *ids), drafted=len(ids))

    def of_receiver(self) -> EncodedPrompt:
        """The same for a receiver that is its own sharer."""
        ids, text = self.receiver_ids, self.receiver_text
        return EncodedPrompt(ids, ids, tuple(range(len(ids))), text, text)


def encode(
    messages: Sequence[Message],
    template: Template | RoleTemplates,
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
    alignment: str = "span",
    *,
    date: str | None = None,
) -> EncodedPrompt:
    """Tokenize a prompt for both models and align their tokens; see `encode_all`."""
    return encode_all([messages], template, receiver, sharer, alignment, date=date)[0]


def encode_all(
    conversations: Sequence[Sequence[Message]],
    template: Template | RoleTemplates,
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
    alignment: str = "span",
    sharer_conversations: Sequence[Sequence[Message] | None] | None = None,
    *,
    date: str | None = None,
    sharer_template: Template | None = None,
) -> tuple[EncodedPrompt, ...]:
    """Tokenize prompts for both models and align their tokens.

    Args:
        conversations: What the receiver reads.
        template: Of both roles, or of each.
        alignment: A name in `TOKEN_ALIGNMENTS`.
        sharer_conversations: What the sharer reads by its own tokenization, if it is something
            else; None where it is not. If it is for any prompt, the tokens of all are matched by
            their distance from both ends, not by ``alignment``.
        date: The day that dated chat templates write; see `render`.
        sharer_template: Of what the sharer reads; ``template`` when left out.

    Raises:
        ConfigError: There is no such alignment.
        DataError: A prompt has no token for one of the models, or a chat template refuses it.
    """
    align, others = TOKEN_ALIGNMENTS[alignment].align, conversations
    if sharer_conversations is not None and any(sharer_conversations):
        align = _from_both_ends
        pairs = zip(conversations, sharer_conversations, strict=True)
        others = [theirs or ours for ours, theirs in pairs]
    return _encode(
        render_all(conversations, template_of(template, "receiver"), receiver, date),
        render_all(others, sharer_template or template_of(template, "sharer"), sharer, date),
        receiver,
        sharer,
        align,
    )


def encode_rendered(
    receivers: Sequence[Rendered],
    sharers: Sequence[Rendered],
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
    alignment: str = "span",
) -> tuple[EncodedPrompt, ...]:
    """Tokenize prompts that are written out already, and align their tokens.

    Args:
        receivers: What the receiver reads.
        sharers: The same prompts as the sharer reads them, with as many contents each.
        alignment: A name in `TOKEN_ALIGNMENTS`.

    Raises:
        ConfigError: There is no such alignment.
        DataError: A prompt has no token for one of the models.
    """
    return _encode(receivers, sharers, receiver, sharer, TOKEN_ALIGNMENTS[alignment].align)


def _encode(
    receivers_rendered: Sequence[Rendered],
    sharers_rendered: Sequence[Rendered],
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
    align: AlignmentFunction,
) -> tuple[EncodedPrompt, ...]:
    receivers = read_all(receivers_rendered, receiver)
    sharers = read_all(sharers_rendered, sharer)
    aligned = align(receivers, sharers, receiver, sharer)
    for prompt, (ids, _) in zip(receivers, aligned, strict=True):
        if not ids or not prompt.tokens.ids:
            raise DataError(
                "A prompt must have at least one token for both models.",
                value=prompt.rendered.text,
                hint=f"It has none for the {'receiver' if ids else 'sharer'}: leave the prompt"
                " out, or choose a model that knows its script.",
            )
    return tuple(
        EncodedPrompt(
            tuple(ours.tokens.ids), tuple(ids), tuple(alignment), ours.rendered, theirs.rendered
        )
        for ours, theirs, (ids, alignment) in zip(receivers, sharers, aligned, strict=True)
    )


@token_alignment("span", reference="character spans, this project")
def span(
    receivers: Sequence[TokenizedPrompt],
    sharers: Sequence[TokenizedPrompt],
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
) -> list[AlignedTokens]:
    """The sharer reads its own tokens; see `span_alignment`."""
    return [
        AlignedTokens(
            theirs.tokens.ids,
            span_alignment(ours.rendered, ours.tokens.spans, theirs.rendered, theirs.tokens.spans),
        )
        for ours, theirs in zip(receivers, sharers, strict=True)
    ]


@token_alignment(
    "first",
    reference="C2C (arXiv 2510.03215), `AlignmentStrategy.FIRST`",
    response=first_token,
)
def first(
    receivers: Sequence[TokenizedPrompt],
    sharers: Sequence[TokenizedPrompt],
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
) -> list[AlignedTokens]:
    """The sharer reads the first of its tokens that each receiver token's text gives."""
    return synthesize(receivers, sharers, receiver, sharer, first_token)


@token_alignment(
    "longest",
    reference="C2C (arXiv 2510.03215), `AlignmentStrategy.LONGEST`",
    response=longest_token,
)
def longest(
    receivers: Sequence[TokenizedPrompt],
    sharers: Sequence[TokenizedPrompt],
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
) -> list[AlignedTokens]:
    """The sharer reads the longest of its tokens that each receiver token's text gives."""
    return synthesize(receivers, sharers, receiver, sharer, longest_token)


def one_to_one(
    ids: Sequence[int],
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
    alignment: str,
) -> list[int]:
    """One sharer token for each receiver token, each by itself: what follows need not be known.

    Args:
        alignment: A name in `TOKEN_ALIGNMENTS`; what it declares for responses is taken.

    Raises:
        ConfigError: There is no such alignment.
    """
    return translate(ids, receiver, sharer, TOKEN_ALIGNMENTS[alignment].response)


def span_alignment(
    receiver: Rendered,
    receiver_spans: Sequence[tuple[int, int]] | Integers,
    sharer: Rendered,
    sharer_spans: Sequence[tuple[int, int]] | Integers,
) -> list[int]:
    """Each receiver token takes the sharer token that covers its last character.

    A token that covers no text (a special token in front) takes the sharer's first. Contents map
    to contents; template text between them maps to the other template's text, end to end. The
    result never goes backwards.

    Args:
        receiver_spans: ``(start, end)`` of each receiver token in its text, in characters.
        sharer_spans: The same for the sharer.
    """
    ours = np.asarray(receiver_spans, dtype=np.int64).reshape(-1, 2)
    theirs = np.asarray(sharer_spans, dtype=np.int64).reshape(-1, 2)
    # A sharer token without text, e.g. BOS, is never the one that covers a character.
    readable = np.flatnonzero(theirs[:, 1] > theirs[:, 0])
    alignment = np.zeros(len(ours), dtype=np.int64)
    if len(readable):
        with_text = ours[:, 1] > ours[:, 0]
        characters = _to_sharer(receiver, sharer, ours[with_text, 1] - 1)
        covering = np.searchsorted(theirs[readable, 0], characters, side="right") - 1
        alignment[with_text] = readable[np.maximum(covering, 0)]
    aligned: list[int] = np.maximum.accumulate(alignment).tolist()
    return aligned


def _to_sharer(receiver: Rendered, sharer: Rendered, characters: Integers) -> Integers:
    """From characters of the receiver's text to those of the sharer's."""
    ours = segment_ends(receiver.contents, len(receiver.text))
    theirs = segment_ends(sharer.contents, len(sharer.text))
    shift = theirs - ours
    # Templates may trim a content at both ends, so that its ends do not stand for each other.
    for content, (our, their) in enumerate(zip(receiver.contents, sharer.contents, strict=True)):
        our_text, their_text = receiver.text[slice(*our)], sharer.text[slice(*their)]
        trimmed = our_text.find(their_text), their_text.find(our_text)
        shift[2 * content + 1] = their[0] - our[0] - max(trimmed[0], 0) + max(trimmed[1], 0)
    segment = np.searchsorted(ours, characters, side="right")
    starts = np.concatenate([[0], theirs[:-1]])
    highest = np.maximum(theirs - 1, starts)
    return np.clip(characters + shift[segment], starts[segment], highest[segment])


def _from_both_ends(
    receivers: Sequence[TokenizedPrompt],
    sharers: Sequence[TokenizedPrompt],
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
) -> list[AlignedTokens]:
    """Match two different texts: the front with the front, the end with the end."""
    aligned = []
    for ours, theirs in zip(receivers, sharers, strict=True):
        tokens, length = len(ours.tokens.ids), len(theirs.tokens.ids)
        token = np.arange(tokens)
        front = np.minimum(token, length // 2)
        end = np.maximum(length - tokens + token, length // 2)
        index = np.where(token < tokens // 2, front, end)
        aligned.append(AlignedTokens(theirs.tokens.ids, np.clip(index, 0, length - 1).tolist()))
    return aligned
