"""A sharer sequence made from the receiver's tokens, one sharer token for each."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import NamedTuple

import numpy as np

from c2c_search.tokenization.alignments import Choice
from c2c_search.tokenization.spans import AlignedTokens
from c2c_search.tokenization.spans import Integers
from c2c_search.tokenization.spans import TokenizedPrompt
from c2c_search.tokenization.spans import segment_ends
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
        whole: Whether all the text's tokens are read, or only the one that is chosen.
    """

    tokens: int
    source: tuple[int, ...] | Wanted
    whole: bool = True


def synthesize(
    receivers: Sequence[TokenizedPrompt],
    sharers: Sequence[TokenizedPrompt],
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
    choice: Choice,
) -> list[AlignedTokens]:
    """Let the sharer read the receiver's tokens one by one, in its own vocabulary.

    What a token says is taken from the characters that it covers, not from decoding it alone,
    which loses or invents a space for SentencePiece and WordPiece. A character that the receiver
    cuts into several tokens (bytes) is read whole: its pieces have no text of their own, so the
    sharer gets all tokens of the character once, matched with the receiver's from their ends.

    Args:
        receivers: The prompts as the receiver reads them.
        sharers: The same prompts as the sharer reads them by itself.
        choice: Which sharer token stands for a receiver token that gives several.

    Source: Fu et al., C2C (arXiv 2510.03215), ``TokenAligner`` of thu-nics/C2C. There, the
    shorter of two template parts is padded; here the sharer's own is kept as it is.
    """
    roles = by_role(receiver, sharer)
    layouts = [list(_layout(*prompts, roles)) for prompts in zip(receivers, sharers, strict=True)]
    wanted = {
        unit.source for units in layouts for unit in units if isinstance(unit.source, Wanted)
    }
    pieces = vocabulary(sharer).pieces(wanted, sharer)
    return [_assemble(units, pieces, choice) for units in layouts]


def _assemble(
    units: Sequence[_Unit], pieces: dict[Wanted, Pieces], choice: Choice
) -> AlignedTokens:
    ids: list[int] = []
    alignment: list[int] = []
    for unit in units:
        if isinstance(unit.source, Wanted):
            read, lengths = pieces[unit.source]
            if read and not unit.whole:
                read = (read[choice(lengths)],)
        else:
            read = unit.source
        # From the end; where the sharer reads nothing, the token before stands for it.
        lowest = len(ids) if read else max(len(ids) - 1, 0)
        ids += read
        alignment += [max(len(ids) - left, lowest) for left in range(unit.tokens, 0, -1)]
    return AlignedTokens(ids, alignment)


def _layout(
    receiver: TokenizedPrompt, sharer: TokenizedPrompt, roles: dict[int, int]
) -> Iterator[_Unit]:
    """What the sharer reads, segment by segment: its own template, the receiver's contents."""
    # Plain text is the same for both, so that all of it counts as content and only special
    # tokens in front and behind as template.
    plain = receiver.rendered.special and sharer.rendered.special
    ours, theirs = _Segments(receiver, plain), _Segments(sharer, plain)
    synthetic = [
        bool(segment % 2 and ours.text(segment) and theirs.text(segment) and ours.ids(segment))
        for segment in range(len(ours.ends))
    ]
    lead = ""
    for segment in range(len(ours.ends)):
        if synthetic[segment]:
            starts_text = not lead and theirs.bounds(segment)[0] == 0
            yield from _content(ours, segment, lead, starts_text, roles)
            continue
        ids = theirs.ids(segment)
        if plain and not ids:  # the sharer's tokenizer adds no special token by itself
            ids = tuple(roles[token] for token in ours.ids(segment) if token in roles)
        behind, lead = theirs.uncovered(segment)
        if behind and any(synthetic[segment - 1 : segment]):
            yield _Unit(0, Wanted(behind))
        yield _Unit(len(ours.ids(segment)), ids)
        if not any(synthetic[segment + 1 : segment + 2]):
            lead = ""
        elif text := lead.removesuffix(" "):
            yield _Unit(0, Wanted(text))
            lead = lead[len(text) :]


def _content(
    receiver: _Segments, segment: int, lead: str, starts_text: bool, roles: dict[int, int]
) -> Iterator[_Unit]:
    """A content, token by token.

    Args:
        lead: The space between the sharer's template and the content, read with its first token.
        starts_text: Whether the content is where the sharer's text starts.
    """
    start, end = receiver.bounds(segment)
    ids = receiver.ids(segment)
    starts, ends = receiver.spans(segment).T
    # Tokens that share a character are pieces of it and stay together.
    first = np.flatnonzero(np.concatenate([[True], starts[1:] >= ends[:-1]])).tolist()
    lasts = [*(after - 1 for after in first[1:]), len(ids) - 1]
    starts, ends = np.clip(starts, start, end).tolist(), np.clip(ends, start, end).tolist()
    whole_text = receiver.prompt.rendered.text
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
    """A prompt cut into template, content, template, … template."""

    def __init__(self, prompt: TokenizedPrompt, plain: bool) -> None:
        self.prompt = prompt
        length = len(prompt.rendered.text)
        contents = [(0, length)] if plain else prompt.rendered.contents
        self.ends = segment_ends(contents, length)
        of_token = _segment_of_token(prompt.tokens.spans, self.ends)
        self.first_token = np.searchsorted(of_token, np.arange(len(self.ends) + 1)).tolist()

    def bounds(self, segment: int) -> tuple[int, int]:
        return (int(self.ends[segment - 1]) if segment else 0), int(self.ends[segment])

    def text(self, segment: int) -> str:
        start, end = self.bounds(segment)
        return self.prompt.rendered.text[start:end]

    def ids(self, segment: int) -> tuple[int, ...]:
        return tuple(self.prompt.tokens.ids[slice(*self.first_token[segment : segment + 2])])

    def spans(self, segment: int) -> Integers:
        return self.prompt.tokens.spans[slice(*self.first_token[segment : segment + 2])]

    def uncovered(self, segment: int) -> tuple[str, str]:
        """Text of a template segment that went to the tokens of the contents around it."""
        start, end = self.bounds(segment)
        spans = self.spans(segment)
        if not len(spans):
            spans = np.array([[end, end]] if segment == len(self.ends) - 1 else [[start, start]])
        text = self.prompt.rendered.text
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
