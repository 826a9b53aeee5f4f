"""How unsure a model is of an answer, measured alike where it is fitted and where it is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field


ListeningRule = Literal["always", "confident"]
"""``confident``: the receiver asks the sharer only where it is not confident by itself."""

ALL_SKIPPED = 2.0
"""A limit that every doubt is below."""


class Listening(BaseModel):
    """Below which doubts of the receiver the sharer is not asked; 0: it always is.

    They are fitted on validation, by what the receiver alone and C2C answered there.

    Args:
        choices: Of a choice among options.
        words: Of an answer in words.
        length_normalised: Whether options are compared by log-likelihood per token.
        skipped: Share of the test questions for which the sharer was not needed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    choices: float = Field(ge=0, le=ALL_SKIPPED)
    words: float = Field(ge=0, le=ALL_SKIPPED)
    length_normalised: bool
    skipped: float = Field(ge=0, le=1)


def doubt_of_choice(scores: Sequence[float]) -> float:
    """1 minus the lead of the likeliest option's probability over the second's, in [0, 1].

    Args:
        scores: Of the options (nats, per token or not); their probabilities sum to 1.
    """
    highest = max(scores)
    weights = sorted((math.exp(score - highest) for score in scores), reverse=True)
    return 1.0 - (weights[0] - sum(weights[1:2])) / sum(weights)


def doubt_of_words(likelihood: float) -> float:
    """1 minus the geometric mean of the probabilities of an answer's tokens, in [0, 1].

    Args:
        likelihood: Mean log-probability (nats) of its tokens.
    """
    return 1.0 - math.exp(min(likelihood, 0.0))
