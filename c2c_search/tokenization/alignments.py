"""Token alignments, by name: what is declared with one.

Light, so that a configuration can be checked without the tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import TypeVar

from c2c_search.plugins import Register


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from c2c_search.tokenization.spans import AlignedTokens
    from c2c_search.tokenization.spans import TokenizedPrompt


AlignmentFunction = Callable[
    [
        Sequence["TokenizedPrompt"],
        Sequence["TokenizedPrompt"],
        "PreTrainedTokenizerFast",
        "PreTrainedTokenizerFast",
    ],
    "list[AlignedTokens]",
]
"""``(receiver prompts, sharer prompts, receiver tokenizer, sharer tokenizer) -> [aligned, …]``.

The prompts are the same ones, in the same order, as each model reads them by itself. Of each, the
result has what the sharer is to read and, for every receiver token, the index of the sharer token
that stands for it. Indices never go backwards, and the last tokens stand for each other: the
answer follows them.
"""

Choice = Callable[[Sequence[int]], int]
"""From the lengths of a text's sharer tokens, in characters, to the index of the one to take."""

_Function = TypeVar("_Function", bound=AlignmentFunction)


def first_token(lengths: Sequence[int]) -> int:
    """The first of a text's tokens.

    Source: C2C (arXiv 2510.03215), ``AlignmentStrategy.FIRST``.
    """
    return 0


def longest_token(lengths: Sequence[int]) -> int:
    """The longest of a text's tokens, the first of several that are as long.

    Source: C2C (arXiv 2510.03215), ``AlignmentStrategy.LONGEST``.
    """
    return lengths.index(max(lengths))


@dataclass(frozen=True)
class TokenAlignment:
    """A token alignment; see `token_alignment` for what is declared."""

    name: str
    reference: str
    align: AlignmentFunction
    response: Choice


TOKEN_ALIGNMENTS: Register[TokenAlignment] = Register(
    "token alignment",
    dict.fromkeys(("span", "first", "longest"), "c2c_search.tokenization.token_alignment"),
)


def token_alignment(
    name: str, *, reference: str, response: Choice = longest_token
) -> Callable[[_Function], _Function]:
    """Declare a token alignment.

    Args:
        name: As in ``fuser.token_alignment``.
        reference: Where it comes from: a paper, or whose idea it is.
        response: With ``fuse_response``, which sharer token stands for a token of the response.
            It is read before the next one is known, so always as one token.

    Raises:
        ConfigError: The name is taken.
    """

    def register(function: _Function) -> _Function:
        TOKEN_ALIGNMENTS.add(name, function, TokenAlignment(name, reference, function, response))
        return function

    return register
