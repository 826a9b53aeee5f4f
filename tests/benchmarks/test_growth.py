"""Growth is measured along every axis, fitted and drawn."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def growth(program):
    return program("growth")


POINTS = [
    {
        "value": value,
        "seconds": {"stored": 1 + 2 * value, "reference": 10 + 5 * value},
        "peak_bytes": {"stored": value * 2**20, "reference": value * 2**21},
    }
    for value in (1, 2, 4)
]


def test_a_straight_line_is_found(growth):
    line = growth.fits(POINTS)["stored"]
    assert line["fixed_seconds"] == pytest.approx(1)
    assert line["seconds_for_one_more"] == pytest.approx(2)
    assert line["r_squared"] == pytest.approx(1)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_plot_is_a_file(growth, tmp_path, ending):
    path = tmp_path / f"plot.{ending}"
    growth.draw(POINTS, growth.fits(POINTS), "batch", path)
    assert path.stat().st_size > 1000


def test_trials_are_drawn_without_memory(growth, tmp_path):
    points = [
        {"value": count, "seconds": {"study": 5.0 + count, "reference": 9.0 * count}}
        for count in (1, 2, 4)
    ]
    growth.draw(points, growth.fits(points), "trials", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_file()


@pytest.mark.parametrize("axis", ["prompt-length", "batch", "layers"])
def test_every_axis_is_measured(growth, tiny_model, axis):
    arguments = ["--axis", axis, "--values", "1", "2", "3", "--turns", "1", "--batch", "1"]
    options = growth.parse([*arguments, "--width", "4"])
    points = growth.training_steps(tiny_model(layers=3), tiny_model(seed=2), options)
    assert [point["value"] for point in points] == [1, 2, 3]
    for point in points:
        assert set(point["seconds"]) == {"stored", "recomputed", "reference"}
        assert set(point["peak_bytes"]) == set(point["seconds"])


def test_long_questions_have_their_length_and_begin_differently(growth, tiny_model):
    loaded = tiny_model()
    examples = growth.long_questions(loaded, 3, 40)
    texts = [messages[0]["content"] for messages in examples.conversations]
    assert len({text[0] for text in texts}) > 1
    for text in texts:
        tokens = loaded.text_tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(tokens) == pytest.approx(40, abs=2)


@pytest.mark.parametrize("values", [["1", "2"], ["1", "2", "2"], ["0", "1", "2"]])
def test_a_line_needs_three_points(growth, values):
    with pytest.raises(SystemExit) as refused:
        growth.parse(["--axis", "batch", "--values", *values])
    assert refused.value.code == 2
