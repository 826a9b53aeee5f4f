from __future__ import annotations

from pathlib import Path

from c2c_search.data.splits import load_splits
from c2c_search.training.fuser_training import FuserTraining
from c2c_search.training.loop import TrainingData
from c2c_search.training.memory.heaviest import heaviest_batches
from c2c_search.training.memory.heaviest import longest_prompts


def test_the_longest_prompts_are_shown(pipeline):
    rows = list(load_splits(pipeline.data).train)
    rows[3] = {**rows[3], "messages": [{"role": "user", "content": "long " * 90}]}
    assert longest_prompts(rows, 1) == [3]
    assert sorted(longest_prompts(rows, 10**6)) == [*range(len(rows))]


def test_heaviest_batches_are_those_of_the_trial(trial, pipeline, make_pair):
    rows = list(load_splits(pipeline.data).train)
    rows[5] = {**rows[5], "response": "very " * 50}
    rows[9] = {**rows[9], "messages": [{"role": "user", "content": "long " * 90}]}
    pair = make_pair()
    prompts = pair.cached([])
    data = TrainingData(rows, prompts, validation=(), validation_prompts=prompts)
    run = FuserTraining(trial, pair, data, Path(), emit=lambda _: None, go_on=lambda: True)
    dealt = [run.course.at(number).rows for number in range(trial.training.steps)]
    found = heaviest_batches(trial, rows)
    assert all(batch in dealt for batch in found)
    assert any(9 in batch for batch in found)
    assert any(5 in batch for batch in found)
