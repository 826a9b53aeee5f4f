from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.config.trial import canonical_hash
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitFiles
from c2c_search.errors import ConfigError
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.models.pair import PairSpec


# What YAML could take for something else, and what it cannot hold unescaped.
_WORDS = st.one_of(
    st.sampled_from(
        ["1e-3", "no", "null", "~", "12", ".inf", "a: b", "#", "- x", "<<", "é\u2028"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
)
_POSITIVE = st.floats(1e-12, 1e6)
_GATES = st.one_of(
    st.just(GateConfig()),
    st.builds(
        GateConfig,
        granularity=st.sampled_from(["layer", "head", "value"]),
        noise=st.sampled_from(["gumbel", "logistic", "none"]),
        rule=st.sampled_from(["hard", "soft"]),
        initial_logit=st.floats(-9, 9),
        temperature_end=_POSITIVE,
    ),
)
_FUSERS = st.builds(
    FuserConfig,
    depth=st.integers(1, 8),
    width=st.integers(1, 4096),
    dropout=st.floats(0, 1, exclude_max=True),
    dynamic_weight=st.booleans(),
    gate=_GATES,
)
_TRAININGS = st.builds(
    TrainingConfig,
    steps=st.integers(4, 10**9),
    learning_rate=_POSITIVE,
    zero_stage=st.sampled_from([0, 1, 2]),
    rungs=st.sampled_from([(1.0,), (0.5, 1.0), (1 / 3, 2 / 3, 1.0)]),
)
_FILES = st.builds(SplitFiles, train=st.lists(_WORDS, min_size=1).map(tuple))
_DATA = st.one_of(
    st.just(DataConfig()), st.builds(DataConfig, source=st.just("jsonl"), files=_FILES)
)
TRIALS = st.builds(
    TrialConfig,
    pair=st.builds(PairSpec, receiver=_WORDS, sharer=_WORDS),
    fuser=_FUSERS,
    training=_TRAININGS,
    data=_DATA,
    evaluation=st.builds(EvaluationConfig, length_normalised=st.booleans()),
    seed=st.integers(0, 2**32 - 1),
)


@pytest.fixture
def trial() -> TrialConfig:
    return TrialConfig(
        pair=PairSpec(receiver="pypi:a", sharer="pypi:b"),
        fuser=FuserConfig(),
        training=TrainingConfig(),
        data=DataConfig(),
        evaluation=EvaluationConfig(),
        seed=7,
    )


@settings(max_examples=40, deadline=None)
@given(TRIALS)
def test_yaml_round_trip_is_identity(trial: TrialConfig) -> None:
    again = TrialConfig.from_yaml(trial.to_yaml())
    assert again == trial
    assert again.hash() == trial.hash()


def test_yaml_leaves_out_no_field(trial: TrialConfig) -> None:
    written = yaml.safe_load(trial.to_yaml())
    assert written == trial.model_dump(mode="json")
    assert written["fuser"]["gate"]["noise"] == "none"


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.none())), st.randoms())
def test_hash_does_not_depend_on_the_order_of_keys(content: dict, random) -> None:
    keys = list(content)
    random.shuffle(keys)
    assert canonical_hash({key: content[key] for key in keys}) == canonical_hash(content)


