"""`audit`: every option arrives in its unit, and what does not go together is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.errors import DataError
from c2c_search.evaluator import message_audit


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[message_audit.AuditRequest]:
    """What the command asks for, and is not given."""
    asked: list[message_audit.AuditRequest] = []

    def audit(request: message_audit.AuditRequest, **options: Any) -> None:
        asked.append(request)
        raise DataError("asked")

    monkeypatch.setattr(message_audit, "audit", audit)
    return asked


def test_options_arrive(cli: Cli, asked: list[message_audit.AuditRequest]) -> None:
    more = ("--data", "rows.jsonl", "--tasks", "arc_easy, openbookqa", "--limit", "9")
    models = ("--receiver", "hf:a/b", "--sharer", "path:c", "--sharer-index", "1")
    assert cli("audit", "dir", *more, *models, "--margin", "3", "--wished", "4")[0] != 0
    (request,) = asked
    assert (request.target, request.task, request.limit) == ("dir", "rows.jsonl", 9)
    assert request.elsewhere == ("arc_easy", "openbookqa")
    assert (request.receiver, request.sharer, request.sharer_index) == ("hf:a/b", "path:c", 1)
    assert (request.margin, request.wished) == pytest.approx((0.03, 0.04))
    assert request.root == Path("mlruns")


def test_one_task_is_audited(cli: Cli, asked: list[message_audit.AuditRequest]) -> None:
    status, _, err = cli("audit", "dir", "--task", "arc_easy", "--data", "rows.jsonl")
    assert status == 2
    assert "--task or --data" in err
    assert "--tasks must name something" in cli("audit", "dir", "--tasks", ",")[2]
    assert asked == []
