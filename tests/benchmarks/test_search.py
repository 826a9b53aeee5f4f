"""Replays on a made-up table whose best fuser and noise are known."""

from __future__ import annotations

import math
from random import Random

import pytest

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.space.dimensions import walk
from c2c_search.space.schema import Space
from c2c_search.testing.tabled_fusers import fuser_table
from c2c_search.testing.tabled_fusers import write_table


BLOCKS = 10
RUNGS = (10, 20, 40)


@pytest.fixture(scope="module")
def search(program):
    return program("search")


@pytest.fixture(scope="module")
def replay(program):
    return program("replay")


@pytest.fixture(scope="module")
def comparison(program):
    return program("comparison")


@pytest.fixture(scope="module")
def space() -> Space:
    return Space.model_validate(
        {
            "study": "made-up",
            "pipeline": Pipeline(name="p", training=TrainingConfig(steps=40, rungs=(0.5, 1.0))),
            "pairs": {"one": {"receiver": "path:a", "sharer": "path:b"}},
            "search": {"trials": 12, "reduction_factor": 2},
            "dimensions": {
                "fuser.projector": {"choices": ["linear", "c2c"]},
                "fuser.depth": {"int": [1, 4], "when": {"fuser.projector": "c2c"}},
                "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
            },
        }
    )


def made_up(space: Space, number: int) -> dict:
    """A linear fuser is the better the nearer its rate is to 1e-2; the others gain nothing."""
    rng = Random(number)
    params = walk(space.dimensions, lambda _, dimension: dimension.draw(rng))
    rate = (math.log10(params["training.learning_rate"]) + 4) / 2
    worth = 0.4 * rate if params["fuser.projector"] == "linear" else 0.0
    rungs = [
        {
            "step": step,
            "accuracy": 0.3 + worth * step / 40,
            "deranged": 0.3,
            "loss": 1.0,
            "train_loss": None,
            "gate_open": None,
            "blocks": [worth * step / 40 + rng.gauss(0, 0.02) for _ in range(BLOCKS)],
        }
        for step in RUNGS
    ]
    return {
        "fuser": number,
        "seed": 0,
        "pair": "one",
        "hash": f"{number:016x}",
        "params": params,
        "parameters": 1000 + number,
        "seconds": {"train": 8.0, "evaluate": 2.0, "derange": 1.0, "overhead": 0.0},
        "failure": None,
        "rungs": rungs,
        "test": {"accuracy": 0.3 + worth, "deranged": 0.3},
    }


