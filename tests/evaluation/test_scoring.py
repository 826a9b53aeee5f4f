"""Any system's answers as items' results."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.errors import NotFiniteError
from c2c_search.evaluation.grading import Graded
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.scoring import answer
from c2c_search.evaluation.scoring import answer_questions
from c2c_search.evaluation.scoring import choose_options
from c2c_search.evaluation.scoring import receiver_alone
from c2c_search.evaluation.systems import Decoding
from c2c_search.evaluation.systems import OptionScores
from c2c_search.evaluation.systems import Written
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.evaluation.tasks.task import Task


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel


class Said:
    """Finds the longer option likelier as a whole, the shorter one token by token."""

    name = "said"
    heard = MappingProxyType({"b": "a hint"})

    def choose(self, prompts, progress=None):
        return [OptionScores((-3.0, -2.0), (4, 2)) for _ in prompts.questions]

    def write(self, prompts, decoding):
        return [Written(f"{question.item.id}!", -0.5) for question in prompts.questions]


def graded(item, text):
    return Graded(credit=float(text == "b!"), parsed=text.strip("!"))


ITEMS = [Item(name, "g", "c" + name, (), ("long one", "no"), 0) for name in ("a", "b")]
PROMPTS = QuestionPrompts(
    pair=None, questions=[Question(item, (), item.choices) for item in ITEMS]
)
TASK = Task("t", "nobody", None, convert=lambda row, name: None, grader=graded)


def ask(method, *, length_normalised):
    return answer_questions(
        Said(),
        PROMPTS,
        TASK,
        method,
        length_normalised=length_normalised,
        decoding=Decoding(),
    )


def test_the_likeliest_option_is_chosen():
    first, second = ask("cloze", length_normalised=False)
    assert (first.id, second.id) == ("a", "b")
    assert (first.chosen, first.scores, first.lengths) == (1, (-3.0, -2.0), (4, 2))
    assert not first.correct


def test_options_are_compared_by_token_where_that_is_asked():
    first, _ = ask("cloze", length_normalised=True)
    # -3 / 4 = -0.75 is more than -2 / 2 = -1.
    assert (first.chosen, first.scores, first.lengths) == (0, (-0.75, -1.0), (4, 2))
    assert first.correct


def test_letters_are_compared_as_they_are():
    first, _ = ask("letter", length_normalised=True)
    assert first.scores == (-3.0, -2.0)


def test_what_is_written_is_graded():
    first, second = ask("generate", length_normalised=True)
    assert (first.text, first.parsed, first.graded, first.likelihood) == ("a!", "a", 0.0, -0.5)
    assert (first.chosen, first.answer, first.scores) == (-1, -1, ())
    assert (second.credit, second.correct, second.cluster) == (1.0, True, "cb")


@pytest.fixture
def alone(tiny_model) -> C2CModel:
    from c2c_search.inference.model import C2CModel

    loaded = tiny_model("llama")
    return C2CModel(loaded, loaded, None)


@pytest.mark.parametrize("length_normalised", [True, False])
def test_rows_are_answered_as_questions_are(alone, length_normalised):
    from c2c_search.evaluation.systems import SYSTEMS
    from c2c_search.evaluation.systems import Materials

    rows = [
        {
            "id": str(number),
            "group": "g",
            "cluster": str(number),
            "messages": [{"role": "user", "content": "which " * number + "one?"}],
            "sharer_messages": [],
            "response": "this",
            "choices": ["this", "that one", "no"],
            "answer": 0,
        }
        for number in (3, 1, 2)
    ]
    config = EvaluationConfig(length_normalised=length_normalised, batch_size=2)
    prompts = alone.prompts([row["messages"] for row in rows])
    seen = []
    found = answer(
        alone, rows, prompts, config, progress=lambda done, total: seen.append((done, total))
    )
    items = [Item.of_row(row) for row in rows]
    questions = [Question(item, item.messages, item.choices) for item in items]
    system = SYSTEMS["receiver"].build(Materials(pair=alone))
    asked = answer_questions(
        system,
        QuestionPrompts(alone, questions, batch_size=2),
        TASK,
        "cloze",
        length_normalised=length_normalised,
        decoding=Decoding(),
    )
    assert found == asked
    assert seen == [(2, 3), (3, 3)]


def test_a_model_alone_rounds_its_caches_as_the_pair_does(alone):
    import torch

    alone.cache_dtype = torch.float32
    assert receiver_alone(alone).cache_dtype == torch.float32


def test_what_a_system_was_told_is_kept_with_its_answer():
    items = answer_questions(
        Said(), PROMPTS, TASK, "cloze", length_normalised=False, decoding=Decoding()
    )
    assert [item.heard for item in items] == [None, "a hint"]


def test_a_system_that_scores_in_no_numbers_is_refused() -> None:
    item = Item(id="q1", group="g", cluster="c", messages=(), choices=("a", "b"), answer=0)

    class Broken:
        name, heard = "broken", MappingProxyType({})

        def choose(self, prompts, progress=None):
            return [OptionScores((-1.0, float("nan")), (1, 1))]

    class Reading:
        questions = (Question(item, (), ("a", "b")),)

    with pytest.raises(NotFiniteError, match="item q1"):
        choose_options(Broken(), Reading(), length_normalised=True)
