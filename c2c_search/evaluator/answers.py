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
    from c2c_search.evaluation.items import Question
    from c2c_search.evaluation.systems.system import Decoding
    from c2c_search.evaluation.systems.system import System
    from c2c_search.evaluation.tasks.loading import LoadedTask
    from c2c_search.inference.model import C2CModel
    from c2c_search.report.progress import Tell


# A chunk's prompt caches are in memory at once: of small models about 10 MB a thousand characters.
_CHUNK_ITEMS = 128
_CHUNK_CHARACTERS = 60_000


@dataclass(frozen=True)
class AnsweringSystem:
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

    def answers(self, candidates: Sequence[AnsweringSystem]) -> dict[str, SystemResult]:
        """Let every system answer every item, all of them chunk after chunk.

        Returns:
            Answers by system, items in the task's order.
        """
        store = JsonStore(self.folder)
        built: dict[str, System] = {}
        split = [question(item, self.method, self.task.task) for item in self.task.items]
        whole = QuestionPrompts(self.pair, split)
        chunks = list(_chunks(split))
        total, done = len(chunks) * len(candidates), 0
        kept: Mapping[str, list[SystemResult]] = {each.name: [] for each in candidates}
        for number, chunk in enumerate(chunks):
            prompts = QuestionPrompts(self.pair, chunk, whole=whole, batch_size=self.batch_size)
            for each in candidates:
                self.tell(f"{self.task.name}: {each.name}", done, total)
                signals.check()
                key = f"{self._key(each)}/{number:05d}"
                found = store.load(key, SystemResult)
                if found is None:
                    if each.name not in built:
                        built[each.name] = each.build()
                    found = self._answer(built[each.name], each.name, prompts)
                    store.save(key, found)
                kept[each.name].append(found)
                done += 1
        self.tell(self.task.name, total, total)
        return {
            name: parts[0].model_copy(
                update={"items": tuple(item for part in parts for item in part.items)}
            )
            for name, parts in kept.items()
        }

    def _answer(self, system: System, name: str, prompts: QuestionPrompts) -> SystemResult:
        items = answer_questions(
            system,
            prompts,
            self.task.task,
            self.method,
            length_normalised=self.length_normalised,
            decoding=self._decoding(prompts.questions[0].item),
        )
        return SystemResult(system=name, split=self.task.split, items=items)

    def _decoding(self, item: Item) -> Decoding:
        """How a chunk's answers are written; its items have one limit."""
        longest = _longest(item)
        if longest is None or longest > self.decoding.max_new_tokens:
            return self.decoding
        return replace(self.decoding, max_new_tokens=longest)

    def _key(self, candidate: AnsweringSystem) -> str:
        same = {
            "system": candidate.identity,
            "task": self.task.sha256,
            "method": self.method,
            **(
                {"decoding": vars(self.decoding)}
                if self.method == "generate"
                else {"length_normalised": self.length_normalised}
            ),
        }
        return f"{fit(self.task.name)}/{fit(candidate.name)}-{canonical_hash(same)}"


def _chunks(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Questions that are read together; their written answers have one limit."""
    chunks: list[list[Question]] = [[]]
    characters = 0
    for each in questions:
        turns = (*each.item.messages, *each.item.sharer_messages)
        length = sum(len(turn["content"]) for turn in turns)
        size = len(chunks[-1])
        full = size == _CHUNK_ITEMS or (size and characters + length > _CHUNK_CHARACTERS)
        if full or (size and _longest(each.item) != _longest(chunks[-1][0].item)):
            chunks.append([])
            characters = 0
        chunks[-1].append(each)
        characters += length
    yield from chunks


def _longest(item: Item) -> int | None:
    """Most tokens of the item's written answer, where its task sets that item by item."""
    longest: int | None = item.facts.get("max_new_tokens")
    return longest
