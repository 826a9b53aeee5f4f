from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.errors import ConfigError
from c2c_search.space import Space
from c2c_search.space import validate_file


ASSETS = Path(__file__).parent / "assets"
ROOT = Path(__file__).parents[2]

BROKEN = [
    "broken.yaml:2:1 study: Must match pattern",
    "broken.yaml:6:78 pairs.two.speaker: There is no key `speaker` here.",
    "broken.yaml:7:3 pairs.two: This key stands here already, on line 6.",
    "broken.yaml:9:3 search.trials: Must be greater than or equal to 1. Got 0.",
    "broken.yaml:10:3 search.sampler: There is no such sampler. Got 'tpee'. Did you mean `tpe`?",
    "broken.yaml:12:3 dimensions.fuser.dept: A dotted name must be `pair` or a field of the",
    "broken.yaml:14:28 dimensions.fuser.gate.granularity.choices[2]: ",
    "broken.yaml:17:12 dimensions.fuser.gate.noise.when.fuser.gate.granularity: A condition must",
    "broken.yaml:20:12 dimensions.fuser.gate.rule.when.fuser.gate.granlarity: A condition must",
    "broken.yaml:21:3 dimensions.fuser.width: A range must rise, but goes from 64 to 32.",
    "broken.yaml:22:30 dimensions.fuser.depth.choices[1]: Must be a valid integer. Got '2'.",
    "broken.yaml:23:3 dimensions.fuser.sharer: This is not searched: every finalist's no-sharer",
    "broken.yaml:25:13 dimensions.training.learning_rate.float[0]: Must be greater than 0.",
    "broken.yaml:26:12 dimensions.training.learning_rate.when.training.weight_decay: A condition",
    "broken.yaml:29:36 dimensions.training.warmup.choices[1]: Must be null, a boolean, a number",
    "broken.yaml:31:3 fixed.fuser.depth: A name is searched or fixed, not both",
    "broken.yaml:32:3 fixed.data.seed: This is not searched: every trial is judged on the same",
    "broken.yaml:33:3 fixed.fuser.dropout: Must be less than 1. Got 1.5.",
    "broken_pipeline.yaml:4:11 data.files.train: A data file must exist;",
    "broken_pipeline.yaml:7:3 training.zero_stage: Must be 0, 1 or 2: DeepSpeed's stage 3",
    "broken_pipeline.yaml:8:3 training.rungs: Must be shares of the steps that rise",
    "broken_pipeline.yaml:10:3 champion.finalist: There is no key `finalist` here. Did you mean",
]


def test_every_problem_of_a_broken_space_and_its_pipeline_is_reported() -> None:
    problems = [str(problem) for problem in validate_file(ASSETS / "broken.yaml")]
    named = [problem.removeprefix(f"{ASSETS}/") for problem in problems]
    for expected, found in zip(BROKEN, named, strict=True):
        assert found.startswith(expected)
    assert named[6].endswith("Got 'laier'. Did you mean `layer`?")


def test_a_misspelt_choice_gets_its_nearest_name_and_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: here")
    more = """\
  fuser.gate.granularity: {choices: [layer, tokn]}
  fuser.injection: {choices: [replace, residul]}
fixed:
  training.schedule: cosin
"""
    problems = [str(problem) for problem in validate_file(_write(tmp_path, "p.yaml", more))]
    ends = [problem.removeprefix(f"{tmp_path}/").split("Got ") for problem in problems]
    assert [(start.split(": ")[0], end) for start, end in ends] == [
        (
            "space.yaml:8:45 dimensions.fuser.gate.granularity.choices[1]",
            "'tokn'. Did you mean `token`?",
        ),
        (
            "space.yaml:9:40 dimensions.fuser.injection.choices[1]",
            "'residul'. Did you mean `residual`?",
        ),
        ("space.yaml:11:3 fixed.training.schedule", "'cosin'. Did you mean `cosine`?"),
    ]


