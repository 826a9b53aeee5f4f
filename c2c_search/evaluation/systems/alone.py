"""One model alone, the receiver, the sharer or a receiver that was adapted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from c2c_search.evaluation.scoring import receiver_alone
from c2c_search.evaluation.scoring import sharer_alone
from c2c_search.evaluation.systems.passes import Pass
from c2c_search.evaluation.systems.passes import PassByPass
from c2c_search.evaluation.systems.passes import encode_alone
from c2c_search.evaluation.systems.passes import read_alone
from c2c_search.inference.model import model_alone


if TYPE_CHECKING:
    import torch

    from c2c_search.evaluation.systems.prompts import QuestionPrompts
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel


class Receiver(PassByPass):
    """The receiver, which hears nobody.

    Args:
        name: In `SYSTEMS`.
        pair: Receiver and sharer.
    """

    def __init__(self, name: str, pair: C2CModel) -> None:
        super().__init__(name)
        self.model = receiver_alone(pair)

    def passes(self, prompts: QuestionPrompts) -> Iterator[Pass]:
        read = prompts.read()
        for rows in prompts.batches(read):
            yield Pass(rows, self.model, self.model.batch(read, rows))


class Sharer(PassByPass):
    """The sharer, which answers by itself what it reads by its own tokenization.

    Args:
        name: In `SYSTEMS`.
        pair: Receiver and sharer.
    """

    def __init__(self, name: str, pair: C2CModel) -> None:
        super().__init__(name)
        self.pair = pair

    def passes(self, prompts: QuestionPrompts) -> Iterator[Pass]:
        # Only under "span" does the sharer read what it would read without a receiver.
        model, read = sharer_alone(self.pair, prompts.read())
        for rows in prompts.batches(read):
            yield Pass(rows, model, model.batch(read, rows))


class Adapted(PassByPass):
    """The receiver with an adapter in it, e.g. LoRA's.

    It reads every prompt itself: its caches are not the receiver's, though both have the same
    identity.

    Args:
        name: In `SYSTEMS`.
        pair: Receiver and sharer.
        adapted: The adapted receiver.
    """

    def __init__(self, name: str, pair: C2CModel, adapted: LoadedModel) -> None:
        super().__init__(name)
        self.model = model_alone(pair, adapted, "receiver")

    def passes(self, prompts: QuestionPrompts) -> Iterator[Pass]:
        asked = [question.messages for question in prompts.questions]
        yield from read_alone(prompts, self.model, encode_alone(self.model, asked))


class Prefixed(PassByPass):
    """The receiver with cache entries in front of whatever it reads, e.g. a cartridge's.

    They take the first positions. Like every cache they are rounded to the pair's ``cache_dtype``,
    as are the prompts' entries behind them.

    Args:
        name: In `SYSTEMS`.
        pair: Receiver and sharer.
        entries: ``(2, layers, entries, size)``.
    """

    def __init__(self, name: str, pair: C2CModel, entries: torch.Tensor) -> None:
        super().__init__(name)
        self.model = receiver_alone(pair)
        self.entries = entries

    def passes(self, prompts: QuestionPrompts) -> Iterator[Pass]:
        asked = [question.messages for question in prompts.questions]
        encoded = encode_alone(self.model, asked)
        yield from read_alone(prompts, self.model, encoded, self.entries)
