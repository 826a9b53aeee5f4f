"""Training room: what the worker keeps between requests, and how it answers each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import get_args

import torch

from c2c_search.data.splits import load_splits
from c2c_search.evaluation.systems import answer
from c2c_search.evaluation.systems import mismatched_partners
from c2c_search.evaluation.systems import receiver_alone
from c2c_search.evaluation.systems import sharer_alone
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.model import C2CModel
from c2c_search.inference.model import cache_shape
from c2c_search.pair.batches import PairPrompts
from c2c_search.pair.loading import default_cache_dir
from c2c_search.pair.loading import load
from c2c_search.pair.store import PromptCacheStore
from c2c_search.pair.token_alignment import encode
from c2c_search.training.loop import TrainingData
from c2c_search.training.loop import TrialRun
from c2c_search.training.loop import calibrate
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Notice
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Result
from c2c_search.training.protocol import Stage
from c2c_search.training.protocol import Trained


if TYPE_CHECKING:
    from c2c_search.data.schema import Row
    from c2c_search.pair.loading import LoadedModel
    from c2c_search.pair.spec import PairSpec
    from c2c_search.pipeline.schema import Pipeline
    from c2c_search.trial import TrialConfig


SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class _Ready:
    """A pair that stands ready: its models, and each split's prompts with their caches."""

    model: C2CModel
    prompts: dict[str, PairPrompts]


class Desk:
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
        self.store = PromptCacheStore(self.cache_dir / "prompt_caches")
        self._models: dict[str, LoadedModel] = {}
        self._pairs: dict[PairSpec, _Ready] = {}
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
            model = C2CModel(receiver, sharer, None, template=self.pipeline.data.template)
            prompts = {split: self._prompts(model, split) for split in SPLITS}
            self._pairs[pair] = _Ready(model, prompts)
        seconds["prefill"] = time.perf_counter() - begun - seconds["load"]
        return Prepared(
            models={
                "receiver": receiver.identity.model_dump(),
                "sharer": sharer.identity.model_dump(),
            },
            data=self._hashes,
            seconds=seconds,
        )

    def train(self, config: TrialConfig, directory: Path, go_on: Callable[[], bool]) -> Trained:
        """Train one trial, from its checkpoint if there is one."""
        ready = self._ready(config.pair)
        torch.manual_seed(config.seed)
        fuser = Fuser(
            config.fuser, cache_shape(ready.model.receiver), cache_shape(ready.model.sharer)
        )
        calibrate(fuser, ready.prompts["train"], config.seed)
        model = self._with_fuser(ready, fuser)
        data = TrainingData(
            train=self._rows["train"],
            train_prompts=ready.prompts["train"],
            validation=self._rows["validation"],
            validation_prompts=ready.prompts["validation"],
        )
        return TrialRun(config, model, data, directory, emit=self.emit, go_on=go_on).run()

    def evaluate(self, request: Evaluate) -> Result:
        """Answer a split with one system."""
        ready = self._ready(request.pair)
        rows, prompts = self._rows[request.split], ready.prompts[request.split]
        partners = None
        if request.system == "receiver":
            model = receiver_alone(ready.model)
        elif request.system == "sharer":
            model, prompts = sharer_alone(ready.model, prompts)
        else:
            assert request.fuser_dir is not None, f"{request.system} needs a fuser"
            model = self._with_fuser(ready, load_fuser(Path(request.fuser_dir)))
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

    def _ready(self, pair: PairSpec) -> _Ready:
        if pair not in self._pairs:
            self.prepare(pair)
        return self._pairs[pair]

    def _with_fuser(self, ready: _Ready, fuser: Fuser) -> C2CModel:
        return C2CModel(
            ready.model.receiver, ready.model.sharer, fuser, template=ready.model.template
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
        for number, split in enumerate(SPLITS):
            self._progress("data", number, len(SPLITS), split)
            self._rows[split] = list(getattr(splits, split))
        self._hashes = {str(split): digest for split, digest in splits.hashes.items()}

    def _prompts(self, model: C2CModel, split: str) -> PairPrompts:
        encoded = tuple(
            encode(
                row["messages"], model.template, model.receiver.tokenizer, model.sharer.tokenizer
            )
            for row in self._rows[split]
        )

        def caches(loaded: LoadedModel, ids: list[tuple[int, ...]]):  # type: ignore[no-untyped-def]
            name = loaded.identity.source.rpartition(":")[2]
            return self.store.get(
                loaded,
                ids,
                progress=lambda done, total: self._progress(
                    "prefill", done, total, f"{split}, {name}"
                ),
            )

        return PairPrompts(
            encoded=encoded,
            receiver=caches(model.receiver, [prompt.receiver_ids for prompt in encoded]),
            sharer=caches(model.sharer, [prompt.sharer_ids for prompt in encoded]),
        )

    def _progress(self, stage: Stage, done: int, total: int, message: str) -> None:
        self.emit(Progress(stage=stage, done=done, total=total, message=message))