def test_a_misspelt_plug_in_of_the_search_gets_its_nearest_name(tmp_path: Path) -> None:
    path = _write(tmp_path, "p.yaml")
    (tmp_path / "p.yaml").write_text("name: here\ntraining: {rungs: [0.5, 1.0]}")
    for name, hint in (
        ("halvin", "Did you mean `halving`?"),
        ("x", "Valid: "),  # and all names, those that other tests have registered among them
    ):
        path.write_text(SPACE.format(pipeline="p.yaml").replace("pruner: none", f"pruner: {name}"))
        (problem,) = validate_file(path)
        assert (
            f"space.yaml:5:21 search.pruner: There is no such pruner. Got {name!r}. {hint}"
            in str(problem)
        )


def test_a_dotted_path_that_is_not_importable_says_where_modules_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.yaml").write_text("name: here")
    (tmp_path / "beside_the_space.py").write_text("")
    path = _write(tmp_path, "p.yaml")
    path.write_text(path.read_text().replace("trials: 3", "sampler: beside_the_space.mine"))
    monkeypatch.chdir(tmp_path)
    found = [str(problem) for problem in validate_file(path)]
    (problem,) = [each for each in found if "search.sampler" in each]
    assert "space.yaml:5:10 search.sampler: The module of a sampler must be importable" in problem
    assert "PYTHONPATH; the working folder is not searched" in problem


def test_load_raises_them_all_in_one_error() -> None:
    with pytest.raises(ConfigError, match=f"{len(BROKEN)} problems:"):
        Space.load(ASSETS / "broken.yaml")


@pytest.mark.parametrize(("space", "pipeline"), [("names", "quickstart"), ("fuser", "private")])
def test_spaces_that_run_anywhere_are_valid(space: str, pipeline: str) -> None:
    assert validate_file(ROOT / f"spaces/{space}.yaml") == []
    assert Space.load(ROOT / f"spaces/{space}.yaml").pipeline.name == pipeline


@pytest.mark.parametrize(("space", "pipeline"), [("qwen", "openhermes"), ("draft", "draft")])
def test_the_papers_spaces_lack_their_data_alone(space: str, pipeline: str) -> None:
    problems = [str(problem) for problem in validate_file(ROOT / f"spaces/{space}.yaml")]
    assert problems
    assert all(f"{pipeline}.yaml" in problem for problem in problems)
    assert all("A data file must exist" in problem for problem in problems)


SPACE = """\
study: test
pipeline: {pipeline}
pairs:
  only: {{receiver: "path:a", sharer: "path:b"}}
search: {{trials: 3, pruner: none}}
dimensions:
  fuser.depth: {{choices: [1, 2]}}
"""


def _write(folder: Path, pipeline: str, more: str = "") -> Path:
    path = folder / "space.yaml"
    path.write_text(SPACE.format(pipeline=pipeline) + more, encoding="utf-8")
    return path


def test_the_pipeline_is_relative_to_the_space(tmp_path: Path) -> None:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "p.yaml").write_text("name: here")
    assert Space.load(_write(tmp_path / "spaces", "../p.yaml")).pipeline.name == "here"


def test_a_pipeline_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = validate_file(_write(tmp_path, "p.yaml"))
    assert str(problem).startswith(
        f"{tmp_path}/space.yaml:2:1 pipeline: The pipeline file must ex"
    )


def test_a_pipeline_that_is_no_yaml_hides_nothing_in_the_space(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: [")
    problems = validate_file(_write(tmp_path, "p.yaml", "  fuser.with: {choices: [1, 2]}\n"))
    assert ["space.yaml:8" in str(problems[0]), "p.yaml:1" in str(problems[1])] == [True, True]


def test_what_refers_to_an_unreadable_entry_is_not_blamed(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: here")
    more = """\
  fuser.gate.granularity: {choice: [none, layer]}
  fuser.gate.noise: {choices: [none, gumbel], when: {fuser.gate.granularity: layer}}
enqueue:
  - {fuser.gate.granularity: layer, fuser.gate.noise: gumbel}
"""
    problems = [str(problem) for problem in validate_file(_write(tmp_path, "p.yaml", more))]
    assert all("space.yaml:8" in problem for problem in problems)


def test_missing_sections_are_named(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("study: test\n")
    found = [str(problem).split(" ", 1)[1] for problem in validate_file(path)]
    missing = [f"{name}: This key is missing." for name in ("pairs", "search", "dimensions")]
    assert set(missing) < set(found)
    assert "pipeline: This key is missing." in found


def test_a_space_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = validate_file(tmp_path / "no.yaml")
    assert "does not exist" in str(problem)
