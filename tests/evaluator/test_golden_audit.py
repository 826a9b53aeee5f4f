"""Golden: of fusers made by hand, whose answers are known, an audit says what they do."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import ConfigError
from c2c_search.evaluation.audit_record import AuditRecord
from c2c_search.evaluator import tasks
from c2c_search.evaluator.evaluate import evaluate
from c2c_search.evaluator.message_audit import AuditRequest
from c2c_search.evaluator.message_audit import audit
from c2c_search.evaluator.request import Request
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.rosetta import writing
from c2c_search.inference.loading import cache_shape
from c2c_search.report.message_audit import markdown
from c2c_search.report.message_audit import render
from tests.evaluator.conftest import write_rows


ITEMS = 60
SILENT = io.StringIO()


def _word(rng: random.Random, letters: int) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(letters))


def _rows(seed: int, labels: list[int] | None = None) -> list[dict[str, object]]:
    """Questions of made-up words with four made-up answers, of which ``labels`` are right."""
    rng = random.Random(seed)
    return [
        {
            "id": f"{seed}-{n}",
            "question": f"{_word(rng, 8)} {_word(rng, 6)}",
            "choices": [_word(rng, 4) for _ in range(4)],
            "answer": labels[n] if labels else 0,
        }
        for n in range(ITEMS)
    ]


def _fuser(tiny_model, **fields) -> Fuser:
    """A fuser with large random weights: what it hears, or its constants, decide the answer."""
    shapes = (
        cache_shape(tiny_model("llama", seed=1)),
        cache_shape(tiny_model("llama", layers=3, heads=1, head_dim=12, seed=2)),
    )
    torch.manual_seed(0)
    fuser = Fuser(FuserConfig(**{"width": 8, "normalisation": "none", **fields}), *shapes).eval()
    with torch.no_grad():
        for parameter in fuser.parameters():
            parameter.add_(1.5 * torch.randn_like(parameter))
    return fuser


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """One folder of stores for all: MLflow's take a while to be made."""
    return tmp_path_factory.mktemp("audits")


@pytest.fixture(scope="module")
def fuser_folder(trial, tiny_model, root) -> Callable[[str], Path]:
    """A trial's folder with a fuser that hears its sharer (``real``) or cannot (``blank``)."""

    @cache
    def fuser_folder(sharer: str) -> Path:
        folder = root / sharer
        fuser = _fuser(tiny_model, sharer=sharer)
        fields = {**trial.model_dump(by_alias=True), "fuser": fuser.config.model_dump()}
        (folder / "best").mkdir(parents=True)
        (folder / "trial.yaml").write_text(TrialConfig.model_validate(fields).to_yaml())
        checkpoint.save(fuser, folder / "best")
        return folder

    return fuser_folder


@pytest.fixture(scope="module")
def asked_of(fuser_folder, root) -> Callable[[str, str], Path]:
    """Questions of which a fuser (``c2c``), or the receiver alone, knows all answers."""

    @cache
    def chosen(sharer: str) -> dict[str, list[int]]:
        folder = fuser_folder(sharer)
        request = Request(
            target=str(folder),
            tasks=(str(write_rows(folder / "asked.jsonl", _rows(1))),),
            systems=("c2c", "receiver"),
            root=root,
            to=folder / "chosen",
        )
        answers = evaluate(request, console=Console(file=SILENT)).answers["asked"]
        return {name: [item.chosen for item in each[0].items] for name, each in answers.items()}

    def asked_of(sharer: str, right: str) -> Path:
        path = fuser_folder(sharer) / right / f"{right}_knows.jsonl"
        return write_rows(path, _rows(1, chosen(sharer)[right]))

    return asked_of


@pytest.mark.parametrize(
    ("sharer", "right", "finding"),
    [
        pytest.param("real", "c2c", "listens", id="copies"),
        pytest.param("blank", "c2c", "adapts without listening", id="ignores"),
        pytest.param("real", "receiver", "does harm", id="harms"),
    ],
)
def test_an_audit_says_what_the_fuser_was_made_to_do(
    sharer: str, right: str, finding: str, fuser_folder, asked_of, root: Path
) -> None:
    request = AuditRequest(
        target=str(fuser_folder(sharer)),
        task=str(asked_of(sharer, right)),
        root=root,
        to=root / f"{sharer}-{right}",
    )
    record = audit(request, console=Console(file=SILENT)).record
    found = record.judgement
    assert found.finding == finding
    assert record.headline.lower().startswith(finding)
    assert found.items == found.clusters == ITEMS
    told = found.pairing
    assert (told.receiver if right == "receiver" else told.matched).value == 1
    if sharer == "blank":
        assert told.deranged.value == told.matched.value
        assert record.left_out == {}
    names = [one.system for one in record.systems]
    assert names[:4] == ["c2c", "deranged", "receiver", "sharer"]
    assert "text_relay" in names


