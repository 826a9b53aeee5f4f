"""What every stage of a study works with, and the runs that it records."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.systems.registry import Recipe
from c2c_search.host.json_store import JsonStore
from c2c_search.host.names import fit
from c2c_search.models.pair import PairSpec
from c2c_search.report.live import View
from c2c_search.report.state import Score
from c2c_search.space.objective import Objective
from c2c_search.space.schema import Space
from c2c_search.study.drivers import SOLE
from c2c_search.study.drivers import Drivers
from c2c_search.study.layout import COST
from c2c_search.study.layout import StudyFiles
from c2c_search.study.trainer import TrainerClient
from c2c_search.study.workers import Job
from c2c_search.study.workers import T
from c2c_search.study.workers import Workers
from c2c_search.tracking.reconcile import RUN_ID
from c2c_search.tracking.recorded_run import Kind
from c2c_search.tracking.recorded_run import RecordedRun
from c2c_search.tracking.tracker import ChildRun
from c2c_search.tracking.tracker import StudyRun
from c2c_search.tracking.tracker import Tracker
from c2c_search.training.protocol import Cost
from c2c_search.training.protocol import Costs
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained


if TYPE_CHECKING:
    from optuna import Study


def child_key(name: str) -> str:
    """User attribute of the study that names the run of a control or twin."""
    return f"{RUN_ID}/{fit(name)}"


@dataclass(frozen=True)
class Session:
    """One start of a study.

    Args:
        space: What is searched.
        files: Where the study's files lie.
        study: Optuna's study, the truth about trials.
        tracker: MLflow's experiment.
        run: The study's parent run.
        trainer: Trains and measures, in one worker.
        workers: All of them.
        store: What is finished.
        view: What the terminal shows.
        drivers: Those who drive the study.
        objectives: By pair, what the search maximises; known once controls are measured.
        force: Why a new champion takes the place of one that it does not beat; empty if it
            must beat it.
    """

    space: Space
    files: StudyFiles
    study: Study
    tracker: Tracker
    run: StudyRun
    trainer: TrainerClient
    workers: Workers
    store: JsonStore
    view: View
    drivers: Drivers = SOLE
    objectives: dict[str, Objective] = field(default_factory=dict)
    force: str = ""

    def share(self, jobs: Sequence[Job[T]]) -> list[T]:
        """Have all workers do pieces of work; see `Workers.share`."""
        return self.workers.share(self, jobs)

    def alone(self, job: Job[T]) -> T:
        """Have a worker that has a node do a piece of work that nothing runs beside."""
        return self.share([job])[0]

    @property
    def private(self) -> bool:
        """Whether sharers read what receivers do not; known once the pairs are prepared."""
        return any(each.private for each in self.trainer.prepared.values())

    def objective(self, pair: PairSpec) -> Objective:
        """What the search maximises between two models."""
        return self.objectives[str(pair)]

    def score(self, pair: PairSpec, measured: Rung | Trained) -> Score:
        """What the view shows of a training's answers."""
        receiver = self.objective(pair).receiver
        return Score(measured.accuracy, measured.deranged, receiver, measured.objective)

    def measures(self, trial: TrialConfig, measured: Rung | Trained) -> dict[str, float]:
        """All that is known of a fuser that the search may compare trials by, by name."""
        objective = self.objective(trial.pair)
        found = objective.scores(measured.accuracy, measured.deranged)
        found[objective.kind] = measured.objective
        if measured.parameters is not None:
            found["parameters"] = float(measured.parameters)
        return found

    def cost(self, trial: TrialConfig, trained: Trained) -> Costs | Failed:
        """What a trained fuser costs a user, measured once."""
        folder = f"{self.request(trial).directory}/{trained.best_dir}"
        request = Cost(pair=trial.pair, fuser_dir=folder)
        return self.trainer.cost(f"{COST}/{trial.hash()}", request)

    def request(
        self, trial: TrialConfig, recipe: Recipe | None = None, parameters: int = 0
    ) -> Train:
        """What the worker is asked to train, in a folder of its own.

        A trial's best rung is that of the search's objective, a control's answers best.

        Args:
            trial: The trial.
            recipe: How a control of it is trained; left out for the trial itself.
            parameters: Of the trial's fuser, for a control.
        """
        objective, hours = self.objective(trial.pair), self.space.search.trial_hours
        if recipe is not None:
            control = objective.by_accuracy
            return Train.of(recipe, trial, parameters, self.files.trial, control)
        train = Train.of(Recipe(), trial, parameters, self.files.trial, objective)
        return train.model_copy(update={"seconds": None if hours is None else 3600 * hours})

    def child(self, name: str, kind: Kind, tags: Mapping[str, object] | None = None) -> ChildRun:
        """Open the run of a control or twin, the same one at every start of the study."""
        key = child_key(name)
        run = self.run.trial(name, run_id=self.study.user_attrs.get(key), kind=kind, tags=tags)
        self.study.set_user_attr(key, run.run_id)
        return run

    def log_data(self, run: RecordedRun, pair: str, *splits: str) -> None:
        """Record the splits that a run has used as its inputs, and what its models computed in."""
        data = self.space.pipeline.data
        prepared = self.trainer.prepared[pair]
        if prepared.dtype is not None:
            run.tags({"c2c.dtype": prepared.dtype})
        for split in splits:
            files = ", ".join(getattr(data.files, split)) or data.source
            run.dataset(data.source, prepared.data[split], files, split)
