"""Continuous batching: answers of one system, which join and leave between two decoding steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.server.contexts import remaining
from c2c_search.server.contexts import side_by_side
from c2c_search.server.likelihoods import Scoring
from c2c_search.server.likelihoods import Text
from c2c_search.server.writing import Wanted
from c2c_search.server.writing import Writing
from c2c_search.server.writing import Written


if TYPE_CHECKING:
    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.server.prompt_reader import PromptReader
    from c2c_search.server.writing import Heard
    from c2c_search.server.writing import Tell


# Prompts that are read together take less time than one by one, and all that are answered wait
# while a prompt is read: where many are, so many steps are waited for this share of all places.
_PATIENCE = 4
_SHARE = 4


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
        heard: As for `ReadPrompt`.
        fed: Tokens fed so far, the prompt's last one included.
    """

    asked: Asked
    writing: Writing
    last: int
    heard: Callable[[], Heard] | None
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
        reader: Reads their prompts, for what answers them.
    """

    def __init__(self, reader: PromptReader) -> None:
        self.model, self.limits = reader.model, reader.limits
        self._reader = reader
        self._waiting: deque[Asked] = deque()
        self._contexts: list[_Context] = []
        self._waited = 0  # steps for more prompts
        self._texts: list[Text] = []  # read, and not scored yet
        self._scoring: Scoring | None = None
        config = None if self.model.fuser is None else self.model.fuser.config
        # A sharer that reads on does so for the prompts that it began with.
        self._joins = config is None or not (config.fuse_response or config.refresh)

    def add(self, asked: Asked) -> None:
        """Let an answer wait for a place."""
        self._waiting.append(asked)

    @property
    def queued(self) -> int:
        """Answers that wait for a place."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._waiting or self._contexts or self._texts or self._scoring)

    @torch.no_grad()
    def step(self) -> None:
        """Let in who waits, as far as there are places, and go on with everything.

        One token of every answer is decoded, and some tokens of texts are scored.
        """
        self._admit()
        self._score()
        for context in self._contexts:
            try:
                self._decode(context)
            except Exception as error:  # what is wrong with one batch must not end the server
                for row in context.rows.values():
                    row.asked.failed(error)
                context.rows.clear()
        self._contexts = [context for context in self._contexts if context.rows]

    def _places(self) -> int:
        scored = len(self._texts) + (0 if self._scoring is None else len(self._scoring.texts))
        return self.limits.batch - scored - sum(len(each.rows) for each in self._contexts)

    def _gathers(self, places: int) -> bool:
        """Whether to wait for more prompts to be read with those that are there."""
        ready = min(places, len(self._waiting))
        busy = 2 * places <= self.limits.batch
        if busy and 0 < ready < self.limits.batch // _SHARE and self._waited < _PATIENCE:
            self._waited += 1
            return True
        self._waited = 0
        return False

    def _admit(self) -> None:
        places = self._places()
        if self._gathers(places):
            return
        taken: list[Asked] = []
        while self._waiting and len(taken) < places:
            asked = self._waiting.popleft()
            if asked.alive():
                taken.append(asked)
        rows: list[tuple[_Row, FusedCache]] = []
        for read in self._reader.read(taken):
            asked = read.asked
            if asked.wanted.echo is not None:
                self._texts.append(Text(asked, asked.wanted.echo, read.fused))
                continue
            try:
                writing = Writing(self.model, asked.wanted, read.ids, asked.tell)
            except Exception as error:
                asked.failed(error)
                continue
            rows.append((_Row(asked, writing, read.ids[-1], read.heard), read.fused))
        try:
            self._join(rows)
        except Exception as error:
            for row, _ in rows:
                row.asked.failed(error)

    def _score(self) -> None:
        """Go on with the texts that are scored, or begin with those that wait for it."""
        if self._scoring is None and self._texts:
            count = len(self._texts) if self._joins else 1
            chosen, self._texts = self._texts[:count], self._texts[count:]
            try:
                self._scoring = Scoring(self.model, chosen)
            except Exception as error:  # what is wrong with some must not end the server
                for text in chosen:
                    text.asked.failed(error)
        if self._scoring is None:
            return
        try:
            self._scoring.step()
        except Exception as error:
            for text in self._scoring.texts:
                text.asked.failed(error)
            self._scoring = None
            return
        if not self._scoring.texts:
            self._scoring = None

    def _join(self, rows: Sequence[tuple[_Row, FusedCache]]) -> None:
        """Have prompts decoded, beside those that are where the sharer allows it."""
        if not rows:
            return
        if not self._joins:
            for row, fused in rows:
                context = PackedContext(self.model.receiver.model, fused)
                self._contexts.append(_Context(context, {0: row}))
            return
        parts = [fused for _, fused in rows]
        before: list[_Row] = []
        for running in self._contexts:
            fed = {number: row.fed for number, row in running.rows.items()}
            parts = [*remaining(running.context, fed), *parts]
            before = [*running.rows.values()]
        whole = replace(side_by_side(parts), adaptation=rows[0][1].adaptation)
        context = PackedContext(self.model.receiver.model, whole)
        for row in before:
            row.fed = 0
        together = dict(enumerate([*before, *(row for row, _ in rows)]))
        self._contexts = [_Context(context, together)]

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
                if token is None and row.heard is not None:
                    row.writing.written.heard = row.heard()
            except Exception as error:
                row.asked.failed(error)
                del running.rows[number]
                continue
            if token is None:
                del running.rows[number]
                row.asked.done(row.writing.written)
            else:
                row.last = token
