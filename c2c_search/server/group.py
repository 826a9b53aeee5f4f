"""Continuous batching: answers of one system, which join and leave between two decoding steps."""

from __future__ import annotations

from collections import OrderedDict
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.finite import blaming
from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.packed.tokens import onto
from c2c_search.inference.token_ids import read_of_receiver
from c2c_search.server.writing import Prompt
from c2c_search.server.writing import Wanted
from c2c_search.server.writing import Writing
from c2c_search.server.writing import Written


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel
    from c2c_search.inference.packed.side_memory import SideMemory
    from c2c_search.prompt_cache.batches import PairPrompts
    from c2c_search.server.limits import ServerLimits
    from c2c_search.server.writing import Tell


@dataclass
class Asked:
    """An answer that somebody waits for.

    Args:
        wanted: The answer.
        tell: Told its words while they come.
        done: Called with the answer.
        failed: Called with what went wrong.
        alive: Whether anybody still waits.
    """

    wanted: Wanted
    tell: Tell
    done: Callable[[Written], None]
    failed: Callable[[Exception], None]
    alive: Callable[[], bool]


@dataclass
class _Row:
    """An answer in a context.

    Args:
        asked: Who waits for it.
        writing: Its state.
        last: The token that is fed next.
        fed: Tokens fed so far, the prompt's last one included.
    """

    asked: Asked
    writing: Writing
    last: int
    fed: int = 0


@dataclass
class _Context:
    """Prompts that are decoded together.

    Args:
        context: What the receiver has read.
        rows: The answers by their prompts' numbers; those that have ended are gone.
    """

    context: PackedContext
    rows: dict[int, _Row] = field(default_factory=dict)


