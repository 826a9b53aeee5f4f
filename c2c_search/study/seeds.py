"""Finalists trained again with further seeds, before one of them is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from statistics import stdev

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.host.wording import counted
from c2c_search.space.plan import trained_in_steps
from c2c_search.study.finalist import Finalist
from c2c_search.study.recording import train_once
from c2c_search.study.session import Session
from c2c_search.training.protocol import Failed


class Seeds(BaseModel):
    """A finalist's leading objective on validation, by its seeds.

    Args:
        values: The trial's own first, then those of further seeds that could be trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """What finalists are ordered by."""
        return fmean(self.values)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; 0 of one."""
        return stdev(self.values) if len(self.values) > 1 else 0.0

    def told(self, objective: str) -> str:
        """Mean and spread in words."""
        each = ", ".join(f"{value:.3f}" for value in self.values)
        return (
            f"{objective} {self.mean:.3f} on validation on average of "
            f"{counted(len(self.values), 'seed')}, standard deviation {self.spread:.3f} ({each})"
        )

    def numbers(self) -> dict[str, float]:
        """For a run, by name."""
        return {"mean": self.mean, "spread": self.spread, "trained": float(len(self.values))}


def confirm(session: Session, chosen: Sequence[Finalist]) -> dict[str, Seeds]:
    """Train every finalist with ``search.confirm_seeds`` further seeds, to the end.

    Each is trained once in a study's life. One that fails is told, and left out.

    Args:
        session: Of the study.
        chosen: The finalists.

    Returns:
        By finalist, what its seeds reached; empty if none are asked for.
    """
    further = range(1, session.space.search.confirm_seeds + 1)
    if not further:
        return {}
    still = {(number, seed) for number in range(len(chosen)) for seed in further}
    after = len(chosen) * (1 + len(trained_in_steps(session.space)))  # their controls come then

    def train(session: Session, number: int, seed: int) -> float | None:
        session.view.controls(len(still) + after)
        value = _train(session, chosen[number], seed)
        still.discard((number, seed))
        return value

    jobs = {(n, seed): partial(train, number=n, seed=seed) for n, seed in sorted(still)}
    values = dict(zip(jobs, session.share(list(jobs.values())), strict=True))
    session.view.controls(after)
    found = {}
    for number, one in enumerate(chosen):
        others = [values[number, seed] for seed in further]
        known = (one.trained.objective, *(value for value in others if value is not None))
        found[one.name] = Seeds(values=known)
        told = found[one.name].told(session.space.search.leading)
        if failed := others.count(None):
            told += f"; {counted(failed, 'seed')} failed, and left out"
        session.view.note(f"{one.name}: {told}.")
    return found


def _train(session: Session, one: Finalist, seed: int) -> float | None:
    """What the finalist's configuration reaches with its seed and so many more."""
    config = one.config.model_copy(update={"seed": one.config.seed + seed})
    name = f"{one.name} seed {config.seed}"
    session.view.phase("controls", message=name)
    tags: Mapping[str, object] = {"c2c.seed_of": one.config.hash(), "c2c.seed": config.seed}
    shown = {"seed": config.seed}
    ended = train_once(session, session.request(config), name, "seed", tags, shown=shown)
    return None if isinstance(ended, Failed) else ended.objective
