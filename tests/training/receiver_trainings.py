"""What every training on the receiver alone keeps to, LoRA's and a cartridge's alike."""

from __future__ import annotations

from typing import Any
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

from c2c_search.training.order import Order
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from tests.training.stopping import checkpointed
from tests.training.stopping import heard
from tests.training.stopping import stopped


def losses(events):
    return {event.step: event.loss for event in events if isinstance(event, Step)}


def rungs(events):
    return [(e.rung, e.objective, e.metrics) for e in events if isinstance(e, Rung)]


def weights(directory):
    return load_file(directory / "best" / "adapter_model.safetensors")


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


class ReceiverTrainingConformance:
    """To be inherited by a test class of each kind."""

    learner: ClassVar[str]
    kind: ClassVar[Any]
    """Its `ReceiverTraining`."""
    least: ClassVar[int]
    """Parameters of the smallest of its kind."""

    def train(self, service, trial, times, directory):
        return service.train(
            trial, directory, lambda: True, learner=self.learner, parameters=times * self.least
        )

    def test_training_leaves_the_services_receiver_as_it_was(
        self, service, trial, tiny_pair, tmp_path
    ):
        request = Evaluate(system="receiver", pair=tiny_pair, split="test")
        before = service.evaluate(request)
        model = service._ready(tiny_pair).receiver.model
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        config = model.config.to_dict()
        self.train(service, trial, 3, tmp_path / "trained")
        assert service.evaluate(request) == before
        assert same(dict(model.state_dict()), state)
        assert model.config.to_dict() == config
        assert not any(parameter.requires_grad for parameter in model.parameters())

    def test_same_seed_gives_the_same_weights(self, service, trial, tmp_path):
        for name, seed in {"one": 3, "two": 3, "other": 4}.items():
            self.train(service, trial.model_copy(update={"seed": seed}), 2, tmp_path / name)
        assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))
        assert not same(weights(tmp_path / "one"), weights(tmp_path / "other"))

    @pytest.mark.parametrize("stop_at", [1, 3, 5])
    def test_resume_gives_the_same_numbers(self, service, trial, tmp_path, monkeypatch, stop_at):
        trial = checkpointed(trial)
        training = trial.training.model_copy(update={"log_every": 1})
        trial = trial.model_copy(update={"training": training})
        whole = self.train(service, trial, 5, tmp_path / "whole")
        events = service.events[:]
        with stopped(monkeypatch, self.kind, stop_at):
            self.train(service, trial, 5, tmp_path / "parts")
        service.events.clear()
        resumed = self.train(service, trial, 5, tmp_path / "parts")
        assert rungs(service.events) == rungs(events)
        known = heard(trial, stop_at)
        assert losses(service.events) == {k: v for k, v in losses(events).items() if k > known}
        assert resumed.metrics == whole.metrics
        assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))

    def test_examples_and_their_order_are_the_trials(self, service, trial, tmp_path, monkeypatch):
        seen = []
        real = Order.rows

        def noting(self, number):
            rows = real(self, number)
            seen.append((number, rows))
            return rows

        monkeypatch.setattr(Order, "rows", noting)
        service.train(trial, tmp_path / "fuser", lambda: True)
        heard_by_the_fuser = dict(seen)  # what was counted afterwards was asked for again
        seen.clear()
        self.train(service, trial, 1, tmp_path / "trained")
        assert dict(seen) == heard_by_the_fuser
