"""Pair room: which sharer token stands for each receiver token."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2c_search.pair.prompts import Message
from c2c_search.pair.prompts import Rendered
from c2c_search.pair.prompts import Template
from c2c_search.pair.prompts import render


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as both models read it.

    Args:
        receiver_ids: The receiver's tokens.
        sharer_ids: The sharer's own, natural tokenization of the same prompt.
        alignment: For each receiver token, the position of its sharer token.
    """

    receiver_ids: tuple[int, ...]
    sharer_ids: tuple[int, ...]
    alignment: tuple[int, ...]


def encode(
    messages: Sequence[Message],
    template: Template,
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
) -> EncodedPrompt:
    """Tokenize a prompt for both models and align their tokens by the text they cover."""
    for_receiver = render(messages, template, receiver)
    for_sharer = render(messages, template, sharer)
    receiver_ids, receiver_spans = _tokenize(for_receiver, receiver)
    sharer_ids, sharer_spans = _tokenize(for_sharer, sharer)
    alignment = span_alignment(for_receiver, receiver_spans, for_sharer, sharer_spans)
    return EncodedPrompt(tuple(receiver_ids), tuple(sharer_ids), tuple(alignment))


def span_alignment(
    receiver: Rendered,
    receiver_spans: Sequence[tuple[int, int]],
    sharer: Rendered,
    sharer_spans: Sequence[tuple[int, int]],
) -> list[int]:
    """Each receiver token takes the sharer token that covers its last character.

    A token that covers no text (a special token in front) takes the sharer's first. Contents map
    to contents; template text between them maps to the other template's text, end to end. The
    result never goes backwards.

    Args:
        receiver_spans: ``(start, end)`` of each receiver token in its text, in characters.
        sharer_spans: The same for the sharer.
    """
    # A sharer token without text, e.g. BOS, is never the one that covers a character.
    places = [place for place, (start, end) in enumerate(sharer_spans) if end > start]
    starts = [sharer_spans[place][0] for place in places]
    to_sharer = _CharacterMap(receiver, sharer)
    alignment: list[int] = []
    highest = 0
    for start, end in receiver_spans:
        if end > start and places:
            covering = bisect_right(starts, to_sharer(end - 1)) - 1
            highest = max(highest, places[max(covering, 0)])
        alignment.append(highest)
    return alignment


class _CharacterMap:
    """From a character of the receiver's text to one of the sharer's."""

    def __init__(self, receiver: Rendered, sharer: Rendered) -> None:
        self.identical = receiver.text == sharer.text
        self.receiver = _segments(receiver)
        self.sharer = _segments(sharer)
        if len(self.receiver) != len(self.sharer):  # a template dropped a message
            self.receiver = [(0, len(receiver.text))]
            self.sharer = [(0, len(sharer.text))]

    def __call__(self, character: int) -> int:
        if self.identical:
            return character
        ends = [end for _, end in self.receiver]
        segment = min(bisect_right(ends, character), len(ends) - 1)
        sharer_start, sharer_end = self.sharer[segment]
        from_end = self.receiver[segment][1] - character
        return max(sharer_end - from_end, sharer_start, 0)


def _segments(rendered: Rendered) -> list[tuple[int, int]]:
    """Template, content, template, … as ``(start, end)``; a template part may be empty."""
    segments = []
    after = 0
    for start, end in rendered.contents:
        segments += [(after, start), (start, end)]
        after = end
    return [*segments, (after, len(rendered.text))]


def _tokenize(
    rendered: Rendered, tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[tuple[int, int]]]:
    encoding = tokenizer(
        rendered.text, add_special_tokens=rendered.special, return_offsets_mapping=True
    )
    return encoding["input_ids"], encoding["offset_mapping"]
