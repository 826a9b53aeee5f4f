"""Steps of all kinds train equal fusers, and their ratios are of medians."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def train_step(program):
    return program("train_step")


@pytest.fixture
def make_steps(program, tiny_model, tmp_path):
    """Steps of a tiny pair: ``make_steps(kinds=("stored",))``."""
    steps = program("steps")

    def make(**fields):
        return steps.Steps(
            tiny_model("qwen3", layers=3, seed=1),
            tiny_model("llama", layers=2, heads=1, head_dim=12, seed=2),
            steps.Examples.of_quiz(8),
            steps.published(8),
            batch=2,
            folder=tmp_path,
            **fields,
        )

    return make


def test_all_kinds_compute_the_same_step(make_steps, program):
    watch = program("timing").Watch
    with make_steps() as steps:
        agreement = steps.agreement()
        assert agreement["reference_loss"] == pytest.approx(agreement["loss"], rel=1e-4)
        assert agreement["gradient_norm"] > 0
        losses = {
            kind: float(step(steps.rows(0), watch(steps.pair.device)))
            for kind, step in steps.steps.items()
        }
        # What is stored is rounded to bfloat16.
        assert losses["stored"] == pytest.approx(losses["recomputed"], rel=1e-4)
        assert losses["stored"] == pytest.approx(losses["reference"], rel=1e-2)


def test_steps_that_differ_are_told(make_steps):
    with make_steps() as steps:
        style = steps._style

        def disturbed():
            other = style()
            other.fuser.projectors[0][0].compress.bias.data += 1.0
            return other

        steps._style = disturbed
        with pytest.raises(AssertionError, match="the reference's is"):
            steps.agreement()


def test_every_kind_is_timed_in_every_turn(make_steps, train_step):
    with make_steps() as steps:
        times = steps.measure(2)
        assert {name: len(seconds) for name, seconds in times.items()} == {
            "stored": 2,
            "recomputed": 2,
            "reference": 2,
            "read": 2,
        }
        assert set(train_step.summary(times)["ratios"]) == {"recomputed", "reference"}


def test_the_profile_names_the_parts(make_steps, train_step):
    with make_steps(kinds=("stored", "reference")) as steps:
        profiles = train_step.profiled(steps)
    stored = {line.name for line in profiles["stored"].parts}
    assert {"read the batch", "fuse", "backward, clipping", "optimizer"} <= stored
    reference = {line.name for line in profiles["reference"].parts}
    assert "fuse, layer by layer" in reference
    assert "Qwen3ForCausalLM: head" in reference
    assert "read the batch" not in reference


def test_ratios_are_of_medians(train_step):
    times = {
        "stored": [1.0, 2.0, 9.0],
        "recomputed": [8.0, 8.0, 9.0],
        "reference": [10.0, 20.0, 30.0],
        "read": [0.1, 0.2, 0.3],
    }
    found = train_step.summary(times)
    assert found["ratios"]["recomputed"] == {"ratio": 4.0, "lowest": 1.0, "highest": 8.0}
    assert found["ratios"]["reference"]["ratio"] == 10.0
    assert found["read_share"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ([], ("stored", "recomputed", "reference")),
        (["--recompute-prefills"], ("stored", "recomputed")),
        (["--recompute-prefills", "--layer-loop"], ("stored", "reference")),
    ],
)
def test_flags_choose_what_is_compared(train_step, arguments, kinds):
    assert train_step.kinds(train_step.parse(arguments)) == kinds


def test_a_layer_loop_alone_is_refused(train_step, capsys):
    with pytest.raises(SystemExit) as refused:
        train_step.parse(["--layer-loop"])
    assert refused.value.code == 2
    assert "--recompute-prefills" in capsys.readouterr().err
