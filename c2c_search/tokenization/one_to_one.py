"""A sharer sequence made from the receiver's tokens, one sharer token for each."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import NamedTuple

import numpy as np

from c2c_search.tokenization.spans import Heard
from c2c_search.tokenization.spans import Integers
from c2c_search.tokenization.spans import TokenizedPrompt
from c2c_search.tokenization.spans import segment_ends
from c2c_search.tokenization.vocabulary import CHOICES
from c2c_search.tokenization.vocabulary import Pieces
from c2c_search.tokenization.vocabulary import Wanted
from c2c_search.tokenization.vocabulary import by_role
from c2c_search.tokenization.vocabulary import vocabulary


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class _Unit(NamedTuple):
    """A stretch of the sharer's sequence.

    Args:
        tokens: How many receiver tokens it stands for.
        source: The sharer's tokens, or the text that they are to be found for.
        whole: Whether all the text's tokens are read, or only the one that the rule takes.
    """

    tokens: int
    source: tuple[int, ...] | Wanted
    whole: bool = True


def synthesize(
    receivers: Sequence[TokenizedPrompt],
    sharers: Sequence[TokenizedPrompt],
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
    rule: str,
) -> list[Heard]:
    """Let the sharer read the receiver's tokens one by one, in its own vocabulary.

    What a token says is taken from the characters that it covers, not from decoding it alone,
    which loses or invents a space for SentencePiece and WordPiece. A character that the receiver
    cuts into several tokens (bytes) is read whole: its pieces have no text of their own, so the
    sharer gets all tokens of the character once, matched with the receiver's from their ends.

    Args:
        receivers: The prompts as the receiver reads them.
        sharers: The same prompts as the sharer reads them by itself.
        rule: Which sharer token stands for a receiver token that gives several; see `CHOICES`.

    Source: Fu et al., C2C (arXiv 2510.03215), ``TokenAligner`` of thu-nics/C2C. There, the
    shorter of two template parts is padded; here the sharer's own is kept as it is.
    """
    roles = by_role(receiver, sharer)
    layouts = [
        list(_layout(*readings, roles)) for readings in zip(receivers, sharers, strict=True)
    ]
    wanted = {
        unit.source for units in layouts for unit in units if isinstance(unit.source, Wanted)
    }
    pieces = vocabulary(sharer).pieces(wanted, sharer)
    return [_assemble(units, pieces, rule) for units in layouts]


def _assemble(units: Sequence[_Unit], pieces: dict[Wanted, Pieces], rule: str) -> Heard:
    ids: list[int] = []
    alignment: list[int] = []
    for unit in units:
        if isinstance(unit.source, Wanted):
            read, lengths = pieces[unit.source]
            if read and not unit.whole:
                read = (read[CHOICES[rule](lengths)],)
        else:
            read = unit.source
        # From the end; where the sharer reads nothing, the token before stands for it.
        lowest = len(ids) if read else max(len(ids) - 1, 0)
        ids += read
        alignment += [max(len(ids) - left, lowest) for left in range(unit.tokens, 0, -1)]
    return Heard(ids, alignment)


def _layout(
    receiver: TokenizedPrompt, sharer: TokenizedPrompt, roles: dict[int, int]
) -> Iterator[_Unit]:
    """What the sharer reads, segment by segment: its own template, the receiver's contents."""
    # Plain text is the same for both, so that all of it counts as content and only special
    # tokens in front and behind as template.
    plain = receiver.rendered.special and sharer.rendered.special
    heard, read = _Segments(receiver, plain), _Segments(sharer, plain)
    synthetic = [
        bool(place % 2 and heard.text(place) and read.text(place) and heard.ids(place))
        for place in range(len(heard.ends))
    ]
    lead = ""
    for place in range(len(heard.ends)):
        if synthetic[place]:
            starts_text = not lead and read.bounds(place)[0] == 0
            yield from _content(heard, place, lead, starts_text, roles)
            continue
        ids = read.ids(place)
        if plain and not ids:  # the sharer's tokenizer adds no special token by itself
            ids = tuple(roles[token] for token in heard.ids(place) if token in roles)
        behind, lead = read.uncovered(place)
        if behind and any(synthetic[place - 1 : place]):
            yield _Unit(0, Wanted(behind))
        yield _Unit(len(heard.ids(place)), ids)
        if not any(synthetic[place + 1 : place + 2]):
            lead = ""
        elif text := lead.removesuffix(" "):
            yield _Unit(0, Wanted(text))
            lead = lead[len(text) :]


