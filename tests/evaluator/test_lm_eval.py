from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from c2c_search.errors import ConfigError
from c2c_search.evaluator import lm_eval
from c2c_search.evaluator.evaluate import evaluate
from c2c_search.evaluator.request import Request
from tests.evaluation.answers import chosen


def test_the_sharer_alone_is_its_own_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    result = chosen([True, False])
    monkeypatch.setattr(lm_eval, "_model", lambda *arguments: None)
    monkeypatch.setattr(lm_eval, "reads_plain", lambda model: True)
    monkeypatch.setattr(lm_eval, "run_harness", lambda *arguments, **options: {"samples": {}})
    monkeypatch.setattr(lm_eval, "results_of", lambda *arguments: {"tiny": result})
    request = Request(target="", lm_eval=("tiny",))
    (record,), _ = lm_eval.answer(request, _Plain, None, ("sharer",), lambda *told: None)
    assert record.subject == "sharer"


class _Plain:
    template = "plain"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"lm_eval": ("arc_esay",)}, "arc_easy"),
        ({"lm_eval": ("arc_easy",), "systems": ("text_relay",)}, "can ask receiver"),
    ],
)
def test_what_the_harness_cannot_do_is_told_before_a_model_is_loaded(
    options: dict, told: str, tmp_path: Path
) -> None:
    pytest.importorskip("lm_eval")
    request = Request(target="path:nowhere", sharer="path:nowhere", root=tmp_path, **options)
    with pytest.raises(ConfigError, match=told):
        evaluate(request, console=Console(file=io.StringIO()))
