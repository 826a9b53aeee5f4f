"""What every grader must do, as tests to inherit.

from c2c_search.testing import GraderConformance

class TestMine(GraderConformance):
    plugin = "my_package.my_module.my_grader"
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest

from c2c_search.evaluation.grading import GRADERS
from c2c_search.evaluation.grading import Graded
from c2c_search.evaluation.items import Item


_STRANGE = ("", " \n", "\0", "?" * 500, "a,b;c\t{}\\boxed{", "\u7b54\u6848", "\U0001f600", "1e999")


class GraderConformance:
    """What an evaluation asks of a grader; inherit from it and name yours."""

    plugin: ClassVar[str]
    """Name or dotted path, as a task names it."""

    item: ClassVar[Item] = Item(
        id="1",
        group="sums",
        cluster="1",
        messages=({"role": "user", "content": "What is 10 + 2?"},),
        references=("12",),
    )
    """One that it can judge answers to."""

    right: ClassVar[str] = "12"
    """What answers it entirely."""

    wrong: ClassVar[str] = "Nobody asked for the weather."
    """What does not answer it."""

    def _grade(self, text: str, item: Item | None = None) -> Graded:
        return GRADERS[self.plugin].grade(item or self.item, text)

    def test_it_has_a_name_and_a_reference(self) -> None:
        entry = GRADERS[self.plugin]
        assert GRADERS[entry.name] is entry
        assert len(entry.reference) > 3

    def test_a_right_answer_earns_everything(self) -> None:
        assert self._grade(self.right).credit == pytest.approx(1.0)
        assert self._grade(f" {self.right}\n").credit == pytest.approx(1.0)

    def test_a_wrong_answer_earns_less_than_half(self) -> None:
        assert self._grade(self.wrong).credit < 0.5

    def test_nothing_is_no_answer(self) -> None:
        graded = self._grade("")
        assert graded.credit == 0
        assert graded.parsed is None

    def test_any_reference_will_do(self) -> None:
        others = replace(self.item, references=("something else", *self.item.references))
        assert self._grade(self.right, others).credit == pytest.approx(1.0)

    @pytest.mark.parametrize("text", _STRANGE)
    def test_any_text_has_a_credit_between_0_and_1(self, text: str) -> None:
        graded = self._grade(text)
        assert isinstance(graded, Graded)
        assert 0 <= graded.credit <= 1
        assert graded.parsed is None or isinstance(graded.parsed, str)

    def test_an_answer_is_judged_the_same_twice(self) -> None:
        for text in (self.right, self.wrong):
            assert self._grade(text) == self._grade(text)