@pytest.fixture(scope="module")
def path(space, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "made-up.parquet"
    alone = {"kind": "margin", "receiver": 0.3, "sharer": 0.25, "reference": None}
    about = {"format": 1, "rungs": RUNGS, "pairs": {"one": {"validation": alone, "test": alone}}}
    write_table(path, about, [made_up(space, number) for number in range(40)])
    return path


@pytest.fixture(scope="module")
def table(path):
    return fuser_table(path)


@pytest.fixture(scope="module")
def lookup(replay, space, table):
    return replay.Lookup(table, space.dimensions)


def test_a_suggestion_is_the_nearest_fuser_of_the_table(lookup, replay, table):
    rng = replay.np.random.default_rng(0)
    for index, fuser in enumerate(table.fusers):
        assert lookup.nearest(fuser.params, rng) == index
    moved = {**table.fusers[3].params}
    moved["training.learning_rate"] *= 1.001
    assert lookup.nearest(moved, rng) == 3


def test_what_a_fuser_is_worth_is_its_margin_on_test(lookup, table):
    for worth, fuser in zip(lookup.worth, table.fusers, strict=True):
        assert worth == pytest.approx(fuser.trainings[0].test_accuracy - 0.3, abs=1e-6)
    assert lookup.top == {int(lookup.worth.argmax()), int(lookup.worth.argsort()[-2])}


def test_a_replay_follows_from_its_seed_and_ends_with_its_best(replay, search, space, table):
    space = search.on_table(space, table, enqueue=False)
    lookup = replay.Lookup(table, space.dimensions)
    one = replay.replay(space, lookup, 3)
    assert one == replay.replay(space, lookup, 3)
    assert one != replay.replay(space, lookup, 4)
    assert len(one.worth) == len(one.steps) == 12
    # Noise is small: the champion is the best of those that ran to their end.
    ended = [lookup.worth[index] for index, stopped in one.pruned if not stopped]
    assert one.worth[-1] == pytest.approx(max(ended), abs=0.02)


def test_steps_are_those_of_the_rungs_that_a_pruner_left(replay, search, space, table):
    space = search.on_table(space, table, enqueue=False)
    lookup = replay.Lookup(table, space.dimensions)
    one = replay.replay(space, lookup, 0)
    taken = [b - a for a, b in zip((0, *one.steps), one.steps, strict=False)]
    for (_, stopped), steps in zip(one.pruned, taken, strict=True):
        assert steps in (RUNGS[:-1] if stopped else RUNGS[-1:])
    assert any(stopped for _, stopped in one.pruned)


def test_regret_and_false_kills_by_hand(replay):
    def replayed(worth, pruned):
        return replay.Replayed((1,) * len(worth), worth, pruned)

    each = [
        replayed((math.nan, 0.3), ((7, True), (1, False))),
        replayed((0.1, 0.5), ((7, False), (7, True))),
    ]
    assert replay.regrets(each, 0.5).tolist() == [[0.5, 0.2], [0.4, 0.0]]
    assert replay.false_kills(each, frozenset({7})) == pytest.approx(2 / 3)
    assert math.isnan(replay.false_kills(each, frozenset({2})))


def test_regret_over_steps_by_hand(replay, comparison):
    each = [replay.Replayed((40, 50, 90), (0.1, 0.1, 0.5), ())]
    assert comparison.over_steps(each, 0.5, 40, 120).tolist() == [[0.4, 0.4, 0.0]]
    late = [replay.Replayed((50, 90), (0.2, 0.5), ())]
    assert comparison.over_steps(late, 0.5, 40, 80).tolist() == [[0.5, 0.3]]


def test_a_longer_replay_begins_as_a_shorter_one(replay, search, space, table):
    space = search.on_table(space, table, enqueue=False)
    lookup = replay.Lookup(table, space.dimensions)
    for sampler in search.ALIKE:
        long, short = (
            search._replayed(space, lookup, False, 1, ((sampler, "halving"), trials))
            for trials in (12, 5)
        )
        assert long.first(5) == short


def test_a_halved_replay_tells_its_drop(replay, search, space, table):
    space = search.on_table(space, table, enqueue=False)
    lookup = replay.Lookup(table, space.dimensions)
    plain = space.model_copy(update={"search": space.search.model_copy(update={"pruner": "none"})})
    found = [replay.replay(plain, lookup, seed, halved=True).drop for seed in range(6)]
    assert all(each.told.low < each.measured < each.told.high for each in found)
    assert replay.replay(plain, lookup, 0).drop is None


def test_what_validation_tells_of_test_is_told(comparison, lookup, table):
    found = comparison.signal(lookup)
    assert found.correlation.low > 0.95  # the noise of the table is small
    assert found.spread == pytest.approx(lookup.worth.std(ddof=1))
    assert found.seeds is None


def test_the_program_writes_its_page(search, path, tmp_path, monkeypatch, space, capsys):
    page_of = search.write_between.__globals__
    monkeypatch.setattr(search.Space, "load", lambda path: space)
    page, plot = tmp_path / "search.md", tmp_path / "search.png"
    page.write_text(f"before\n{page_of['BEGIN']}\nof old\n{page_of['END']}\nafter\n")
    arguments = f"search.py --table {path} --samplers random --pruners none halving --trials 4 8"
    arguments += f" --repeats 9 --seconds 0 --jobs 1 --leave-out fusers axes --write {page}"
    monkeypatch.setattr("sys.argv", [*arguments.split(), "--plot", str(plot)])
    search.main()
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "of old" not in text
    assert "40 fusers (40 trainings)" in text
    assert f"Of {search.FEWEST} replays of each method" in text  # the time was over at once
    lines = [line for line in text.splitlines() if line.startswith("| random |")]
    assert len(lines) == 4
    plain = next(line for line in lines if "| none | 320 |" in line)
    assert "+0.000 [+0.000, +0.000]" in plain
    for part in ("Kendall's tau", "What follows:", "| random + none | 4 |", "(search.png)"):
        assert part in text
    assert text.count("Left out: half of the") == 2
    assert plot.stat().st_size > 1000
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="must have the marks"):
        search.write_between(page, "text", None)


def test_what_follows_is_said_by_rules(comparison, program, replay):
    page, interval = program("search_page"), replay.Interval

    def line(method, steps, beyond, share, killed):
        known = interval(value=beyond, low=beyond - 0.01, high=beyond + 0.01, level=0.05)
        return comparison.Line(method, steps, known, known, share, killed)

    def signal(low):
        return comparison.Signal(interval(value=0.9, low=low, high=0.95, level=0.05), 0.1, None)

    plain = line(("random", "none"), 100, 0.0, (1.0, 1.0, None), 0.0)
    soon = line(("auto", "none"), 100, -0.05, (0.3, 0.2, 0.45), 0.0)
    saves = line(("random", "halving"), 40, 0.0, (0.8, 0.5, 1.0), 0.04)
    hasty = line(("auto", "halving"), 30, 0.005, (0.6, 0.4, None), 0.3)

    def said(*lines, low=0.5):
        return page.verdict({24: lines}, signal(low), ("auto", "halving"))

    assert "`auto` with `none`, which reaches" in said(plain, soon, saves, hasty)
    assert "`random` with `halving` takes the fewest steps" in said(plain, saves, hasty)
    assert "What follows**: nothing yet" in said(plain, soon, saves, hasty, low=-0.1)
    told = said(plain, soon, saves, hasty)
    assert "at each of them: auto + none; higher at one of them: none" in told
    assert "**halving** stops 17% of the trials of the best 5% of fusers, beyond" in told
    assert "above random search's by +0.005 [-0.005, +0.015] at 24 trials" in told
