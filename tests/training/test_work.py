"""What a training counts of itself is what its examples and its steps say, however it is run."""

from __future__ import annotations

import pytest

from c2c_search.models.arithmetic import ModelSize
from c2c_search.study.counted_pace import Lengths
from c2c_search.study.trial_work import counted_work
from c2c_search.training.loop import Training
from c2c_search.training.protocol import Rung
from c2c_search.training.work import Work


@pytest.fixture
def seen(service, trial, tmp_path, monkeypatch):
    """A training after it has run, with its service's rungs and its end."""
    kept = []
    original = Training._train

    def train(self, module):
        kept.append(self)
        return original(self, module)

    monkeypatch.setattr(Training, "_train", train)
    ended = service.train(trial, tmp_path / "trial", lambda: True)
    return kept[0], [each for each in service.events if isinstance(each, Rung)], ended


def test_tokens_and_operations_of_a_training(seen, trial):
    training, rungs, ended = seen
    encoded, rows = training.data.train_prompts.encoded, [0] * len(training.data.train)
    for micro_step in range(trial.training.steps):
        for row in training.course.at(micro_step).rows:
            rows[row] += 1
    assert sum(rows) == 6 * 4
    said = [len(ids) for ids in training.responses]
    prompts = [len(each.receiver_ids) + len(each.sharer_ids) for each in encoded]
    by_hand = sum(n * (a + b) for n, a, b in zip(rows, said, prompts, strict=True))
    assert [rung.tokens for rung in rungs][-1] == ended.tokens == by_hand
    assert 0 < rungs[0].tokens < rungs[1].tokens
    assert rungs[-1].flops == ended.flops

    # By the formulas of `plan`, from mean lengths; these differ little here.
    def mean(values):
        return sum(values) / len(values)

    answered = training.answers.items
    lengths = Lengths(
        prompt=mean([len(each.receiver_ids) - 1 for each in encoded]),
        response=mean(said),
        options=mean([sum(item.lengths) for item in answered]),
        read=mean(prompts),
    )
    pair, parameters = trial.pair, rungs[0].parameters
    sizes = {pair.receiver: ModelSize.of_model(training.model.receiver.model)}
    planned = counted_work(sizes, {pair: lengths}, lambda _: parameters, len(answered))(trial)
    assert ended.tokens == pytest.approx(6 * planned.tokens, rel=0.02)
    assert ended.flops == pytest.approx(6 * planned.flops + 2 * planned.judged, rel=0.02)


def test_what_is_counted_in_parts_is_the_whole(seen):
    training, _, _ = seen
    parts = [training.meter.learned(range(*ends)) for ends in ((0, 2), (2, 6))]
    whole = training.meter.learned(range(6))
    assert whole.tokens == sum(each.tokens for each in parts) > 0
    assert whole.flops == pytest.approx(sum(each.flops for each in parts))
    assert training.meter.learned(range(3, 3)) == Work()