def test_hash_is_equal_in_another_process(trial: TrialConfig) -> None:
    program = (
        "import sys; from c2c_search.config.trial import TrialConfig;"
        "print(TrialConfig.from_yaml(sys.stdin.read()).hash())"
    )
    # Another hash seed, so that sets and dictionaries would iterate differently.
    environment = {**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(
        [sys.executable, "-c", program],
        input=trial.to_yaml(),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == trial.hash()
    assert len(trial.hash()) == 16


def test_derangements_enter_the_hash_where_they_are_not_as_many_as_usual(
    trial: TrialConfig,
) -> None:
    """Trials of before there were several keep their hash."""

    def derangements(count: int) -> TrialConfig:
        evaluation = trial.evaluation.model_copy(update={"derangements": count})
        return trial.model_copy(update={"evaluation": evaluation})

    assert "derangements" not in derangements(3).to_yaml()
    assert derangements(3).hash() == trial.hash()
    assert derangements(5).hash() != trial.hash()
    assert TrialConfig.from_yaml(derangements(5).to_yaml()) == derangements(5)


def test_what_a_sharer_sends_enters_the_hash_where_it_is_more_than_its_prompt(
    trial: TrialConfig,
) -> None:
    """Trials of before a sharer could draft keep their hash, and their YAML."""
    plain = FuserConfig(injection="append")
    own = trial.model_copy(update={"fuser": plain})
    assert "message" not in own.to_yaml()
    assert "draft" not in own.to_yaml()
    assert "anchor" not in own.to_yaml()
    known = {own.hash()}
    for fields in (
        {"message": "draft"},
        {"message": "both"},
        {"message": "both", "draft_tokens": 9},
        {"message": "draft", "anchors": "last"},
        {"anchors": "first", "anchor_tokens": 5},
    ):
        drafting = own.model_copy(update={"fuser": plain.model_copy(update=fields)})
        assert TrialConfig.from_yaml(drafting.to_yaml()) == drafting
        known.add(drafting.hash())
        for control in (drafting.with_blank_sharer(), drafting.with_ridge(), drafting.with_self()):
            assert control.fuser.message == drafting.fuser.message
            assert control.fuser.draft_tokens == drafting.fuser.draft_tokens
        assert not drafting.with_blank_sharer().fuser.anchored
        for control in (drafting.with_ridge(), drafting.with_self()):
            assert control.fuser.anchors == drafting.fuser.anchors
            assert control.fuser.anchor_tokens == drafting.fuser.anchor_tokens
    data = own.data.model_copy(update={"draft_template": "chat"})
    known.add(own.model_copy(update={"data": data}).hash())
    assert len(known) == 7


@pytest.mark.parametrize(
    ("fields", "training", "what"),
    [
        ({}, {"stages": "reconstruction 4 -> answer 4"}, "a reconstruction stage has it write"),
        ({"message": "both"}, {"receiver_sees": "half"}, "receiver_sees half keeps from it"),
        ({"message": "draft"}, {"receiver_sees": "never"}, ""),
    ],
)
def test_anchors_that_leave_a_training_nothing_to_learn_are_refused(
    trial: TrialConfig, fields: dict[str, str], training: dict[str, str], what: str
) -> None:
    update = trial.model_dump() | {
        "fuser": {"injection": "side", "anchors": "first", **fields},
        "training": training,
    }
    if not what:
        assert TrialConfig.model_validate(update).fuser.anchored
        return
    with pytest.raises(ValidationError, match=what):
        TrialConfig.model_validate(update)


def test_hash_tells_trials_apart(trial: TrialConfig) -> None:
    assert trial.hash() != trial.model_copy(update={"seed": 8}).hash()


def test_twin_differs_in_the_sharer_alone(trial: TrialConfig) -> None:
    twin = trial.with_blank_sharer()
    assert twin.fuser.sharer == "blank"
    assert twin.hash() != trial.hash()
    real = twin.fuser.model_copy(update={"sharer": "real"})
    assert twin.model_copy(update={"fuser": real}) == trial


def test_from_yaml_reports_every_problem_with_its_line(trial: TrialConfig) -> None:
    text = trial.to_yaml().replace("depth: 3", "depth: 30").replace("seed: 7", "sed: 7")
    lines = text.splitlines()
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_yaml(text, name="mine.yaml")
    message = str(caught.value)
    assert f"mine.yaml:{lines.index('  depth: 30') + 1}:3 fuser.depth" in message
    assert f"mine.yaml:{lines.index('sed: 7') + 1}:1 sed: There is no key `sed`" in message
    assert "Did you mean `seed`?" in message
    assert "seed: This key is missing." in message


def test_a_map_that_only_an_import_has_is_not_trained(trial: TrialConfig) -> None:
    text = trial.to_yaml().replace("layer_alignment: terminal", "layer_alignment: explicit")
    assert text != trial.to_yaml()
    with pytest.raises(ConfigError, match="imported checkpoint"):
        TrialConfig.from_yaml(text)


def test_the_twin_of_a_fuser_that_hears_the_sharer_alone_reads_the_receiver(
    trial: TrialConfig,
) -> None:
    linear = FuserConfig(projector="linear", initialisation="ridge", injection="replace", width=32)
    twin = trial.model_copy(update={"fuser": linear}).with_blank_sharer()
    assert twin.fuser == FuserConfig(projector="c2c", width=32, sharer="blank")


def test_a_day_is_part_of_a_trial_that_has_one_and_of_no_other() -> None:
    trial = TrialConfig(
        pair=PairSpec(receiver="path:a", sharer="path:b"),
        fuser=FuserConfig(),
        training=TrainingConfig(),
        data=DataConfig(),
        evaluation=EvaluationConfig(),
        seed=0,
    )
    assert "date" not in trial.model_dump()["data"]
    dated = trial.model_copy(update={"data": DataConfig(date="2026-07-31")})
    assert dated.hash() != trial.hash()
    assert TrialConfig.from_yaml(dated.to_yaml()) == dated
    with pytest.raises(ConfigError, match="Must be a day, as 2026-07-31"):
        TrialConfig.from_yaml(dated.to_yaml().replace("2026-07-31", "yesterday"))


def test_a_trial_names_a_preset(trial: TrialConfig) -> None:
    head, _, rest = trial.to_yaml().partition("fuser:\n")
    after = rest[rest.index("\ntraining:") :]
    named = TrialConfig.from_yaml(f"{head}fuser: {{preset: c2c-small, depth: 2}}{after}")
    assert (named.fuser.depth, named.fuser.width) == (2, 64)
    assert "preset" not in named.to_yaml()
    with pytest.raises(ConfigError, match=r"A preset must be one of.*Did you mean `c2c-small`"):
        TrialConfig.from_yaml(f"{head}fuser: {{preset: c2c-smal}}{after}")
