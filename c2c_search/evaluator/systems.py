"""The systems of an evaluation, the trained ones included, ready to be built."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.config.trial import canonical_hash
from c2c_search.evaluation.prompting import exemplar
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems.registry import DERANGED
from c2c_search.evaluator.answers import AnsweringSystem
from c2c_search.evaluator.controls import Trainer
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.training.adapters import load_trained


if TYPE_CHECKING:
    from c2c_search.evaluation.systems import System
    from c2c_search.evaluator.target import Target
    from c2c_search.evaluator.tasks import Chosen
    from c2c_search.inference.model import C2CModel


def lacks(name: str, chosen: Chosen) -> str | None:
    """What a task lacks for a system to answer it; None where nothing is missing."""
    if "exemplars" in SYSTEMS[name].needs and not chosen.exemplars:
        return "no worked examples: give a folder that has a train file"
    if "others" in SYSTEMS[name].needs and len({i.cluster for i in chosen.loaded.items}) < 2:
        return "a question is asked with no other beside it, about another fact: ask more of them"
    derivation = SYSTEMS[name].derivation
    reasons = (lacks(each, chosen) for each in derivation.of) if derivation is not None else ()
    return next(filter(None, reasons), None)


@dataclass
class SystemSet:
    """Who answers.

    Args:
        target: What is evaluated.
        pair: Its models, without a fuser.
        names: Systems in the order of tables.
        trainer: Trains systems; None where it is not known how the target was trained.
        seeds: Trainings of every system that is trained.
    """

    target: Target
    pair: C2CModel
    names: Sequence[str]
    trainer: Trainer | None
    seeds: int
    folders: dict[tuple[str, int], Path] = field(default_factory=dict)

    def train(self) -> None:
        """Train whatever has to be trained and is not yet."""
        for name in self.names:
            for seed in self._seeds(name):
                if self._is_trained(name, seed):
                    assert self.trainer is not None
                    self.folders[name, seed] = self.trainer.folder_of(name, seed)

    def candidates(self, chosen: Chosen) -> Iterator[tuple[str, int, AnsweringSystem]]:
        """Every system that answers a task itself, with its name and training seed."""
        wanted = any("exemplars" in SYSTEMS[name].needs for name in self.names)
        examples = chosen.exemplars if wanted else ()
        turns = [exemplar(item, chosen.method, chosen.loaded.task) for item in examples]
        materials = Materials(
            pair=self.pair, exemplars=turns, derangements=self.target.derangements
        )
        shown = canonical_hash(turns) if turns else ""
        for name in self.names:
            if SYSTEMS[name].derivation is not None or lacks(name, chosen):
                continue
            for seed in self._seeds(name):
                identity = [self.target.identity(), *self._weights(), name, seed]
                identity += [self._training(name, seed)] if self._is_trained(name, seed) else []
                identity += [self.pair.date] if self.pair.date else []
                identity += [shown] if "exemplars" in SYSTEMS[name].needs else []
                identity += [self.target.derangements] if name == DERANGED else []

                def build(name: str = name, seed: int = seed) -> System:
                    return SYSTEMS[name].build(self._with(materials, name, seed))

                label = name if seed == 0 else f"{name}-seed-{seed}"
                yield name, seed, AnsweringSystem(label, canonical_hash(identity), build)

    def _weights(self) -> list[str]:
        """Digests of the models: a source such as a path may hold others tomorrow.

        None for a champion, whose manifest they are compared with when they are loaded.
        """
        if self.target.manifest is not None:
            return []
        identities = (self.pair.receiver.identity, self.pair.sharer.identity)
        return [
            one.weights_sha256 + one.tokenizer_sha256 + (one.tokenization_sha256 or "")
            for one in identities
        ]

    def _seeds(self, name: str) -> range:
        trained = SYSTEMS[name].recipe is not None and self.trainer is not None
        return range(self.seeds if trained else 1)

    def _is_trained(self, name: str, seed: int) -> bool:
        """Whether it is trained for this evaluation; with seed 0 the target itself is not."""
        entry = SYSTEMS[name]
        return entry.recipe is not None and ("trial" in entry.needs or seed > 0)

    def _training(self, name: str, seed: int) -> str:
        assert self.trainer is not None
        return self.trainer.request(name, seed).name

    def _with(self, materials: Materials, name: str, seed: int) -> Materials:
        """What one system is made of."""
        entry, folder = SYSTEMS[name], self.folders.get((name, seed))
        if folder is not None and "trial" not in entry.needs:
            return replace(materials, fuser=load_fuser(folder))
        if folder is not None and entry.recipe is not None:
            trained = load_trained(entry.recipe.learner, self.pair.receiver, folder)
            materials = replace(materials, trained=trained)
        if "fuser" in entry.needs:
            materials = replace(materials, fuser=self.target.fuser())
        return materials