def _content(
    heard: _Segments, place: int, lead: str, starts_text: bool, roles: dict[int, int]
) -> Iterator[_Unit]:
    """A content, token by token.

    Args:
        lead: The space between the sharer's template and the content, read with its first token.
        starts_text: Whether the content is where the sharer's text starts.
    """
    start, end = heard.bounds(place)
    ids = heard.ids(place)
    starts, ends = heard.spans(place).T
    # Tokens that share a character are pieces of it and stay together.
    first = np.flatnonzero(np.concatenate([[True], starts[1:] >= ends[:-1]])).tolist()
    lasts = [*(place - 1 for place in first[1:]), len(ids) - 1]
    starts, ends = np.clip(starts, start, end).tolist(), np.clip(ends, start, end).tolist()
    whole_text = heard.reading.rendered.text
    for here, last in zip(first, lasts, strict=True):
        count = last - here + 1
        text = ("" if here else lead) + whole_text[starts[here] : ends[last]]
        if count == 1 and ids[here] in roles:
            yield _Unit(1, (roles[ids[here]],))
        elif text:
            yield _Unit(count, Wanted(text, starts_text and not here), whole=count > 1)
        else:
            yield _Unit(count, ())


class _Segments:
    """A reading cut into template, content, template, … template."""

    def __init__(self, reading: TokenizedPrompt, plain: bool) -> None:
        self.reading = reading
        length = len(reading.rendered.text)
        contents = [(0, length)] if plain else reading.rendered.contents
        self.ends = segment_ends(contents, length)
        of_token = _segment_of_token(reading.tokens.spans, self.ends)
        self.first_token = np.searchsorted(of_token, np.arange(len(self.ends) + 1)).tolist()

    def bounds(self, place: int) -> tuple[int, int]:
        return (int(self.ends[place - 1]) if place else 0), int(self.ends[place])

    def text(self, place: int) -> str:
        start, end = self.bounds(place)
        return self.reading.rendered.text[start:end]

    def ids(self, place: int) -> tuple[int, ...]:
        return tuple(self.reading.tokens.ids[slice(*self.first_token[place : place + 2])])

    def spans(self, place: int) -> Integers:
        return self.reading.tokens.spans[slice(*self.first_token[place : place + 2])]

    def uncovered(self, place: int) -> tuple[str, str]:
        """Text of a template segment that went to the tokens of the contents around it."""
        start, end = self.bounds(place)
        spans = self.spans(place)
        if not len(spans):
            spans = np.array([[end, end]] if place == len(self.ends) - 1 else [[start, start]])
        text = self.reading.rendered.text
        return text[start : spans[0, 0]], text[max(start, spans[-1, 1]) : end]


def _segment_of_token(spans: Integers, ends: Integers) -> Integers:
    """The segment of each token, in order; one that reaches into two belongs to the content."""
    starts, lasts = spans[:, 0], spans[:, 1] - 1
    segment = np.searchsorted(ends, lasts, side="right")
    before = np.maximum(segment - 1, 0)
    content = np.diff(ends, prepend=0) > 0
    content[::2] = False
    segment -= content[before] & (segment % 2 == 0) & (starts < ends[before])
    # Tokens without text go with those before them; behind all text, to the template's end.
    with_text = np.flatnonzero(lasts >= starts)
    segment[lasts < starts] = 0
    segment = np.maximum.accumulate(segment)
    if len(with_text):
        segment[with_text[-1] + 1 :] = len(ends) - 1
    return segment
