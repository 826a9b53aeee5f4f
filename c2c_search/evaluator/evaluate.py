"""One evaluation from its request to its record."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from datetime import UTC
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock
from filelock import Timeout

from c2c_search.champion.package import installed_versions
from c2c_search.champion.package import workbench_version
from c2c_search.data.splits import Splits
from c2c_search.data.splits import load_splits
from c2c_search.data.splits import spread
from c2c_search.errors import DataError
from c2c_search.errors import StoreError
from c2c_search.evaluation.guard import SELECTION
from c2c_search.evaluation.guard import clean
from c2c_search.evaluation.guard import not_reported
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.latency.measure import measure
from c2c_search.evaluation.record import EvaluationRecord
from c2c_search.evaluation.record import TaskRecord
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.scoring import with_fuser
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems.confident import saving
from c2c_search.evaluator import lm_eval
from c2c_search.evaluator import tasks
from c2c_search.evaluator.answers import AnsweringSystem
from c2c_search.evaluator.answers import TaskAnswers
from c2c_search.evaluator.controls import Trainer
from c2c_search.evaluator.notes import task_notes
from c2c_search.evaluator.notes import token_counts
from c2c_search.evaluator.output import Results
from c2c_search.evaluator.output import keep
from c2c_search.evaluator.reading import ReadRequest
from c2c_search.evaluator.reading import read_request
from c2c_search.evaluator.request import Request
from c2c_search.evaluator.scores import task_record
from c2c_search.evaluator.systems import SystemSet
from c2c_search.evaluator.systems import lacks
from c2c_search.evaluator.target import Target
from c2c_search.evaluator.tasks import Chosen
from c2c_search.host.description import machine
from c2c_search.host.files import disk_errors
from c2c_search.host.names import fit
from c2c_search.host.signals import interruptible
from c2c_search.host.terminal import Console
from c2c_search.inference.model import C2CModel
from c2c_search.models.loading import load
from c2c_search.report.progress import Tell
from c2c_search.report.progress import watch
from c2c_search.tokenization.templates import any_dated
from c2c_search.training.process import keep_freed_memory


if TYPE_CHECKING:
    from c2c_search.data.contamination import Contamination
    from c2c_search.evaluation.latency.measure import LatencyReport
    from c2c_search.evaluation.systems.registry import Derivation


LATENCY_QUESTIONS = 4
LATENCY_REPEATS = 3


@dataclass(frozen=True)
class Evaluated:
    """What came of an evaluation.

    Args:
        record: What was found.
        folder: Where it is kept.
        answers: Every answer.
    """

    record: EvaluationRecord
    folder: Path
    answers: Results


def evaluate(asked: Request | ReadRequest, *, console: Console | None = None) -> Evaluated:
    """Let systems answer tasks, compare them and keep what was found.

    Interrupted at any instant, the same request goes on where it was; only what the harness asks,
    and timing, begin anew.

    Args:
        asked: What is asked, read already or not; see `read_request`.
        console: Where progress goes; standard error when left out.

    Raises:
        ConfigError: The request does not hold.
        DataError: A task cannot be read, or has items that the fuser was trained on and the
            request refuses them.
        C2CError: A model cannot be loaded, or a control cannot be trained.
        KeyboardInterrupt: A signal stopped it.
    """
    console = console or Console(stderr=True)
    ready = asked if isinstance(asked, ReadRequest) else read_request(asked)
    request, target = ready.request, ready.target
    name = f"{fit(target.name)}-{target.identity()[:8]}"
    folder = (request.to or request.root / "evaluations" / name).resolve()
    keep_freed_memory()
    try:
        with interruptible(), _alone_in(folder), watch(console) as tell:
            evaluation = _Evaluation(request, target, ready.systems, ready.chosen, folder, tell)
            record = evaluation.run(ready.skipped)
    except KeyboardInterrupt:
        console.print(
            f"\nStopped; answers to --tasks are kept. Go on with:\n  {request.command}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        raise
    keep(record, evaluation.results, folder=folder, root=request.root, target=target)
    return Evaluated(record, folder, evaluation.results)


@dataclass
class _Evaluation:
    """One evaluation while it runs; see `evaluate`."""

    request: Request
    target: Target
    systems: tuple[str, ...]
    chosen: list[Chosen]
    folder: Path
    tell: Tell
    results: Results = field(default_factory=dict)

    def run(self, skipped: Mapping[str, str]) -> EvaluationRecord:
        request, target = self.request, self.target
        cleaned = [self._clean(each) for each in self.chosen]
        chosen = [each for each, _ in cleaned]
        systems = SystemSet(target, self.pair, self.systems, self._trainer(), request.seeds)
        if chosen:
            systems.train()
        records = [self._task(each, contamination, systems) for each, contamination in cleaned]
        if request.lm_eval:
            more, answers = lm_eval.answer(request, target, self.pair, self.systems, self.tell)
            records += more
            self.results |= answers
        return EvaluationRecord(
            subject=target.name,
            receiver=target.receiver,
            sharer=target.sharer,
            parameters=None if target.fuser_dir is None else self._parameters,
            command=request.command,
            created=datetime.now(UTC),
            versions={"c2c-search": workbench_version(), **installed_versions()},
            machine=machine(target.dtype),
            tasks=tuple(records),
            skipped=dict(skipped) | self._not_everywhere(chosen),
            latency=self._latency() if request.latency else None,
        )

    @cached_property
    def pair(self) -> C2CModel:
        """The target's models; a model alone is its own sharer, whom nobody hears."""

        def told(stage: str, done: int, total: int, message: str) -> None:
            self.tell(f"{stage} {message}".strip(), done, total)

        target = self.target
        dtype = getattr(torch, target.dtype)
        receiver = sharer = load(target.receiver, dtype=dtype, progress=told)
        if target.sharer is not None:
            sharer = load(target.sharer, dtype=dtype, progress=told)
        target.check(receiver, sharer)
        dated = any_dated(target.template, receiver.text_tokenizer, sharer.text_tokenizer)
        return C2CModel(
            receiver,
            sharer,
            None,
            template=target.template,
            cache_dtype=getattr(torch, target.cache_dtype),
            date=target.date or (datetime.now().date().isoformat() if dated else None),
        )

    @cached_property
    def _splits(self) -> Splits | None:
        """What the fuser was trained and chosen on; None where that is not known or not here.

        Raises:
            DataError: It is not here, and the request does more than report contamination.
        """
        if self.target.trial is None:
            return None
        try:
            return load_splits(self.target.trial.data)
        except DataError as error:
            if self.request.contamination == "report":
                return None
            raise DataError(
                f"What the fuser was trained on must be here, so that no task asks it. {error}",
                hint="\nRun this where the files are, or give --contamination report.",
            ) from error

    def _trainer(self) -> Trainer | None:
        trial = self.target.trial
        if trial is None:
            return None
        # Trained in one dtype, they are no controls of what computes in another.
        folder = self.folder / "trained" / self.target.dtype
        root = self.request.root.resolve()
        dtype = self.target.dtype
        return Trainer(trial, self._parameters, folder, root, self.tell, dtype=dtype)

    @cached_property
    def _parameters(self) -> int:
        """Numbers that were trained in the target's fuser; all of it where it was fitted."""
        fuser = self.target.fuser()
        assert fuser is not None
        return sum(parameter.numel() for parameter in fuser.parameters())

    def _clean(self, chosen: Chosen) -> tuple[Chosen, Contamination | None]:
        """The task without what the fuser has seen, as the request wants it."""
        if self._splits is None:
            return chosen, None
        self.tell(f"{chosen.loaded.name}: looking for overlap with the training data", 0, 0)
        kept, contamination = clean(
            chosen.loaded.items,
            trained_on=self._splits.learnt,
            selected_on=self._splits.validation,
            rule=self.request.contamination,
            name=chosen.loaded.name,
        )
        if len(kept) < len(chosen.loaded.items):
            chosen = replace(chosen, loaded=tasks.rehashed(chosen.loaded, kept))
        return chosen, contamination

    def _task(
        self, chosen: Chosen, contamination: Contamination | None, systems: SystemSet
    ) -> TaskRecord:
        loaded = chosen.loaded
        # Before anything is answered: what is too long for a model is refused here.
        notes = list(
            task_notes(self.target, self.pair, loaded.items, known=self._splits is not None)
        )
        answering = list(systems.candidates(chosen))
        answers = self._answers(chosen, [candidate for _, _, candidate in answering])
        results: dict[str, list[SystemResult]] = {}
        for name, _, candidate in answering:
            results.setdefault(name, []).append(answers[candidate.name])
        fitted: dict[str, float] = {}
        for name in self.systems:
            derivation = SYSTEMS[name].derivation
            if derivation is not None and not lacks(name, chosen):
                fitted[name] = self._fitted(derivation, chosen, systems)
                of = (results[each][0] for each in derivation.of)
                results[name] = [derivation.derive(*of, fitted[name])]
        results = {name: results[name] for name in self.systems if name in results}
        if "c2c_confident" in fitted:
            notes.append(saving(results["receiver"][0], fitted["c2c_confident"]))
        self.results[loaded.name] = results
        return task_record(
            results,
            loaded=loaded,
            method=chosen.method,
            length_normalised=chosen.length_normalised,
            lengths=token_counts(self.pair.receiver, loaded.items),
            request=self.request,
            contamination=contamination,
            margin=fitted.get("routing"),
            notes=notes,
        )

    def _answers(
        self, chosen: Chosen, candidates: list[AnsweringSystem]
    ) -> dict[str, SystemResult]:
        task_answers = TaskAnswers(
            pair=self.pair,
            task=chosen.loaded,
            method=chosen.method,
            length_normalised=bool(chosen.length_normalised),
            decoding=chosen.decoding,
            folder=self.folder / "answers",
            tell=self.tell,
            batch_size=self.request.batch_size,
        )
        return task_answers.answers(candidates)

    def _fitted(self, derivation: Derivation, chosen: Chosen, systems: SystemSet) -> float:
        """What a derived system answers with, fitted on the trial's validation split."""
        if self._splits is None or chosen.method == "generate":
            return 0.0
        rows = spread(list(self._splits.validation), self.request.limit, self.request.seed)
        items = not_reported([Item.of_row(row) for row in rows], chosen.loaded.items)
        if not items:
            return 0.0
        selection = replace(
            tasks.rehashed(chosen.loaded, items), name="selection", split=SELECTION
        )
        asked = replace(chosen, loaded=selection)
        candidates = [
            each
            for name, seed, each in systems.candidates(asked)
            if name in derivation.of and seed == 0
        ]
        found = self._answers(asked, candidates)
        return derivation.fit(*(found[name] for name in derivation.of))

    def _not_everywhere(self, chosen: Sequence[Chosen]) -> dict[str, str]:
        """Systems that could not answer every task, with the reason."""
        left_out: dict[str, str] = {}
        for name in self.systems:
            lacking = {each.loaded.name: lacks(name, each) for each in chosen}
            for reason in dict.fromkeys(filter(None, lacking.values())):
                of = ", ".join(task for task, why in lacking.items() if why == reason)
                left_out[name] = f"of {of}, {reason}"
        return left_out

    def _latency(self) -> LatencyReport:
        items = [item for each in self.chosen for item in each.loaded.items]
        every = max(1, len(items) // LATENCY_QUESTIONS)
        asked = [list(item.messages) for item in items[::every][:LATENCY_QUESTIONS]]
        return measure(
            with_fuser(self.pair, self.target.fuser()),
            asked,
            # A model alone stands in for its own sharer, too.
            systems=None if self.target.sharer else ["receiver"],
            repeats=LATENCY_REPEATS,
            progress=lambda done, total: self.tell("latency", done, total),
        )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, so that no second evaluation writes in it.

    Raises:
        StoreError: Another one does, or it cannot be made.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise StoreError(
            "One evaluation at a time writes to a folder.",
            value=str(folder),
            hint="Wait until the other one has ended, or name another folder with --to.",
        ) from error
