"""How likely each token of a text is (``echo`` with ``logprobs``), as harnesses ask."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.server.contexts import side_by_side
from c2c_search.server.failures import ApiError
from c2c_search.server.writing import ToldToken
from c2c_search.server.writing import Written


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel
    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.server.group import Asked
    from c2c_search.server.writing import Echo


ANSWER = "Answer:"
"""What a prompt ends with in the plain template: up to the last one the sharer reads."""

STEP_TOKENS = 256
"""Scored at once: answers that are decoded beside them wait no longer, and the likelihoods of a
large vocabulary (262,144) take 0.3 GB."""


def prompt_length(model: C2CModel, ids: Sequence[int]) -> int:
    """Tokens of a text that are read as a prompt; those behind it are scored.

    A pair's sharer reads the text up to its last "Answer:", as the prompt that it was trained
    on ends. A model alone reads the first token, which nothing stands before.

    Args:
        model: A pair, or a model alone.
        ids: The receiver's tokens, one at least.

    Raises:
        ApiError: No token ends with that word.
    """
    if model.fuser is None:
        return 1
    tokenizer = model.receiver.text_tokenizer

    def read(count: int) -> str:
        return str(tokenizer.decode([*ids[:count]]))

    occurrences = read(len(ids)).count(ANSWER)
    fewer, enough = 0, len(ids)
    while occurrences and enough - fewer > 1:  # the first token with which all of them are read
        middle = (fewer + enough) // 2
        fewer, enough = (
            (fewer, middle) if read(middle).count(ANSWER) == occurrences else (middle, enough)
        )
    if occurrences and read(enough).endswith(ANSWER):
        return enough
    raise ApiError(
        400,
        f"What the sharer reads of an echoed text ends with {ANSWER!r}, and this has none, or "
        "its last token holds more. Ask the receiver or the sharer alone (model NAME/receiver), "
        "or leave echo out.",
        param="prompt",
        code="unsupported_value",
    )


@dataclass
class Text:
    """A text that is scored.

    Args:
        asked: Who waits for it.
        echo: What is scored.
        fused: The cache of the prompt before it.
        scored: Its tokens so far, and what follows them if that is wanted.
    """

    asked: Asked
    echo: Echo
    fused: FusedCache
    scored: list[ToldToken] = field(default_factory=list)

    @property
    def ids(self) -> tuple[int, ...]:
        """Tokens of the prompt as it was given: whoever asked knows nothing of anchors in it."""
        return self.asked.wanted.prompt.ids

    @property
    def fed(self) -> tuple[int, ...]:
        """Tokens behind each of which one is looked at."""
        read = (self.ids[-1], *self.echo.ids)
        return read if self.echo.goes_on else read[:-1]

    def following(self, ahead: int, likeliest: int) -> int:
        """The token that stands behind one that was fed, or the likeliest one at the end."""
        return self.echo.ids[ahead] if ahead < len(self.echo.ids) else likeliest

    def written(self, model: C2CModel) -> Written:
        """The text as an answer: all tokens, and their likelihoods."""
        tokenizer, given = model.receiver.text_tokenizer, (*self.ids, *self.echo.ids)
        before = [ToldToken.of(tokenizer, token, None) for token in self.ids]
        told = [*before, *self.scored]
        text = str(tokenizer.decode([token.id for token in told]))
        return Written(len(given), text, told, "length", echoed=len(given))


class Scoring:
    """Texts that are scored together, some tokens of them at a time.

    Args:
        model: What scores them.
        texts: They; one alone where the sharer reads on with the receiver.
    """

    def __init__(self, model: C2CModel, texts: Sequence[Text]) -> None:
        self.model = model
        caches = [text.fused for text in texts]
        whole = caches[0] if len(caches) == 1 else side_by_side(caches)
        whole = replace(whole, adaptation=caches[0].adaptation)
        self._context = PackedContext(model.receiver.model, whole)
        self._texts = dict(enumerate(texts))
        self._left = deque(
            (number, ahead, token)
            for number, text in self._texts.items()
            for ahead, token in enumerate(text.fed)
        )

    @property
    def texts(self) -> list[Text]:
        """Those that are not scored yet."""
        return [*self._texts.values()]

    def step(self) -> None:
        """Score some tokens."""
        for number, text in [*self._texts.items()]:
            if not text.asked.alive():
                del self._texts[number]
        fed: list[tuple[int, int, int]] = []
        while self._left and len(fed) < STEP_TOKENS:
            if self._left[0][0] in self._texts:
                fed.append(self._left[0])
            self._left.popleft()
        if fed:
            numbers, aheads, ids = zip(*fed, strict=True)
            starts = self._context.next_positions
            tokens = Tokens(
                prompt=torch.tensor(numbers),
                branch=torch.full((len(fed),), TRUNK),
                position=torch.tensor([starts[number] + ahead for number, ahead, _ in fed]),
            )
            self._tell(numbers, aheads, self._context.feed(torch.tensor(ids), tokens))
        waited = {number for number, _, _ in self._left}
        for number in [number for number in self._texts if number not in waited]:
            text = self._texts.pop(number)
            text.asked.done(text.written(self.model))

    def _tell(self, numbers: Sequence[int], aheads: Sequence[int], logits: torch.Tensor) -> None:
        """Keep what tokens are likely behind those that were fed.

        Args:
            numbers: Of the texts, for each token fed.
            aheads: How far behind its prompt each stands.
            logits: ``(tokens, vocabulary)``.
        """
        tokenizer = self.model.receiver.text_tokenizer
        logits = logits.float()
        likelihoods = logits - logits.logsumexp(dim=-1, keepdim=True)
        most = max(1, *(text.asked.wanted.top for text in self.texts))
        best = likelihoods.topk(most, dim=-1)
        told = [
            self._texts[number].following(ahead, row[0])
            for number, ahead, row in zip(numbers, aheads, best.indices.tolist(), strict=True)
        ]
        chosen = likelihoods.gather(1, torch.tensor(told, device=logits.device)[:, None])[:, 0]
        tops = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        for number, token, likelihood, top in zip(
            numbers, told, chosen.tolist(), tops, strict=True
        ):
            text = self._texts.get(number)
            if text is None:
                continue
            if not math.isfinite(likelihood):
                del self._texts[number]
                text.asked.failed(FloatingPointError("not finite"))
                continue
            wanted = [*zip(*top, strict=True)][: text.asked.wanted.top]
            text.scored.append(ToldToken.of(tokenizer, token, likelihood, wanted))
