"""What the worker keeps between requests, and how it answers each."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import get_args

import torch

from c2c_search.data.splits import load_splits
from c2c_search.errors import ConfigError
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.scoring import answer
from c2c_search.evaluation.scoring import choose_options
from c2c_search.evaluation.scoring import mismatched_partners
from c2c_search.evaluation.scoring import receiver_alone
from c2c_search.evaluation.scoring import sharer_alone
from c2c_search.evaluation.scoring import with_fuser
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.fuser.fuser import Fuser
from c2c_search.host.dtypes import name_of
from c2c_search.inference.model import C2CModel
from c2c_search.inference.model import cache_shape
from c2c_search.models.loading import default_cache_dir
from c2c_search.models.loading import load
from c2c_search.models.sources import short_name
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.entries import FOLDER
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.tokenization.token_alignment import encode_all
from c2c_search.training.adapters import load_adapted
from c2c_search.training.calibration import calibrate
from c2c_search.training.fuser_training import FuserTraining
from c2c_search.training.lockstep import train_together
from c2c_search.training.loop import TrainingData
from c2c_search.training.lora_training import adapt
from c2c_search.training.lora_training import answer_alone
from c2c_search.training.protocol import Adapted
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Notice
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Result
from c2c_search.training.protocol import Stage
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainedTogether


if TYPE_CHECKING:
    from c2c_search.config.pipeline import Pipeline
    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row
    from c2c_search.models.loading import LoadedModel
    from c2c_search.models.pair import PairSpec


SPLITS = ("train", "validation", "test")


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
        self.cache_dtype: torch.dtype = getattr(torch, pipeline.caches.dtype)
        self.store = PromptCacheStore(
            self.cache_dir / FOLDER, dtype=self.cache_dtype, budget=pipeline.caches.budget
        )
        self._models: dict[str, LoadedModel] = {}
        self._pairs: dict[PairSpec, C2CModel] = {}
        self._prompts: dict[tuple[PairSpec, str, str], PairPrompts] = {}
        self._rows: dict[str, list[Row]] = {}
        self._hashes: dict[str, str] = {}

    def prepare(self, pair: PairSpec) -> Prepared:
        """Load a pair, make the data and fill the store; quick when all of it is there."""
        begun = time.perf_counter()
        seconds = {}
        self._load_data()
        receiver, sharer = self._load(pair.receiver), self._load(pair.sharer)
        seconds["load"] = time.perf_counter() - begun
        if pair not in self._pairs:
            template = self.pipeline.data.template
            self._pairs[pair] = C2CModel(
                receiver, sharer, None, template=template, cache_dtype=self.cache_dtype
            )
            for split in SPLITS:
                self._prompts_of(pair, split)
        seconds["prefill"] = time.perf_counter() - begun - seconds["load"]
        return Prepared(
            models={
                "receiver": receiver.identity.model_dump(),
                "sharer": sharer.identity.model_dump(),
            },
            data=self._hashes,
            seconds=seconds,
            dtype=name_of(receiver.model.dtype),
        )

    def train(self, config: TrialConfig, directory: Path, go_on: Callable[[], bool]) -> Trained:
        """Train one trial, from its checkpoint if there is one."""
        return self.trial(config, directory, go_on).run()

    def train_together(
        self, trials: Sequence[Train], go_on: Callable[[], bool]
    ) -> TrainedTogether:
        """Train trials in lockstep, each from its checkpoint if there is one."""

        def tell(place: int) -> Callable[[Event], None]:
            return lambda event: self.emit(OfTrial(place=place, event=event))

        def start(place: int, trial: Train) -> Callable[[], FuserTraining]:
            folder = Path(trial.directory)
            return lambda: self.trial(trial.config, folder, go_on, emit=tell(place))

        train_together(
            [start(place, trial) for place, trial in enumerate(trials)],
            lambda place, trained: tell(place)(trained),
        )
        return TrainedTogether()

    def trial(
        self,
        config: TrialConfig,
        directory: Path,
        go_on: Callable[[], bool],
        *,
        emit: Callable[[Event], None] | None = None,
    ) -> FuserTraining:
        """One trial, ready to run: its pair, data and calibrated fuser.

        Args:
            config: The trial.
            directory: Its checkpoints and its best fuser.
            go_on: Asked after every rung but the last.
            emit: Called with its events, instead of the service's own.

        Raises:
            ConfigError: The fuser does not fit the data.
        """
        pair = self._ready(config.pair)
        self._refuse_other_contexts(config)
        torch.manual_seed(config.seed)
        receiver = cache_shape(pair.receiver, adapted=config.fuser.lora_rank > 0)
        fuser = Fuser(config.fuser, receiver, cache_shape(pair.sharer))
        model = with_fuser(pair, fuser)
        begun = time.perf_counter()
        data = self._data_of(config)
        prefill = time.perf_counter() - begun
        calibrate(model, data.train_prompts, config.seed)
        training = FuserTraining(
            config, model, data, directory, emit=emit or self.emit, go_on=go_on
        )
        training.seconds["prefill"] = prefill
        return training

    def adapt(self, config: TrialConfig, parameters: int, directory: Path) -> Adapted:
        """Train LoRA on the receiver as a trial trains its fuser of so many parameters."""
        return adapt(
            config,
            self._ready(config.pair).receiver,
            self._data_of(config),
            directory,
            parameters=parameters,
            emit=self.emit,
        )

    def evaluate(self, request: Evaluate) -> Result:
        """Answer a split with one system."""
        if request.system == "lora":
            return self._evaluate_adapted(request)
        if request.system in ("text_relay", "shut"):
            return self._evaluate_system(request)
        pair = self._ready(request.pair)
        rows = self._rows[request.split]
        prompts = self._prompts_of(request.pair, request.split)
        partners = None
        if request.system == "receiver":
            model = receiver_alone(pair)
        elif request.system == "sharer":
            model, prompts = sharer_alone(pair, prompts)
        else:
            assert request.fuser_dir is not None, f"{request.system} needs a fuser"
            fuser = load_fuser(Path(request.fuser_dir))
            model = with_fuser(pair, fuser)
            prompts = self._prompts_of(request.pair, request.split, fuser.config.token_alignment)
            if request.system == "mismatched":
                partners = mismatched_partners(rows)
        items = answer(
            model,
            rows,
            prompts,
            self.pipeline.evaluation,
            partners=partners,
            progress=lambda done, total: self._progress("evaluate", done, total, request.system),
        )
        return Result(system=request.system, split=request.split, items=items)

    def _evaluate_system(self, request: Evaluate) -> Result:
        """Any system of the evaluation room, on the store's prompt caches."""
        pair, rows = self._ready(request.pair), self._rows[request.split]
        fuser = None if request.fuser_dir is None else load_fuser(Path(request.fuser_dir))
        system = SYSTEMS[request.system].build(Materials(pair, fuser))
        questions = [
            Question(item, item.messages, item.choices, item.sharer_messages)
            for item in map(Item.of_row, rows)
        ]
        config = self.pipeline.evaluation
        reading = QuestionPrompts(
            pair, questions, batch_size=config.batch_size, caches=self.store.get
        )
        self._progress("evaluate", 0, len(rows), request.system)
        items = choose_options(system, reading, length_normalised=config.length_normalised)
        return Result(system=request.system, split=request.split, items=items)

    def _evaluate_adapted(self, request: Evaluate) -> Result:
        """The store keeps nothing of an adapted receiver, which no other trial reads with."""
        assert request.adapter_dir is not None, "lora needs an adapter"
        pair = self._ready(request.pair)
        items = answer_alone(
            load_adapted(pair.receiver, Path(request.adapter_dir)),
            self._rows[request.split],
            self._prompts_of(request.pair, request.split).encoded,
            self.pipeline.evaluation,
            template=pair.template,
            cache_dtype=pair.cache_dtype,
            progress=lambda done, total: self._progress("evaluate", done, total, "lora"),
        )
        return Result(system="lora", split=request.split, items=items)

    def _data_of(self, config: TrialConfig) -> TrainingData:
        alignment = config.fuser.token_alignment
        return TrainingData(
            train=self._rows["train"],
            train_prompts=self._prompts_of(config.pair, "train", alignment),
            validation=self._rows["validation"],
            validation_prompts=self._prompts_of(config.pair, "validation", alignment),
        )

    def _ready(self, pair: PairSpec) -> C2CModel:
        """The pair, without a fuser."""
        if pair not in self._pairs:
            self.prepare(pair)
        return self._pairs[pair]

    def _refuse_other_contexts(self, config: TrialConfig) -> None:
        if config.fuser.injection == "append":
            return
        for split, rows in self._rows.items():
            if any(row["sharer_messages"] for row in rows):
                raise ConfigError(
                    "Rows with a sharer_context need fuser.injection append: the receiver's "
                    "tokens have no counterparts in what the sharer reads.",
                    value=f"fuser.injection {config.fuser.injection}, split {split}",
                    hint="Set fuser.injection to append, or drop sharer_context from the data.",
                )

    def _load(self, source: str) -> LoadedModel:
        if source not in self._models:
            self._models[source] = load(
                source,
                cache_dir=self.cache_dir,
                progress=self._loading_progress,
                notify=lambda message: self.emit(Notice(message=message)),
            )
        return self._models[source]

    def _loading_progress(self, stage: str, done: int, total: int, message: str) -> None:
        assert stage in get_args(Stage)
        self._progress(stage, done, total, message)  # type: ignore[arg-type]

    def _load_data(self) -> None:
        if self._rows:
            return
        splits = load_splits(self.pipeline.data)
        if splits.contamination.found:
            self.emit(Notice(message=splits.contamination.sentence()))
        for number, split in enumerate(SPLITS):
            self._progress("data", number, len(SPLITS), split)
            self._rows[split] = list(getattr(splits, split))
        self._hashes = {str(split): digest for split, digest in splits.hashes.items()}

    def _prompts_of(self, pair: PairSpec, split: str, alignment: str = "span") -> PairPrompts:
        """A split's prompts with both models' caches, computed once."""
        key = (pair, split, alignment)
        if key not in self._prompts:
            self._prompts[key] = self._compute_prompts(self._pairs[pair], split, alignment)
        return self._prompts[key]

    def _compute_prompts(self, model: C2CModel, split: str, alignment: str) -> PairPrompts:
        rows = self._rows[split]
        encoded = encode_all(
            [row["messages"] for row in rows],
            model.template,
            model.receiver.text_tokenizer,
            model.sharer.text_tokenizer,
            alignment,
            sharer_conversations=[row["sharer_messages"] for row in rows],
        )

        def caches(loaded: LoadedModel, ids: list[tuple[int, ...]]):  # type: ignore[no-untyped-def]
            name = short_name(loaded.identity.source)
            return self.store.get(
                loaded,
                ids,
                progress=lambda done, total: self._progress(
                    "prefill", done, total, f"{split}, {name}"
                ),
                notify=lambda message: self.emit(Notice(message=message)),
            ).near(loaded.model.device)

        return PairPrompts(
            encoded=encoded,
            receiver=caches(model.receiver, [prompt.receiver_ids for prompt in encoded]),
            sharer=caches(model.sharer, [prompt.sharer_ids for prompt in encoded]),
        )

    def _progress(self, stage: Stage, done: int, total: int, message: str) -> None:
        self.emit(Progress(stage=stage, done=done, total=total, message=message))
