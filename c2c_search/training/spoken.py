"""What the receiver is to say after its prompts, as its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.inference.sampling import end_of_response
from c2c_search.tokenization.continuations import response_ids
from c2c_search.training.option_step import Options


if TYPE_CHECKING:
    from c2c_search.data.schema import Row
    from c2c_search.inference.model import C2CModel
    from c2c_search.prompt_cache.batches import PairPrompts


def responses_of(model: C2CModel, rows: Sequence[Row], prompts: PairPrompts) -> list[list[int]]:
    """Token ids of responses, each with its end, so that generation learns to stop.

    Args:
        model: Its receiver's tokens.
        rows: The examples.
        prompts: Their prompts, row by row.
    """
    texts = [[row["response"]] for row in rows]
    read = [prompt.receiver_text for prompt in prompts.encoded]
    found = response_ids(read, texts, model.receiver_template, model.receiver.text_tokenizer)
    end = end_of_response(model.receiver)
    return [[*ids, *end] for (ids,) in found]


def options_of(
    model: C2CModel, rows: Sequence[Row], prompts: PairPrompts, *, length_normalised: bool
) -> Options:
    """The same of rows' choices, as they are judged: without an end. A row may have none.

    Args:
        model: Its receiver's tokens.
        rows: The examples.
        prompts: Their prompts, row by row.
        length_normalised: See `Options`.
    """
    read = [prompt.receiver_text for prompt in prompts.encoded]
    texts = [row["choices"] for row in rows]
    ids = response_ids(read, texts, model.receiver_template, model.receiver.text_tokenizer)
    return Options(ids, [row["answer"] for row in rows], length_normalised)
