"""The systems of an evaluation, the trained ones included, ready to be built."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.config.trial import canonical_hash
from c2c_search.evaluation.prompting import exemplar
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluator.answers import Candidate
from c2c_search.evaluator.answers import asks_one_alone
from c2c_search.evaluator.controls import TRAINED
from c2c_search.evaluator.controls import Trainer
from c2c_search.evaluator.controls import trial_of
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.training.adapters import load_adapted


if TYPE_CHECKING:
    from c2c_search.evaluation.systems import System
    from c2c_search.evaluator.target import Target
    from c2c_search.evaluator.tasks import Chosen
    from c2c_search.inference.model import C2CModel


DERIVED = ("routing",)
"""Systems that follow from the answers of others."""


def lacks(name: str, chosen: Chosen) -> str | None:
    """What a task lacks for a system to answer it; None where nothing is missing."""
    if "exemplars" in SYSTEMS[name].needs and not chosen.exemplars:
        return "no worked examples: give a folder that has a train file"
    if name == "mismatched" and asks_one_alone(chosen.loaded.items):
        return "a question is asked with no other beside it: ask more of them"
    return None


@dataclass
class SystemSet:
    """Who answers.

    Args:
        subject: What is evaluated.
        pair: Its models, without a fuser.
        names: Systems in the order of tables.
        trainer: Trains controls; None where that is not known how.
        seeds: Trainings of every system that is trained.
    """

    subject: Target
    pair: C2CModel
    names: Sequence[str]
    trainer: Trainer | None
    seeds: int
    folders: dict[tuple[str, int], Path] = field(default_factory=dict)

    def train(self) -> None:
        """Train whatever has to be trained and is not yet."""
        for name in self.names:
            for seed in self._seeds(name):
                if name not in TRAINED and seed == 0:
                    continue
                assert self.trainer is not None
                if name == "lora":
                    self.folders[name, seed] = self.trainer.adapter(self.parameters, seed)
                else:
                    self.folders[name, seed] = self.trainer.fuser(name, seed)

    @cached_property
    def parameters(self) -> int:
        """Numbers that were trained in the subject's fuser; all of it where it was fitted."""
        fuser = self.subject.fuser()
        assert fuser is not None
        return sum(parameter.numel() for parameter in fuser.parameters())

    def candidates(self, chosen: Chosen) -> Iterator[tuple[str, int, Candidate]]:
        """Every system that answers a task itself, with its name and training seed."""
        wanted = any("exemplars" in SYSTEMS[name].needs for name in self.names)
        examples = chosen.exemplars if wanted else ()
        turns = [exemplar(item, chosen.method, chosen.loaded.task) for item in examples]
        materials = Materials(
            pair=self.pair,
            fuser=None,
            exemplars=turns,
            trained={},
            adapted=None,
            seed=0,
        )
        shown = canonical_hash(turns) if turns else ""
        for name in self.names:
            if name in DERIVED or lacks(name, chosen):
                continue
            for seed in self._seeds(name):
                identity = [self.subject.identity(), *self._weights(), name, seed]
                identity += [self._training(name, seed)] if name in TRAINED or seed else []
                identity += [self.pair.date] if self.pair.date else []
                identity += [shown] if "exemplars" in SYSTEMS[name].needs else []

                def build(name: str = name, seed: int = seed) -> System:
                    return SYSTEMS[name].build(self._with(materials, name, seed))

                label = name if seed == 0 else f"{name}-seed-{seed}"
                yield name, seed, Candidate(label, canonical_hash(identity), build)

    def _weights(self) -> list[str]:
        """Digests of the models: a source such as a path may hold others tomorrow.

        None for a champion, whose manifest they are compared with when they are loaded.
        """
        if self.subject.manifest is not None:
            return []
        identities = (self.pair.receiver.identity, self.pair.sharer.identity)
        return [one.weights_sha256 + one.tokenizer_sha256 for one in identities]

    def _seeds(self, name: str) -> range:
        trained = name in TRAINED or (name == "c2c" and self.trainer is not None)
        return range(self.seeds if trained else 1)

    def _training(self, name: str, seed: int) -> str:
        assert self.trainer is not None
        if name == "lora":
            return f"{self.trainer.trial.hash()}-{self.parameters}"
        return trial_of(name, self.trainer.trial).hash()

    def _with(self, materials: Materials, name: str, seed: int) -> Materials:
        """What one system is made of."""
        folder = self.folders.get((name, seed))
        if name == "lora":
            assert folder is not None
            return replace(materials, adapted=load_adapted(self.pair.receiver, folder))
        if name in TRAINED:
            assert folder is not None
            return replace(materials, trained={name: load_fuser(folder)})
        fuser = self.subject.fuser() if folder is None else load_fuser(folder)
        return replace(materials, fuser=fuser)
