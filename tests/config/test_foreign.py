"""Files of other programs are told apart from spaces and pipelines that have mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2c_search.config.pipeline import read_pipeline
from c2c_search.space.loading import validate_file


ROOT = Path(__file__).parents[2]
RECIPE = {
    "model": {
        "base_model": "Qwen/Qwen3-0.6B",
        "teacher_model": "Qwen/Qwen2.5-0.5B-Instruct",
        "is_do_alignment": False,
        "projector": {"type": "C2CProjector", "params": {"hidden_dim": 1024, "dropout": 0.1}},
        "mapping": "last_aligned",
    },
    "training": {"learning_rate": 1e-4, "num_epochs": 1, "freeze": ["teacher", "base"]},
    "output": {"output_dir": "local/checkpoints", "save_steps": 500},
    "data": {"type": "OpenHermesChatDataset", "kwargs": {"split": "train"}, "train_ratio": 0.99},
}
EVALUATION = """
model:
  model_name: Rosetta
  rosetta_config: {base_model: Qwen/Qwen2.5-0.5B-Instruct, teacher_model: Qwen/Qwen3-0.6B}
output: {output_dir: local/final_results}
eval: {dataset: mmlu-redux, gpu_ids: [0, 1], answer_method: generate}
"""
HARNESS = """
task: arc_easy
dataset_path: allenai/ai2_arc
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{choices.label.index(answerKey)}}"
process_docs: !function utils.process_docs
"""
INHERITED = "include: arc_easy.yaml\ntask: arc_challenge\n"


@pytest.mark.parametrize(
    ("content", "what", "way_out"),
    [
        (json.dumps(RECIPE, indent=4), "training recipe of C2C", "model.base_model is the `recei"),
        (EVALUATION, "evaluation recipe of C2C", "c2c-search import-rosetta CHECKPOINT"),
        (HARNESS, "task of lm-evaluation-harness", "--lm-eval TASK --include-path FOLDER"),
        (INHERITED, "task of lm-evaluation-harness", "--lm-eval TASK"),
    ],
)
def test_a_file_of_another_program_is_one_problem_with_the_way_out(
    tmp_path: Path, content: str, what: str, way_out: str
) -> None:
    file = tmp_path / "given.yaml"
    file.write_text(content, encoding="utf-8")
    (as_space,) = validate_file(file)
    pipeline, (as_pipeline,) = read_pipeline(file)
    assert pipeline is None
    assert str(as_space) == str(as_pipeline)
    assert str(as_space).startswith(f"{file}: This is a")
    assert what in str(as_space)
    assert way_out in str(as_space)


@pytest.mark.parametrize("name", ["space: spaces/qwen.yaml", "pipelines/quickstart.yaml"])
def test_own_files_are_not_taken_for_another_program_s(name: str) -> None:
    path = ROOT / name.removeprefix("space: ")
    problems = validate_file(path) if name.startswith("space") else read_pipeline(path)[1]
    assert not any("This is a" in str(problem) for problem in problems)
