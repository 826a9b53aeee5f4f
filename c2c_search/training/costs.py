"""What a trained fuser costs a user, measured on questions of validation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch

from c2c_search.evaluation.items import Question
from c2c_search.evaluation.latency.peak_memory import peak_memory
from c2c_search.evaluation.scoring import with_fuser
from c2c_search.fuser.checkpoint import load
from c2c_search.inference.decoding import go_on
from c2c_search.training.protocol import Cost
from c2c_search.training.protocol import Costs


if TYPE_CHECKING:
    from c2c_search.data.schema import Row
    from c2c_search.inference.model import C2CModel


QUESTIONS = 8
REPEATS = 3
"""Of each question, after one that is not counted."""


def measure_costs(pair: C2CModel, request: Cost, rows: Sequence[Row]) -> Costs:
    """Ask a fuser some questions, one at a time, and take time and memory to the first token.

    Args:
        pair: The two models.
        request: Names the fuser.
        rows: What is asked: `QUESTIONS` of these, spread evenly.
    """
    model = with_fuser(pair, load(Path(request.fuser_dir), foreign=False).eval())
    every = max(1, len(rows) // QUESTIONS)
    asked = [Question.of_row(row) for row in rows[::every][:QUESTIONS]]
    seconds = []
    for repeat in range(REPEATS + 1):
        for question in asked:
            spent = _seconds(model, question)
            seconds += [spent] if repeat else []
    longest = max(asked, key=_letters)
    peak = peak_memory(lambda: _answer(model, longest), model.device)
    return Costs(latency_ms=1e3 * median(seconds), peak_memory_mb=peak / 1e6)


def _seconds(model: C2CModel, question: Question) -> float:
    begun = time.perf_counter()
    _answer(model, question)
    return time.perf_counter() - begun


@torch.no_grad()
def _answer(model: C2CModel, question: Question) -> int:
    """The answer's first token, from text, as `C2CModel.generate` comes to it."""
    theirs = [question.sharer_messages] if question.sharer_messages else None
    batch = model.batch(model.prompts([question.messages], theirs))

    def likeliest(prompts: Sequence[int], logits: torch.Tensor) -> list[int]:
        found: list[int] = logits.argmax(dim=-1).tolist()  # waits for the device
        return found

    ((first,),) = go_on(
        model.receiver.model,
        model.fuse(batch),
        batch.last_ids,
        choose=likeliest,
        ended=lambda row, ids: True,
        max_new_tokens=1,
    )
    return first


def _letters(question: Question) -> int:
    messages = (*question.messages, *question.sharer_messages)
    return sum(len(message["content"]) for message in messages)
