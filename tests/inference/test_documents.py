"""A document for the sharer alone, in the words that the fuser was trained on."""

from __future__ import annotations

import pytest

from c2c_search.errors import ConfigError
from c2c_search.inference.documents import check_length
from c2c_search.inference.documents import sharer_context
from c2c_search.inference.manifest import RecordedQuestion
from tests.inference.test_manifest import MODEL_MANIFEST


def recorded(*questions: tuple[str, str | None]):
    asked = tuple(
        RecordedQuestion(question=text, answer="", sharer_context=context)
        for text, context in questions
    )
    return MODEL_MANIFEST.model_copy(update={"questions": asked})


@pytest.mark.parametrize(
    ("questions", "expected"),
    [
        ((), "It is red.\nQuestion: Which colour?"),
        ((("Where?", None),), "It is red.\nQuestion: Which colour?"),
        ((("Where?", "Here.\nQuestion: Where?"),), "It is red.\nQuestion: Which colour?"),
        ((("Where?", "Here."), ("Who?", "She.")), "It is red."),
    ],
)
def test_the_question_stands_below_the_document_as_in_training(questions, expected) -> None:
    assert sharer_context(recorded(*questions), "It is red.", "Which colour?") == expected


def test_what_is_longer_than_the_sharer_reads_is_refused(make_pair) -> None:
    model = make_pair(injection="append")
    limit = model.sharer.model.config.max_position_embeddings
    tokens = len(model.sharer.text_tokenizer("Question: \nAnswer:")["input_ids"])
    fits = "x" * (limit - tokens - 3)
    check_length(model, fits, 3)
    with pytest.raises(ConfigError, match=f"must fit into the {limit} tokens that the sharer"):
        check_length(model, fits, 4)
