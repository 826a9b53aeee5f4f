"""What trials are trained and validated on where their memory is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.training.preparation import read_rows


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row
    from c2c_search.models.loading import LoadedModel
    from c2c_search.models.pair import PairSpec
    from c2c_search.tokenization.token_alignment import EncodedPrompt


class Rows:
    """What trials are trained and validated on; the questions are tokenized once a pair.

    Args:
        train: Examples.
        validation: Questions.
        guard: Rows of other tasks.
        texts: Texts to reconstruct.
    """

    def __init__(
        self,
        train: Sequence[Row],
        validation: Sequence[Row],
        guard: Sequence[Row] = (),
        texts: Sequence[Row] = (),
    ) -> None:
        # Of a data set on disk every row would be decoded again at every look.
        self.train, self.validation, self.guard = list(train), list(validation), list(guard)
        self.texts = list(texts)
        self._questions: dict[tuple[PairSpec, str, bool], Sequence[EncodedPrompt]] = {}

    def questions(
        self, trial: TrialConfig, receiver: LoadedModel, sharer: LoadedModel
    ) -> Sequence[EncodedPrompt]:
        """The questions as both models of a trial read them."""
        key = (trial.pair, trial.fuser.token_alignment, trial.fuser.drafts)
        if key not in self._questions:
            self._questions[key] = encoded_rows(trial, receiver, sharer, self.validation)
        return self._questions[key]


def encoded_rows(
    trial: TrialConfig, receiver: LoadedModel, sharer: LoadedModel, rows: Sequence[Row]
) -> Sequence[EncodedPrompt]:
    """Prompts of rows, as both models of a trial read them."""
    alignment = trial.fuser.token_alignment
    drafts, date = trial.fuser.drafts, trial.data.date
    return read_rows(receiver, sharer, trial.data, rows, alignment, date=date, drafts=drafts)