class Group:
    """The answers of one system.

    Args:
        model: What answers.
        limits: How many at once.
        hit: Told of each prompt whether its caches were there.
    """

    def __init__(self, model: C2CModel, limits: ServerLimits, hit: Callable[[bool], None]) -> None:
        self.model, self.limits = model, limits
        self._hit = hit
        self._waiting: deque[Asked] = deque()
        self._contexts: list[_Context] = []
        self._kept: OrderedDict[object, tuple[PairPrompts, int]] = OrderedDict()
        config = None if model.fuser is None else model.fuser.config
        # A sharer that reads on does so for the prompts that it began with.
        self._joins = config is None or not (config.fuse_response or config.refresh)

    def add(self, asked: Asked) -> None:
        """Let an answer wait for a place."""
        self._waiting.append(asked)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._waiting or self._contexts)

    @torch.no_grad()
    def step(self) -> None:
        """Let in who waits, as far as there are places, and decode one token of every answer."""
        self._admit()
        for context in self._contexts:
            try:
                self._decode(context)
            except Exception as error:  # what is wrong with one batch must not end the server
                for row in context.rows.values():
                    row.asked.failed(error)
                context.rows.clear()
        self._contexts = [context for context in self._contexts if context.rows]

    def _admit(self) -> None:
        places = self.limits.batch - sum(len(context.rows) for context in self._contexts)
        taken: list[Asked] = []
        while self._waiting and len(taken) < places:
            asked = self._waiting.popleft()
            if asked.alive():
                taken.append(asked)
        for asked, fused, ids in self._read(taken):
            try:
                writing = Writing(self.model, asked.wanted, ids, asked.tell)
                self._join(_Row(asked, writing, ids[-1]), fused)
            except Exception as error:
                asked.failed(error)

    def _join(self, row: _Row, fused: FusedCache) -> None:
        if not self._joins or not self._contexts:
            context = PackedContext(self.model.receiver.model, fused)
            self._contexts.append(_Context(context, {0: row}))
            return
        (running,) = self._contexts
        rows = [*running.rows.values()]
        parts = [*remaining(running.context, {n: r.fed for n, r in running.rows.items()}), fused]
        whole = replace(side_by_side(parts), adaptation=fused.adaptation)
        running.context = PackedContext(self.model.receiver.model, whole)
        for each in rows:
            each.fed = 0
        running.rows = dict(enumerate([*rows, row]))

    def _decode(self, running: _Context) -> None:
        for number, row in [*running.rows.items()]:
            if not row.asked.alive():
                del running.rows[number]
        if not running.rows:
            return
        numbers, rows = zip(*running.rows.items(), strict=True)
        starts = running.context.next_positions
        tokens = Tokens(
            prompt=torch.tensor(numbers),
            branch=torch.full((len(rows),), TRUNK),
            position=torch.tensor([starts[n] + row.fed for n, row in running.rows.items()]),
        )
        logits = running.context.feed(torch.tensor([row.last for row in rows]), tokens)
        for number, row, of_row in zip(numbers, rows, logits.split(1), strict=True):
            row.fed += 1
            try:
                token = row.writing.take(of_row)
            except Exception as error:
                row.asked.failed(error)
                del running.rows[number]
                continue
            if token is None:
                del running.rows[number]
                row.asked.done(row.writing.written)
            else:
                row.last = token

    def _read(self, taken: Sequence[Asked]) -> Iterator[tuple[Asked, FusedCache, tuple[int, ...]]]:
        """The fused cache of each prompt, those that are new read together."""
        for several in (self._known(taken), *self._new(taken)):
            for asked, (prompts, number) in several:
                batch = self.model.batch(prompts, [number])
                try:
                    with blaming(self.model, batch):
                        fused = self.model.fused_cache(batch)
                except Exception as error:
                    asked.failed(error)
                    continue
                yield asked, fused, tuple(batch.receiver_ids[0])

    def _known(self, taken: Sequence[Asked]) -> list[tuple[Asked, tuple[PairPrompts, int]]]:
        found = []
        for asked in taken:
            kept = self._kept.get(asked.wanted.prompt.key)
            self._hit(kept is not None)
            if kept is not None:
                self._kept.move_to_end(asked.wanted.prompt.key)
                found.append((asked, kept))
        return found

    def _new(
        self, taken: Sequence[Asked]
    ) -> Iterator[list[tuple[Asked, tuple[PairPrompts, int]]]]:
        new = [asked for asked in taken if asked.wanted.prompt.key not in self._kept]
        new.sort(key=lambda asked: _kind(asked.wanted.prompt))
        for _, several in groupby(new, key=lambda asked: _kind(asked.wanted.prompt)):
            chosen = [*several]
            try:
                yield [*zip(chosen, self._prefilled(chosen), strict=True)]
            except Exception as error:
                if len(chosen) == 1:
                    chosen[0].failed(error)
                    continue
                for asked in chosen:  # one of them is at fault: each by itself
                    yield from self._new([asked])

    def _prefilled(self, several: Sequence[Asked]) -> list[tuple[PairPrompts, int]]:
        """Read prompts of one kind; caches are kept for whoever asks them again."""
        prompts = [asked.wanted.prompt for asked in several]
        if prompts[0].ids:
            found = []
            for prompt in prompts:
                read = read_of_receiver(self.model, torch.tensor([prompt.ids]))
                found.append((self.model.cached(read.encoded), 0))
        elif len(prompts) == 1 and len(prompts[0].turns) > 1:  # perhaps a turn more than before
            (prompt,) = prompts
            found = [(self.model.read_on(prompt.turns, prompt.sharer_turns), 0)]
        else:
            theirs = [prompt.sharer_turns for prompt in prompts if prompt.sharer_turns is not None]
            together = self.model.prompts([prompt.turns for prompt in prompts], theirs or None)
            found = [(together, number) for number in range(len(prompts))]
        for prompt, each in zip(prompts, found, strict=True):
            self._kept[prompt.key] = each
            while len(self._kept) > self.limits.kept_prompts:
                self._kept.popitem(last=False)
        return found


def _kind(prompt: Prompt) -> tuple[bool, bool, bool]:
    """Prompts of one kind are read in one call."""
    return bool(prompt.ids), prompt.sharer_turns is not None, len(prompt.turns) > 1


def remaining(context: PackedContext, fed: dict[int, int]) -> list[FusedCache]:
    """What a context has read of prompts that are still answered, each as a cache to go on from.

    Args:
        context: It.
        fed: Tokens fed of each of these prompts.
    """
    read, packed = context.read, context.newest(len(context.read))
    memories = () if context.memories is None else context.memories.memories
    found = []
    for row, count in fed.items():
        (index,) = (read.prompt == row).nonzero(as_tuple=True)
        found.append(
            FusedCache(
                packed=packed.index_select(2, onto(index, packed.device)),
                lengths=(len(index),),
                positions=(read.position[index],),
                next_positions=(context.next_positions[row] + count,),
                memories=tuple(memory.of_rows(range(row, row + 1)) for memory in memories),
            )
        )
    return found


def side_by_side(caches: Sequence[FusedCache]) -> FusedCache:
    """The prompts of several as those of one, with one memory where each has one."""
    joined = FusedCache.side_by_side(caches)
    memories = [memory for cache in caches for memory in cache.memories]
    return replace(joined, memories=(_one(memories),)) if memories else joined


def _one(memories: Sequence[SideMemory]) -> SideMemory:
    return replace(
        memories[0],
        packed=torch.cat([memory.packed for memory in memories], dim=2),
        lengths=tuple(length for memory in memories for length in memory.lengths),
    )