def test_the_page_is_kept_and_says_what_happens_elsewhere(
    fuser_folder, asked_of, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, ...]] = []
    choose = tasks.choose
    monkeypatch.setattr(
        tasks, "choose", lambda asked, target: read.append(asked.tasks) or choose(asked, target)
    )
    request = AuditRequest(
        target=str(fuser_folder("blank")),
        task=str(asked_of("blank", "c2c")),
        elsewhere=(str(asked_of("blank", "receiver")),),
        margin=0.05,
        root=root,
        to=root / "blank-c2c",  # goes on from there
    )
    audited = audit(request, console=Console(file=SILENT))
    assert read == [(request.task,), request.elsewhere]  # each once
    record = audited.record
    (elsewhere,) = record.elsewhere
    assert elsewhere.harm.harms
    assert elsewhere.harm.receiver.value == 1
    assert "; it does harm on receiver_knows (" in record.headline
    text = (audited.folder / "audit.json").read_text()
    assert AuditRecord.model_validate_json(text) == record
    page = (audited.folder / "audit.md").read_text()
    assert page == markdown(record)
    assert page.startswith(f"# {record.headline}\n")
    for number in ("A_M 100.0", "P/G:", "Tests of the finding at level 0.05", "within ±5, p"):
        assert number in page
    drawn = io.StringIO()
    Console(file=drawn, width=120).print(render(record))
    assert drawn.getvalue().startswith("Adapts without listening")


def test_a_published_checkpoint_is_audited_with_its_models(
    trial, tiny_model, root: Path, tmp_path: Path
) -> None:
    published = tmp_path / "published"
    writing.write(_fuser(tiny_model, token_alignment="longest", input_activation=False), published)
    asked = write_rows(tmp_path / "asked.jsonl", _rows(1))
    request = AuditRequest(
        target=str(published),
        task=str(asked),
        receiver=trial.pair.receiver,
        sharer=trial.pair.sharer,
        limit=20,
        root=root,
    )
    record = audit(request, console=Console(file=SILENT)).record
    assert record.subject == "rosetta-published"
    assert record.judgement.items == 20
    assert len(list((root / "audits" / "imported").iterdir())) == 1
    for wrong, message in (
        ({"sharer": None}, "does not name its two models"),
        ({"task": None}, "no test split of its own"),
    ):
        with pytest.raises(ConfigError, match=message):
            audit(AuditRequest(**{**vars(request), **wrong}))


def test_what_an_audit_cannot_be_of(trial, fuser_folder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="An audit is of a fuser"):
        audit(AuditRequest(target=trial.pair.receiver, root=tmp_path))
    with pytest.raises(ConfigError, match="brings its own"):
        audit(AuditRequest(target=str(fuser_folder("real")), receiver="path:x", root=tmp_path))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"limit": 1}, "1 item of asked about 1 fact", id="one-item"),
        pytest.param({"cluster": "all"}, "60 items of asked about 1 fact'", id="one-fact"),
        pytest.param({"to": "asked.jsonl"}, "--to must be a folder", id="to-a-file"),
        pytest.param({"to": "asked.jsonl/in/it"}, "jsonl is a file", id="to-below-a-file"),
    ],
)
def test_an_audit_refuses_at_once_what_it_could_not_end(
    changed: dict[str, Any], message: str, fuser_folder, tmp_path: Path
) -> None:
    about = {"cluster": changed["cluster"]} if "cluster" in changed else {}
    asked = write_rows(tmp_path / "asked.jsonl", [{**row, **about} for row in _rows(3)])
    request = AuditRequest(
        target=str(fuser_folder("real")),
        task=str(asked),
        limit=changed.get("limit"),
        root=tmp_path / "root",
        to=tmp_path / changed.get("to", "to"),
    )
    with pytest.raises(ConfigError, match=message):
        audit(request)
    assert [path.name for path in tmp_path.iterdir()] == ["asked.jsonl"]
