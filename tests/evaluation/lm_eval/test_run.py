"""A run of lm-evaluation-harness: its tasks by name, and its samples as our results."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from c2c_search.errors import ConfigError
from c2c_search.evaluation.lm_eval.run import harness_model
from c2c_search.evaluation.lm_eval.run import results_of
from c2c_search.evaluation.lm_eval.run import run
from c2c_search.inference.model import C2CModel


pytest.importorskip("lm_eval")


def test_the_module_does_not_import_the_harness() -> None:
    code = "import sys, c2c_search.evaluation.lm_eval.run; sys.exit('lm_eval' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_the_harness_the_way_out_is_named(
    alone: C2CModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ConfigError, match=r"pip install 'c2c-search\[lm-eval\]'"):
        harness_model(alone)


@pytest.fixture
def _own_tasks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the harness's own tasks, whose index takes seconds."""
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("lm_eval.tasks.TaskManager", partial(TaskManager, include_defaults=False))


@pytest.mark.usefixtures("_own_tasks_only")
def test_a_run_gives_results_that_can_be_paired(
    make_pair: Any, alone: C2CModel, task: Path
) -> None:
    found = {}
    for name, model in (("c2c", make_pair()), ("receiver", alone)):
        results = run(model, ["tiny"], include_path=task.parent, limit=3)
        assert results["config"]["receiver"] == alone.receiver.identity.source
        found[name] = results_of(results["samples"], name)["tiny"]
        assert found[name].accuracy == pytest.approx(results["results"]["tiny"]["acc,none"])
    ids = [item.id for item in found["c2c"].items]
    assert ids == [item.id for item in found["receiver"].items]
    assert len(set(ids)) == 3
    assert [item.answer for item in found["c2c"].items] == [0, 1, 1]


@pytest.mark.usefixtures("_own_tasks_only")
def test_unknown_tasks_are_named_together(alone: C2CModel, task: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 problems(.|\n)*tinny.*Did you mean tiny(.|\n)*none"):
        run(alone, ["tinny", "none"], include_path=task.parent)


def _sample(**fields: Any) -> dict[str, Any]:
    return {"doc_id": 0, "doc_hash": "a" * 64, "filter": "none", **fields}


def test_a_written_answer_has_its_metric_as_credit() -> None:
    sample = _sample(
        target="7", resps=[["It is 7."]], filtered_resps=["7"], metrics=["em"], em=1.0
    )
    (item,) = results_of({"sums": [sample]}, "c2c")["sums"].items
    assert (item.text, item.parsed, item.graded) == ("It is 7.", "7", 1.0)


def test_answers_read_in_several_ways_are_several_results() -> None:
    samples = [
        _sample(
            filter=name, target="7", resps=[["7"]], filtered_resps=["7"], metrics=["em"], em=em
        )
        for name, em in (("strict", 0.0), ("loose", 1.0))
    ]
    found = results_of({"sums": samples}, "c2c")
    assert {split: result.accuracy for split, result in found.items()} == {
        "sums,strict": 0.0,
        "sums,loose": 1.0,
    }


def test_a_task_without_credit_by_item_is_left_out() -> None:
    sample = _sample(
        target="",
        resps=[[-9.0]],
        filtered_resps=[-9.0],
        metrics=["word_perplexity"],
        word_perplexity=(-9.0, 3),
    )
    assert results_of({"text": [sample]}, "c2c") == {}


def test_a_right_choice_that_is_not_given_by_number_is_credited_as_the_harness_does() -> None:
    answers = [(-1.0, False), (-2.0, False)]
    sample = _sample(
        target="the first", resps=[[a] for a in answers], filtered_resps=answers,
        metrics=["acc"], acc=1.0,
    )  # fmt: skip
    (item,) = results_of({"task": [sample]}, "c2c")["task"].items
    assert (item.credit, item.scores) == (1.0, ())


def test_scores_without_the_question_are_not_choices() -> None:
    # Four numbers for two choices: with the question -1 and -2, without it -3 and -0.5.
    answers = [(-1.0, False), (-2.0, False), (-3.0, False), (-0.5, False)]
    sample = _sample(
        target=1, resps=[[a] for a in answers], filtered_resps=answers,
        metrics=["acc", "acc_mutual_info"], acc=0.0, acc_mutual_info=0.0,
    )  # fmt: skip
    (item,) = results_of({"task": [sample]}, "c2c")["task"].items
    assert (item.scores, item.chosen, item.credit) == ((-1.0, -2.0), 0, 0.0)
