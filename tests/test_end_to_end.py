"""The main job on the two real models, with a budget of a few steps.

So few steps prove nothing, so the study must promote nothing; then the gate is opened by hand,
and what it would promote must install and answer in an environment without the workbench.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.installed import link_requirements


pytestmark = pytest.mark.slow

SPACE = """
study: end-to-end
pipeline: pipeline.yaml
pairs:
  gemma-to-smollm: {receiver: "pypi:smollm2-135m-instruct", sharer: "pypi:gemma-3-270m"}
search: {trials: 2, sampler: random, pruner: none, seed: 1}
dimensions:
  fuser.depth: {choices: [1, 2]}
  fuser.gate.granularity: {choices: [none, head]}
  fuser.gate.noise: {choices: [none, logistic], when: {fuser.gate.granularity: head}}
  training.learning_rate: {float: [1.0e-3, 3.0e-3], log: true}
fixed: {fuser.width: 16}
"""

PIPELINE = """
name: end-to-end
data: {limit: {train: 24, validation: 20, test: 40}}
training: {steps: 3, batch_size: 4, log_every: 1, rungs: [0.5, 1.0]}
champion: {finalists: 1, level: 0.01, registered_name: end-to-end}
"""

ASK = """
import sys
from c2c_search import C2CModel
for name in ("optuna", "mlflow", "deepspeed", "datasets"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} must not be needed, nor be there")
print(repr(C2CModel.from_pretrained(sys.argv[1]).generate(sys.argv[2], max_new_tokens=16)))
"""


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from c2c_search.cli import main; main()", *words]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=1200)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "space.yaml").write_text(SPACE)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    return folder


@pytest.fixture(scope="module")
def studied(home) -> subprocess.CompletedProcess[str]:
    return command("study", "--space", "space.yaml", cwd=home)


def test_study_that_proves_nothing_promotes_nothing(studied, home):
    assert studied.returncode == 3, studied.stderr + studied.stdout
    assert "nothing was promoted" in studied.stderr
    assert "Traceback" not in studied.stderr
    assert not (home / "mlruns" / "champions").exists()


def test_everything_is_recorded(studied, home):
    from c2c_search.tracking import Tracker

    tracker = Tracker.open(home / "mlruns", "end-to-end")
    runs = tracker.client.search_runs([tracker.experiment_id])
    kinds = sorted(run.data.tags["c2c.kind"] for run in runs)
    assert kinds == ["control", "control", "study", "trial", "trial", "twin"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    trial = next(run for run in runs if run.data.tags["c2c.kind"] == "trial")
    assert {"objective", "validation/accuracy", "fuser/parameters", "time/train"} <= set(
        trial.data.metrics
    )
    assert {"gate/open_train", "gate/open_eval"} <= set(trial.data.metrics)
    steps = tracker.client.get_metric_history(trial.info.run_id, "train/loss")
    assert [metric.step for metric in steps] == [1, 2, 3]
    files = {item.path for item in tracker.client.list_artifacts(trial.info.run_id)}
    assert {"trial.yaml", "fuser"} <= files
    assert trial.inputs.dataset_inputs


def test_same_command_trains_nothing_again(studied, home):
    log = home / "mlruns" / "trials" / "end-to-end" / "worker.log"
    before = log.stat().st_mtime_ns
    again = command("study", "--space", "space.yaml", cwd=home)
    assert again.returncode == 3
    assert log.stat().st_mtime_ns == before  # not even a worker was started


def test_champion_installs_and_answers_elsewhere(studied, home, monkeypatch, tmp_path):
    from c2c_search.study import driver
    from c2c_search.study import finalists

    real = finalists.judge
    monkeypatch.setattr(
        finalists, "judge", lambda *a, **k: real(*a, **k).model_copy(update={"passed": True})
    )
    monkeypatch.chdir(home)
    outcome = driver.run_study(Path("space.yaml"))
    manifest = json.loads((outcome.champion.folder / "manifest.json").read_text())

    exported = tmp_path / "champion"
    assert command("export", "--to", str(exported), cwd=home).returncode == 0
    asked = manifest["questions"][0]

    venv.create(tmp_path / "venv", with_pip=False)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*install, str(exported / "runtime")], check=True, timeout=600)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    link_requirements("c2c-search-runtime", site)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [python, "-c", ASK, str(exported), asked["question"]],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == repr(asked["answer"])

    examined = command(
        "eval", str(exported), "--systems", "all", "--limit", "8", "--json", cwd=home
    )
    assert examined.returncode == 0, examined.stderr
    (task,) = json.loads(examined.stdout)["tasks"]
    scores = {scored["system"]: scored for scored in task["scores"]}
    assert {"text_relay", "routing", "c2c", "no_sharer", "ridge", "lora", "oracle"} <= set(scores)
    assert scores["shut"]["unequal"] == 0

    side_by_side = command("ask", str(exported), asked["question"], cwd=tmp_path)
    assert side_by_side.returncode == 0, side_by_side.stderr
    for who in ("receiver", "sharer", "C2C"):
        assert who in side_by_side.stdout
