"""What a study would stumble over late is told before anything is written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.errors import SourceError
from c2c_search.models.at_hand import config_at_hand
from c2c_search.space.schema import Space
from c2c_search.study import readiness
from c2c_search.study.driver import run_study
from c2c_search.study.readiness import check_ready
from c2c_search.training.protocol import Failed
from tests.space.conftest import SPACE


CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
}
ROW = {"question": "Item {} is which?", "choices": ["w", "x", "y", "z"], "answer": 1}


def write_model(folder: Path, **config: Any) -> Path:
    """All that can be told of a model without loading it: 1,000 numbers in bfloat16."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    (folder / "tokenizer.json").write_text("{}")
    entry = {"dtype": "BF16", "shape": [10, 100], "data_offsets": [0, 2000]}
    header = json.dumps({"weight": entry}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(2000)
    (folder / "model.safetensors").write_bytes(content)
    return folder


def write_rows(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A space on two models and rows that are there."""
    write_model(tmp_path / "a")
    write_model(tmp_path / "b")
    rows = [ROW | {"question": ROW["question"].format(number)} for number in range(60)]  # type: ignore[attr-defined]
    write_rows(tmp_path / "data.jsonl", *rows)
    (tmp_path / "pipeline.yaml").write_text(
        "name: tiny\ndata: {source: jsonl, files: {train: data.jsonl}}\n"
        "training: {steps: 4, rungs: [0.5, 1.0]}\n"
    )
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def found(path: Path) -> str:
    with pytest.raises(C2CError) as caught:
        check_ready(Space.load(path), path)
    return str(caught.value)


def test_what_can_begin_begins(study: Path) -> None:
    check_ready(Space.load(study), study)


def test_a_model_that_is_not_there(study: Path) -> None:
    study.write_text(study.read_text().replace('sharer: "path:b"', 'sharer: "path:models/c"', 1))
    told = found(study)
    assert told.startswith(f"{study}:4:31 pairs.there.sharer: path: needs a folder that exists.")
    assert str(study.parent / "models/c") in told


def test_a_receiver_that_can_read_no_side_memory(study: Path) -> None:
    own = {"new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False}
    kept = {name: value for name, value in CONFIG.items() if name != "num_key_value_heads"}
    plain = study.read_text()
    study.write_text(f"{plain}fixed: {{fuser.injection: side}}\n")
    check_ready(Space.load(study), study)
    content = json.dumps({**kept, "model_type": "falcon", **own})
    (study.parent / "a" / "config.json").write_text(content)
    told = found(study)
    assert "pairs.there.receiver: A side memory needs a receiver" in told
    assert "Got 'falcon'" in told
    assert "sharer" not in told
    study.write_text(f"{plain}fixed: {{fuser.preset: kvcomm}}\n")
    assert "pairs.there.receiver: A side memory needs a receiver" in found(study)
    study.write_text(plain)
    check_ready(Space.load(study), study)


def test_a_name_on_the_hub_is_not_asked_for(study: Path) -> None:
    study.write_text(study.read_text().replace("path:b", "hf:nobody/nothing"))
    check_ready(Space.load(study), study)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "must be a JSON file"),
        (lambda folder: (folder / "config.json").write_text("[]"), "must hold a JSON object"),
        (lambda folder: (folder / "model.safetensors").unlink(), "must hold model.safetensors"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
        (
            lambda folder: (folder / "config.json").write_text(
                json.dumps(CONFIG | {"is_encoder_decoder": True})
            ),
            "encoder",
        ),
    ],
)
def test_a_model_that_cannot_work(
    study: Path, spoil: Callable[[Path], Any], expected: str
) -> None:
    spoil(study.parent / "b")
    told = found(study)
    assert f"{study}:4:31 pairs.there.sharer:" in told
    assert f"{study}:5:10 pairs.back.receiver:" in told
    assert expected in told


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "a file that exists"), (b"GGML", "needs a GGUF file")]
)
def test_a_gguf_file_is_looked_at(study: Path, content: bytes | None, expected: str) -> None:
    study.write_text(study.read_text().replace("path:b", "gguf:b.gguf"))
    if content is not None:
        (study.parent / "b.gguf").write_bytes(content)
    assert expected in found(study)
    (study.parent / "b.gguf").write_bytes(b"GGUF and so on")
    check_ready(Space.load(study), study)


def test_rows_that_do_not_fit_are_told_together(study: Path) -> None:
    data = study.parent / "data.jsonl"
    write_rows(data, ROW, {"question": "?", "choices": ["a"]}, {"prompt": "x"})
    told = found(study)
    assert f"{data}:2: choices must be" in told
    assert f"{data}:3: answer must be" in told


@pytest.mark.parametrize("source", ["quiz", "private_quiz"])
@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "The guard split must have at least one example"),
        ([{"prompt": "x"}], "guard.jsonl:1: answer must be"),
    ],
    ids=["empty", "wrong"],
)
def test_rows_to_guard_beside_a_built_in_source_are_read(
    study: Path, source: str, rows: list[dict[str, Any]], told: str
) -> None:
    write_rows(study.parent / "guard.jsonl", *rows)
    (study.parent / "pipeline.yaml").write_text(
        f"name: tiny\ndata: {{source: {source}, files: {{guard: [guard.jsonl]}}}}\n"
        "training: {steps: 4, rungs: [0.5, 1.0], guard: {}}\n"
    )
    study.write_text(f"{study.read_text()}\nfixed: {{fuser.injection: append}}\n")
    assert told in found(study)


def test_no_rows_at_all(study: Path) -> None:
    (study.parent / "data.jsonl").write_text("")
    with pytest.raises(DataError, match="must have at least one example"):
        check_ready(Space.load(study), study)


def test_models_and_rows_are_told_together(study: Path) -> None:
    (study.parent / "data.jsonl").write_text("")
    (study.parent / "a/config.json").unlink()
    told = found(study)
    assert "3 problems:" in told
    assert "at least one example" in told


def test_a_quiz_without_questions(study: Path) -> None:
    groups = "data: {groups: {test: place/sw}}"
    (study.parent / "pipeline.yaml").write_text(
        f"name: tiny\n{groups}\ntraining: {{steps: 4, rungs: [0.5, 1.0]}}\n"
    )
    assert "The test split must have at least one question. Got ['place/sw']" in found(study)


def test_limits_that_no_candidate_keeps(study: Path) -> None:
    text = study.read_text()
    study.write_text(text + "limits:\n  max_parameters: 10\n")
    told = found(study)
    assert told.startswith(
        f"{study}:14:1 limits: Some candidate must keep to the limits, but of a"
    )
    study.write_text(text + "limits:\n  max_parameters: 10000000\n")
    check_ready(Space.load(study), study)


def test_limits_that_only_the_smallest_candidates_keep(study: Path) -> None:
    text = study.read_text().replace(
        "fuser.depth: {int: [1, 8]}", "fuser.width: {int: [1, 60000]}"
    )
    text = text.replace("fuser.depth: 4", "fuser.width: 1")
    study.write_text(text + "limits:\n  max_parameters: 2000\n")
    check_ready(Space.load(study), study)


def test_models_that_alone_are_beyond_the_memory(study: Path) -> None:
    study.write_text(study.read_text() + "limits: {max_memory_gb: 3.0e-6}\n")
    assert "limits.max_memory_gb: The models of all pairs take 4e-06 GB before" in found(study)


def test_limits_on_models_still_to_be_fetched_are_left_open(study: Path) -> None:
    text = study.read_text().replace("path:b", "hf:nobody/nothing")
    study.write_text(text + "limits: {max_parameters: 10, max_memory_gb: 5.0e-6}\n")
    check_ready(Space.load(study), study)


def test_a_study_that_cannot_begin_leaves_nothing(study: Path, tmp_path: Path) -> None:
    (study.parent / "data.jsonl").write_text("")
    with pytest.raises(DataError):
        run_study(study, root=tmp_path / "mlruns")
    assert not (tmp_path / "mlruns").exists()


def test_a_study_without_results_is_not_bound_to_its_space(
    quick: Any, script: Any, space_file: Path
) -> None:
    def fails(self: Any, pair: Any) -> Any:
        yield Failed(failure="invalid", message="There is no network.")

    prepare, script.prepare = script.prepare, fails
    with pytest.raises(C2CError, match="no network"):
        quick(trials=1)
    space_file.write_text(space_file.read_text().replace("int: [1, 8]", "int: [1, 4]"))
    script.prepare = prepare
    quick(trials=1)
    assert quick(trials=1).study == "tiny"


def test_a_moved_study_tells_where_its_models_lay(
    quick: Any, space_file: Path, tmp_path: Path
) -> None:
    quick(trials=1)
    moved = tmp_path / "moved"
    moved.mkdir()
    space_file.write_text(space_file.read_text().replace("path:", f"path:{moved}/"))
    with pytest.raises(ConfigError, match="lay elsewhere when it began") as told:
        quick(trials=1)
    assert f'was "path:{tmp_path}/a", is "path:{moved}/a"' in str(told.value)
    assert "Move or link them back" in str(told.value)


def test_moved_models_that_are_not_found_are_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="move it back or link it there"):
        config_at_hand(f"path:{tmp_path}/gone")


def test_validating_imports_nothing_heavy(study: Path) -> None:
    heavy = ["torch", "transformers", "datasets", "optuna", "mlflow", "pandas", "numpy"]
    code = (
        "import sys; from c2c_search.cli import main; sys.argv = ['c', 'validate', sys.argv[1]]\n"
        "try: main()\n"
        f"finally: print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(study)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"
    assert "is valid" in run.stdout


def test_one_look_at_trials_that_are_as_large(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2c_search.study import sizes

    study.write_text(study.read_text() + "limits: {max_memory_gb: 1}\n")
    space, looked = Space.load(study), []
    monkeypatch.setattr(sizes, "_memory", lambda space: lambda trial: looked.append(trial) or 1)
    fits = sizes.make_fits(space)
    assert fits is not None
    for rate in (1e-4, 2e-4, 1e-3):
        assert fits(
            space.configuration(
                {"pair": "there", "fuser.depth": 2, "training.learning_rate": rate}
            )
        )
    assert fits(space.configuration({"pair": "there", "fuser.depth": 3}))
    assert len(looked) == 2


def test_readiness_is_bounded_in_time(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_SECONDS", -1.0)
    study.write_text(study.read_text() + "limits: {max_parameters: 10}\n")
    check_ready(Space.load(study), study)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("arc_easi", "must be known"),
        ("gsm8k", "answered by choosing"),
        ("arc_easy=nowhere", "must exist"),
    ],
)
def test_tasks_of_harm_that_cannot_be_asked(study: Path, task: str, told: str) -> None:
    pipeline = study.with_name("pipeline.yaml")
    pipeline.write_text(f"{pipeline.read_text()}champion: {{harmless_on: [{task}]}}\n")
    message = found(study)
    assert "pipeline, champion.harmless_on: " in message
    assert told in message


def test_rows_that_a_stage_cannot_learn_from(study: Path) -> None:
    """Of a searched list too: a trial that has it would fail late."""
    write_rows(study.with_name("open.jsonl"), {"id": "open", "prompt": "Say.", "answer": "so"})
    pipeline = study.with_name("pipeline.yaml")
    named = pipeline.read_text()
    assert "train: data.jsonl" in named
    pipeline.write_text(named.replace("train: data.jsonl", "train: [data.jsonl, open.jsonl]"))
    steps = Space.load(study).pipeline.training.steps
    stages = f"  training.stages: {{choices: [answer {steps}, task {steps}]}}\n"
    study.write_text(study.read_text().replace("dimensions:\n", f"dimensions:\n{stages}"))
    message = found(study)
    assert "1 have none" in message
    assert "open" in message


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ('fuser.layers: "0, 5"', "fuser.layers must be of the receiver's 0 to 1. Got '0, 5'"),
        ('fuser.layers: "0:7"', "must be fed by the sharer's 0 to 1. Got '0:7'"),
        ("fuser.layer_count: 3", "fuser.layer_count must be at most 2"),
    ],
)
def test_layers_that_a_model_does_not_have(study: Path, layers: str, told: str) -> None:
    study.write_text(study.read_text() + f"fixed:\n  {layers}\n")
    assert told in found(study)
    assert f"{study}:15:3 fixed.fuser.layer" in found(study)


def test_a_preset_of_more_layers_than_a_model_has(study: Path) -> None:
    study.write_text(study.read_text() + "fixed:\n  fuser.preset: draft-kv\n")
    told = found(study)
    assert f"{study}:15:3 fixed.fuser.preset" in told
    assert "fuser.layer_count must be at most 2" in told
