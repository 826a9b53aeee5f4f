"""What the worker keeps between requests, and how it answers each."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from typing import get_args

import torch

from c2c_search.evaluation.harm_tasks import choosing
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.prompting import question
from c2c_search.evaluation.scoring import choose_options
from c2c_search.evaluation.scoring import with_fuser
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.host.dtypes import choose_dtype
from c2c_search.host.dtypes import name_of
from c2c_search.inference.drafting import drafter_of
from c2c_search.inference.model import C2CModel
from c2c_search.models.chats import chat_notices
from c2c_search.models.loading import default_cache_dir
from c2c_search.models.loading import load
from c2c_search.space.objective import PLAIN_ACCURACY
from c2c_search.space.objective import Objective
from c2c_search.training.adapters import load_trained
from c2c_search.training.calibration import calibrate
from c2c_search.training.cartridge_training import train_cartridge
from c2c_search.training.costs import measure_costs
from c2c_search.training.derangement import derangement
from c2c_search.training.fuser_training import FuserTraining
from c2c_search.training.fuser_training import untrained
from c2c_search.training.lengths import length_notices
from c2c_search.training.lengths import room_notices
from c2c_search.training.loaded_data import load_data
from c2c_search.training.lockstep import Make
from c2c_search.training.lockstep import measure_pace
from c2c_search.training.lockstep import train_together
from c2c_search.training.loop import TrainingData
from c2c_search.training.lora_training import adapt
from c2c_search.training.preparation import check_finite_pair
from c2c_search.training.preparation import naming
from c2c_search.training.preparation import pair_of
from c2c_search.training.preparation import prompts_hash
from c2c_search.training.preparation import refuse_other_date
from c2c_search.training.private_rows import private_split
from c2c_search.training.private_rows import refuse_other_contexts
from c2c_search.training.private_rows import speaks_of_contexts
from c2c_search.training.protocol import DRAFTS
from c2c_search.training.protocol import Cost
from c2c_search.training.protocol import Costs
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Notice
from c2c_search.training.protocol import Pace
from c2c_search.training.protocol import Paced
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Result
from c2c_search.training.protocol import Stage
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainedTogether
from c2c_search.training.reading import StoredReader
from c2c_search.training.reading import write_drafts
from c2c_search.training.stage_data import added_rows
from c2c_search.training.stage_data import check_stages
from c2c_search.training.stage_data import hears_another
from c2c_search.training.stage_data import with_stages


if TYPE_CHECKING:
    from c2c_search.config.pipeline import Pipeline
    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row
    from c2c_search.evaluation.systems.registry import Learner
    from c2c_search.evaluation.tasks.loading import LoadedTask
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.inference.drafting import Drafter
    from c2c_search.models.loading import LoadedModel
    from c2c_search.models.pair import PairSpec
    from c2c_search.prompt_cache.batches import PairPrompts


class WorkerService:
    """Runs requests one at a time, with models, data and caches at hand.

    Args:
        pipeline: The study's pipeline: data, training, evaluation.
        cache_dir: Where models and prompt caches are kept.
        emit: Called with every event before a request's last.
    """

    def __init__(
        self, pipeline: Pipeline, *, cache_dir: Path | None, emit: Callable[[Event], None]
    ) -> None:
        self.pipeline = pipeline
        self.cache_dir = cache_dir or default_cache_dir()
        self.emit = emit
        self.reader = StoredReader(pipeline, self.cache_dir, emit)
        self._models: dict[str, LoadedModel] = {}
        self._pairs: dict[PairSpec, C2CModel] = {}
        self._prompts: dict[tuple[PairSpec, str], QuestionPrompts] = {}
        self._rows: dict[str, list[Row]] = {}
        self._texts: list[Row] = []
        self._tasks: dict[str, LoadedTask] = {}
        self._hashes: dict[str, str] = {}
        self._said: set[str] = set()
        self._today = datetime.date.today().isoformat()

    @property
    def models(self) -> Mapping[str, LoadedModel]:
        """Those that are loaded, by their sources."""
        return self._models

    def prepare(self, pair: PairSpec) -> Prepared:
        """Load a pair, make the data and fill the store; quick when all of it is there."""
        begun = time.perf_counter()
        seconds = {}
        self._load_data()
        receiver, sharer = self._load(pair.receiver), self._load(pair.sharer)
        dtype = name_of(receiver.model.dtype)
        why = choose_dtype(receiver.model.device).reason
        self._notify_once(f"The models compute in {dtype}: {why}.")
        seconds["load"] = time.perf_counter() - begun
        if pair not in self._pairs:
            model = pair_of(receiver, sharer, self.pipeline.data, self.reader.dtype, self._today)
            prompts = self.reader.splits(model, self._rows)
            self._check(model, prompts)
            self._pairs[pair] = model
            self._prompts |= {(pair, split): each for split, each in prompts.items()}
            training, tokenizer = self.pipeline.training, receiver.text_tokenizer
            added = added_rows(training, self._rows["train"], self._texts, tokenizer)
            for name, rows in added.items():
                self._read(pair, name, rows)
        seconds["prefill"] = time.perf_counter() - begun - seconds["load"]
        return Prepared(
            models={
                "receiver": receiver.identity.model_dump(),
                "sharer": sharer.identity.model_dump(),
            },
            data=self._hashes,
            seconds=seconds,
            dtype=dtype,
            date=self._pairs[pair].date,
            prompts=prompts_hash(
                [self._prompts_of(pair, split).encoded() for split in self._rows]
            ),
            private=private_split(self._rows) not in (None, "guard"),  # which nobody is judged on
        )

    def train(
        self,
        config: TrialConfig,
        directory: Path,
        go_on: Callable[[], bool],
        *,
        learner: Learner = "fuser",
        parameters: int = 0,
        objective: Objective = PLAIN_ACCURACY,
    ) -> Trained:
        """Train a trial's fuser, or something else as it is trained; see `protocol.Train`."""
        if learner == "fuser":
            return self.trial(config, directory, go_on, objective=objective).run()
        train = adapt if learner == "lora" else train_cartridge
        # Of a receiver that hears nobody, not even a word.
        alone = config.model_copy(update={"fuser": config.fuser.without_anchors()})
        return train(
            config,
            self._ready(config.pair).receiver,
            self._data_of(alone, hears=False),
            directory,
            parameters=parameters,
            emit=self.emit,
            go_on=go_on,
        )

    def train_together(
        self,
        trials: Sequence[Train],
        go_on: Callable[[], bool],
        joining: Callable[[], Sequence[Train]] = tuple,
    ) -> TrainedTogether:
        """Train trials in lockstep; see `training.lockstep`, and `train`."""
        train_together(trials, self._making(go_on), self.emit, joining)
        return TrainedTogether()

    def pace(self, request: Pace) -> Paced:
        """Measure what trainings in lockstep take; see `protocol.Pace`."""
        device = self._ready(request.config.pair).receiver.model.device
        return measure_pace(request, self._making(lambda: True), device)

    def _making(self, go_on: Callable[[], bool]) -> Make:
        def made(train: Train, emit: Callable[[Event], None]) -> FuserTraining:
            folder = Path(train.directory)
            return self.trial(train.config, folder, go_on, emit=emit, objective=train.objective)

        return made

    def trial(
        self,
        config: TrialConfig,
        directory: Path,
        go_on: Callable[[], bool],
        *,
        emit: Callable[[Event], None] | None = None,
        objective: Objective = PLAIN_ACCURACY,
    ) -> FuserTraining:
        """One trial, ready to run: its pair, data and calibrated fuser.

        Args:
            config: The trial.
            directory: Its checkpoints and its best fuser.
            go_on: Asked after every rung but the last.
            emit: Called with its events, instead of the service's own.
            objective: What its best rung is chosen by.

        Raises:
            ConfigError: The fuser does not fit the data.
        """
        pair = self._ready(config.pair)
        refuse_other_date(config, pair)
        refuse_other_contexts(config, self._rows)
        torch.manual_seed(config.seed)
        fuser = untrained(config.fuser, pair)
        fuser.contexts_only = speaks_of_contexts(config, self._rows["train"])
        model = with_fuser(pair, fuser)
        begun = time.perf_counter()
        drafter = drafter_of(model)
        self._check_lengths(config, drafter)
        questions = self._prompts_of(config.pair, "validation")
        deranged = derangement(questions, config.fuser, objective, self._notify_once)
        data = self._data_of(config, hears=hears_another(config.fuser), drafter=drafter)
        data = replace(data, derangement=deranged)
        if drafter is not None:
            write_drafts(directory / DRAFTS, data.validation, data.validation_prompts, drafter)
        prefill = time.perf_counter() - begun
        # A map needs pairs of tokens to fit, and anchors have none in the sharer.
        shown = config.fuser.without_anchors()
        calibrate(model, self._prompts_of(config.pair, "train").read(shown), config.seed)
        training = FuserTraining(
            config,
            model,
            data,
            directory,
            emit=emit or self.emit,
            go_on=go_on,
            objective=objective,
        )
        training.seconds["prefill"] = prefill
        return training

    def evaluate(self, request: Evaluate) -> Result:
        """Answer a split with one system of the register.

        Raises:
            ConfigError: There is no such system, or it does not fit the data.
        """
        entry, pair = SYSTEMS[request.system], self._ready(request.pair)
        of = request.fuser_dir
        fuser = None if of is None else load_fuser(Path(of), foreign=False)
        trained = None
        if request.trained_dir is not None:
            assert entry.recipe is not None, f"{request.system} is not trained"
            folder = Path(request.trained_dir)
            trained = load_trained(entry.recipe.learner, pair.receiver, folder)
        derangements = self.pipeline.evaluation.derangements
        prompts = self._prompts_of(request.pair, request.task or request.split)
        normalised = self.pipeline.evaluation.length_normalised
        if request.task is not None:
            normalised &= choosing(request.task) == "cloze"
        items = choose_options(
            entry.build(Materials(pair, fuser, trained=trained, derangements=derangements)),
            prompts,
            length_normalised=normalised,
            progress=lambda done, total: self._progress("evaluate", done, total, entry.name),
        )
        return Result(system=request.system, split=request.split, items=items)

    def cost(self, request: Cost) -> Costs:
        """Measure what a trained fuser costs a user; see `protocol.Costs`."""
        return measure_costs(self._ready(request.pair), request, self._rows["validation"])

    def _data_of(
        self, config: TrialConfig, *, hears: bool, drafter: Drafter | None = None
    ) -> TrainingData:
        guarded = config.training.guard is not None and "guard" in self._rows
        data = TrainingData(
            train=self._rows["train"],
            train_prompts=self._prompts_of(config.pair, "train").read(config.fuser),
            validation=self._rows["validation"],
            validation_prompts=self._prompts_of(config.pair, "validation").read(config.fuser),
            guard=self._rows["guard"] if guarded else (),
            guard_prompts=(
                self._prompts_of(config.pair, "guard").read(config.fuser) if guarded else None
            ),
        )
        tokenizer = self._pairs[config.pair].receiver.text_tokenizer
        read = partial(self._read, config.pair, config=config.fuser)
        said = None if drafter is None else drafter.text
        return with_stages(data, config, self._texts, read, tokenizer, hears=hears, drafted=said)

    def _read(
        self, pair: PairSpec, name: str, rows: Sequence[Row], config: FuserConfig | None = None
    ) -> PairPrompts:
        """Rows that are no split's, each of which the sharer reads by itself; kept by name."""
        if (pair, name) not in self._prompts:
            model = self._pairs[pair]
            asked = [*map(Question.of_row, rows)]
            prompts = self.reader.questions(model, name, asked, learned=True)
            with naming(model.receiver, model.sharer, self.pipeline.data, rows):
                read = {name: (rows, prompts.encoded())}
            for notice in length_notices(model.receiver, model.sharer, model.template, read):
                self._notify_once(notice)
            self._prompts[pair, name] = prompts
        return self._prompts[pair, name].read(config)

    def _check_lengths(self, config: TrialConfig, drafter: Drafter | None) -> None:
        """Tell, or refuse, prompts that leave no room for drafts or anchors."""
        splits = {split: self._prompts_of(config.pair, split).encoded() for split in self._rows}
        receiver = self._pairs[config.pair].receiver
        for notice in room_notices(config.fuser, receiver, drafter, splits):
            self._notify_once(notice)

    def _notify_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._notify(message)

    def _notify(self, message: str) -> None:
        self.emit(Notice(message=message))

    def _ready(self, pair: PairSpec) -> C2CModel:
        """The pair, without a fuser."""
        if pair not in self._pairs:
            self.prepare(pair)
        return self._pairs[pair]

    def _load(self, source: str) -> LoadedModel:
        if source not in self._models:
            self._models[source] = load(
                source,
                cache_dir=self.cache_dir,
                progress=self._loading_progress,
                notify=self._notify,
            )
        return self._models[source]

    def _loading_progress(self, stage: str, done: int, total: int, message: str) -> None:
        assert stage in get_args(Stage)
        self._progress(stage, done, total, message)  # type: ignore[arg-type]

    def _load_data(self) -> None:
        if self._rows:
            return
        loaded = load_data(self.pipeline, self._notify, self._progress)
        self._rows, self._tasks = loaded.rows, loaded.tasks
        self._hashes, self._texts = loaded.hashes, loaded.texts
        check_stages(self.pipeline.training, self.pipeline.data, self._rows["train"], self._texts)

    def _check(self, model: C2CModel, prompts: dict[str, QuestionPrompts]) -> None:
        """Read all prompts; what is wrong with any is told before one is computed."""
        splits = {}
        for split, each in prompts.items():
            rows = self._rows[split]
            with naming(model.receiver, model.sharer, self.pipeline.data, rows):
                splits[split] = rows, each.encoded()
        for notice in chat_notices(model.template, model.receiver, model.sharer):
            self._notify(notice)
        for notice in length_notices(model.receiver, model.sharer, model.template, splits):
            self._notify(notice)
        # Where not all fit on the disk, what trials are judged by comes first.
        for split in sorted(prompts, key=lambda split: split == "train"):
            prompts[split].read()
        check_finite_pair(model, prompts["train"].read())

    def _prompts_of(self, pair: PairSpec, asked: str) -> QuestionPrompts:
        """The questions of a split or a task, whose prompt caches come from the store.

        Those of a task are read when they are first asked for.
        """
        if (pair, asked) not in self._prompts:
            self._prompts[pair, asked] = self._of_task(self._pairs[pair], self._tasks[asked])
        return self._prompts[pair, asked]

    def _of_task(self, model: C2CModel, loaded: LoadedTask) -> QuestionPrompts:
        method = choosing(loaded.name)
        questions = [question(item, method, loaded.task) for item in loaded.items]
        return self.reader.questions(model, loaded.name, questions)

    def _progress(self, stage: Stage, done: int, total: int, message: str) -> None:
        self.emit(Progress(stage=stage, done=done, total=total, message=message))
