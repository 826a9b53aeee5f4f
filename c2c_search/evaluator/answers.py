"""Systems answer a task chunk by chunk, so that an interruption costs little."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.config.trial import canonical_hash
from c2c_search.evaluation.prompting import question
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.scoring import answer_questions
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.host import signals
from c2c_search.host.json_store import JsonStore
from c2c_search.host.names import fit


if TYPE_CHECKING:
    from c2c_search.evaluation.items import Item
    from c2c_search.evaluation.items import Method
    from c2c_search.evaluation.systems.system import Decoding
    from c2c_search.evaluation.systems.system import System
    from c2c_search.evaluation.tasks.loading import LoadedTask
    from c2c_search.inference.model import C2CModel
    from c2c_search.report.progress import Tell


# A chunk's prompt caches are in memory at once: of small models about 10 MB a thousand characters.
_CHUNK_ITEMS = 128
_CHUNK_CHARACTERS = 60_000


@dataclass(frozen=True)
class Candidate:
    """A system that will answer.

    Args:
        name: Of the system.
        identity: Changes as soon as it would answer otherwise.
        build: Makes it; called only if there is something left to answer.
    """

    name: str
    identity: str
    build: Callable[[], System]


@dataclass(frozen=True)
class TaskAnswers:
    """One task, answered by any number of systems.

    What is answered is kept in ``folder``, chunk by chunk; the same call goes on behind it.

    Args:
        pair: Receiver and sharer, without a fuser.
        task: With its items.
        method: How they are answered.
        length_normalised: How options are compared.
        decoding: How answers are written.
        folder: Keeps the answers.
        tell: Hears of progress.
        batch_size: Questions in one pass.
    """

    pair: C2CModel
    task: LoadedTask
    method: Method
    length_normalised: bool
    decoding: Decoding
    folder: Path
    tell: Tell
    batch_size: int = 32

    def answers(self, candidates: Sequence[Candidate]) -> dict[str, SystemResult]:
        """Let every system answer every item, all of them chunk after chunk.

        Returns:
            Answers by system, items in the task's order.
        """
        ledger = JsonStore(self.folder)
        built: dict[str, System] = {}
        chunks = list(_chunks(self.task.items))
        total, done = len(chunks) * len(candidates), 0
        kept: Mapping[str, list[SystemResult]] = {each.name: [] for each in candidates}
        for number, items in enumerate(chunks):
            reading: QuestionPrompts | None = None
            for each in candidates:
                self.tell(f"{self.task.name}: {each.name}", done, total)
                signals.check()
                key = f"{self._key(each)}/{number:05d}"
                found = ledger.load(key, SystemResult)
                if found is None:
                    reading = reading or self._reading(items)
                    if each.name not in built:
                        built[each.name] = each.build()
                    found = self._answer(built[each.name], each.name, reading)
                    ledger.save(key, found)
                kept[each.name].append(found)
                done += 1
        self.tell(self.task.name, total, total)
        return {
            name: parts[0].model_copy(
                update={"items": tuple(item for part in parts for item in part.items)}
            )
            for name, parts in kept.items()
        }

    def _reading(self, items: Sequence[Item]) -> QuestionPrompts:
        questions = [question(item, self.method, self.task.task) for item in items]
        return QuestionPrompts(self.pair, questions, batch_size=self.batch_size)

    def _answer(self, system: System, name: str, reading: QuestionPrompts) -> SystemResult:
        items = answer_questions(
            system,
            reading,
            self.task.task,
            self.method,
            length_normalised=self.length_normalised,
            decoding=self._decoding(reading.questions[0].item),
        )
        return SystemResult(system=name, split=self.task.split, items=items)

    def _decoding(self, item: Item) -> Decoding:
        """How a chunk's answers are written; its items have one limit."""
        longest = _longest(item)
        if longest is None or longest > self.decoding.max_new_tokens:
            return self.decoding
        return replace(self.decoding, max_new_tokens=longest)

    def _key(self, candidate: Candidate) -> str:
        same = {
            "system": candidate.identity,
            "items": self.task.sha256,
            "method": self.method,
            **(
                {"decoding": vars(self.decoding)}
                if self.method == "generate"
                else {"length_normalised": self.length_normalised}
            ),
        }
        return f"{fit(self.task.name)}/{fit(candidate.name)}-{canonical_hash(same)}"


def _chunks(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items that are read together; two at least, since a mismatched sharer reads another."""
    chunks: list[list[Item]] = [[]]
    characters = 0
    for item in items:
        length = sum(len(turn["content"]) for turn in (*item.messages, *item.sharer_messages))
        size = len(chunks[-1])
        full = size == _CHUNK_ITEMS or (size > 1 and characters + length > _CHUNK_CHARACTERS)
        if full or (size and _longest(item) != _longest(chunks[-1][0])):
            chunks.append([])
            characters = 0
        chunks[-1].append(item)
        characters += length
    alone = len(chunks) > 1 and len(chunks[-1]) == 1
    if alone and _longest(chunks[-1][0]) == _longest(chunks[-2][0]):
        chunks[-2:] = [chunks[-2] + chunks[-1]]
    yield from chunks


def asks_one_alone(items: Sequence[Item]) -> bool:
    """Whether a question has no other beside it that a mismatched sharer could read."""
    return any(len(chunk) == 1 for chunk in _chunks(items))


def _longest(item: Item) -> int | None:
    """Most tokens of the item's written answer, where its task sets that item by item."""
    longest: int | None = item.facts.get("max_new_tokens")
    return longest
