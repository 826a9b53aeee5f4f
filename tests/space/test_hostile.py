"""Files that are wrong in ways no author of a schema thinks of: one problem each, where it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from c2c_search.config.document import parse
from c2c_search.config.problems import build
from c2c_search.config.trial import TrialConfig
from c2c_search.errors import ConfigError
from c2c_search.space import Space
from c2c_search.space import validate_file
from tests.space.conftest import PIPELINE
from tests.space.conftest import SPACE
from tests.space.conftest import write_space


_COLUMN = re.compile(r"(\.yaml:\d+):\d+")


def _problems(folder: Path, file: str, old: str, new: str) -> list[str]:
    """Problems of the valid space when ``old`` is ``new`` in one of its files."""
    write_space(folder)
    path = folder / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new), encoding="utf-8")
    return [str(each).removeprefix(f"{folder}/") for each in validate_file(folder / "space.yaml")]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("trials: 5", "trials: true", "space.yaml:6 search.trials: Must be a valid integer."),
        ("trials: 5", 'trials: "5"', "space.yaml:6 search.trials: Must be a valid integer."),
        ("trials: 5", "trials: 5.0", "space.yaml:6 search.trials: Must be a valid integer."),
        ("trials: 5", "trials: 5_000", "space.yaml:6 search.trials: Must be a valid integer."),
        ("trials: 5", "trials: 999999999999", "space.yaml:6 search.trials: Must be less than or"),
        ("trials: 5", "trials: !!int five", "space.yaml:6 search.trials: YAML tags have no"),
        ("trials: 5", f"trials: {'1' * 5000}", "space.yaml:6 search.trials: A whole number must"),
        ("[1, 8]", "[true, 8]", "space.yaml:9 dimensions.fuser.depth.int[0]: Must be a valid int"),
        ("[1, 8]", "[1, 99999999999999999999]", "space.yaml:9 dimensions.fuser.depth.int[1]: A w"),
        (
            "{int: [1, 8]}",
            "{choices: [4, true]}",
            "space.yaml:9 dimensions.fuser.depth.choices[1]",
        ),
        ("log: true", "log: yes", "space.yaml:10 dimensions.training.learning_rate.log: Must be"),
        ("log: true", "log: 1", "space.yaml:10 dimensions.training.learning_rate.log: Must be a"),
        ("study: tiny", f"study: {'a' * 300}", "space.yaml:1 study: Must have at most 100 char"),
        ("pipeline.yaml", "x" * 4000, "space.yaml:2 pipeline: The pipeline file must exist;"),
        ("pipeline.yaml", '"a\\0b"', "space.yaml:2 pipeline: Text must not hold control"),
        ("study: tiny", 'study: "\\ud800"', "space.yaml:1 study: Text must not hold control"),
    ],
)
def test_a_value_of_another_kind_in_a_space(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    (problem,) = _problems(tmp_path, "space.yaml", old, new)
    assert _COLUMN.sub(r"\1", problem).startswith(expected)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("learning_rate: true", "training.learning_rate: Must be a valid number. Got true."),
        ("learning_rate: '1e-3'", "training.learning_rate: Must be a valid number. Got '1e-3'."),
        ("steps: 4.0", "training.steps: Must be a valid integer. Got 4.0."),
        (f"steps: {'1' * 400}", "training.steps: A whole number must not have more than 15"),
        ("batch_size: 0", "training.batch_size: Must be greater than or equal to 1. Got 0."),
        ("zero_stage: true", "training.zero_stage: Must be a whole number. Got true."),
        ("zero_stage: 1.0", "training.zero_stage: Must be a whole number. Got 1.0."),
        ("checkpoint_activations: on", "training.checkpoint_activations: Must be a valid bool"),
        ("warmup: .nan", "training.warmup: Must be"),
        ("gradient_clipping: .inf", "training.gradient_clipping: Must be a finite number."),
    ],
)
def test_a_value_of_another_kind_in_a_pipeline_is_not_the_spaces_fault(
    tmp_path: Path, key: str, expected: str
) -> None:
    old = "steps: 4" if key.startswith("steps") else "log_every: 1"
    (problem,) = _problems(tmp_path, "pipeline.yaml", old, key)
    assert _COLUMN.sub(r"\1", problem).startswith(f"pipeline.yaml:2 {expected}")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("resamples: 1.0e+12", "champion.resamples: Must be a valid integer."),
        ("resamples: 1000000000000", "champion.resamples: Must be less than or equal to"),
        ("registered_name: 'a/b'", "champion.registered_name: Must match pattern"),
        ("registered_name: ''", "champion.registered_name: Must match pattern"),
        ("registered_name: 'a '", "champion.registered_name: Must match pattern"),
        ("registered_name: ..", "champion.registered_name: Must match pattern"),
        (f"registered_name: {'a' * 300}", "champion.registered_name: Must have at most 200"),
    ],
)
def test_what_would_be_refused_after_the_study_is_refused_before(
    tmp_path: Path, more: str, expected: str
) -> None:
    (problem,) = _problems(tmp_path, "pipeline.yaml", "resamples: 400", more)
    assert _COLUMN.sub(r"\1", problem).startswith(f"pipeline.yaml:3 {expected}")


def test_a_name_that_does_not_fit_is_told_in_words(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "space.yaml", "study: tiny", "study: a/b")
    assert problem.endswith(
        "Got 'a/b'. Letters, digits, dots, dashes and underscores of ASCII; "
        "the first is a letter or a digit."
    )


def test_a_rule_that_names_what_it_found_is_shortened(tmp_path: Path) -> None:
    rungs = [step / 1000 for step in range(1, 1001)]
    (problem,) = _problems(tmp_path, "pipeline.yaml", "[0.5, 1.0]", str(rungs))
    assert len(problem) < 1000


def test_two_documents_are_no_yaml_of_ours(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "space.yaml", "study: tiny", "study: tiny\n---\na: 1")
    assert "Must be valid YAML, but found another document." in problem


def test_a_data_file_without_an_end_is_not_read(tmp_path: Path) -> None:
    data = "name: x\ndata: {source: jsonl, files: {train: /dev/zero}}"
    (problem,) = _problems(tmp_path, "pipeline.yaml", "name: tiny-task", data)
    assert "A data file must exist" in problem


def test_a_trial_without_an_end_is_not_read() -> None:
    with pytest.raises(ConfigError, match="must not be larger than 256 KiB"):
        TrialConfig.load(Path("/dev/zero"))


def test_an_int_is_a_float(tmp_path: Path) -> None:
    problems = _problems(tmp_path, "pipeline.yaml", "log_every: 1", "learning_rate: 1")
    assert problems == []


def test_a_missing_section_is_told_once(tmp_path: Path) -> None:
    pairs = SPACE[SPACE.index("pairs:") : SPACE.index("search:")]
    assert _problems(tmp_path, "space.yaml", pairs, "") == [
        "space.yaml:1:1 pairs: This key is missing."
    ]


def test_of_very_many_problems_the_first_are_shown(tmp_path: Path) -> None:
    write_space(tmp_path)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE + "".join(f"k{i}: 1\n" for i in range(5000)))
    with pytest.raises(ConfigError) as caught:
        Space.load(tmp_path / "space.yaml")
    lines = str(caught.value).splitlines()
    assert (lines[0], lines[-1]) == ("5,000 problems:", "  ... and 4,980 more")
    assert len(lines) == 22


def test_a_trial_is_read_strictly(make_space) -> None:
    text = make_space().configuration({"pair": "there"}).to_yaml()
    assert build(TrialConfig, parse(text, "t"))
    with pytest.raises(ConfigError, match=r"training.learning_rate: Must be a valid number"):
        TrialConfig.from_yaml(text.replace("learning_rate: 0.0001", "learning_rate: true"))
