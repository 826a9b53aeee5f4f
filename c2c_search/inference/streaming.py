"""An answer told token by token to one of transformers' streamers."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from c2c_search.errors import ConfigError


if TYPE_CHECKING:
    from transformers.generation.streamers import BaseStreamer

    from c2c_search.inference.sampling import Stops


class Telling:
    """Hands an answer's tokens to a streamer as soon as it is clear that they belong to it.

    What may be the beginning of a stop text waits for the next token. What is told, in words, is
    the answer (`Stops.before`), and a streamer that skips the prompt skips it here too.

    Args:
        streamer: Takes tokens.
        prompt: Token ids of the prompt.
        stops: Texts that end the answer; None where every token is told.
        ends: Token ids that end the answer; told where every token is.
    """

    def __init__(
        self,
        streamer: BaseStreamer,
        prompt: Sequence[int],
        stops: Stops | None,
        ends: Collection[int],
    ) -> None:
        self.streamer, self.stops, self.ends = streamer, stops, ends
        self.ids: list[int] = []
        self.told = 0
        streamer.put(torch.tensor([list(prompt)]))

    def put(self, token: int) -> None:
        """Take the next token."""
        if self.stops is None:
            self.streamer.put(torch.tensor([token]))
        elif token not in self.ends:
            self.ids.append(token)
            tail = self.stops.decode(self.ids[-self.stops.tail :])
            if not self.stops.may_begin(tail) and not self.stops.hit(self.ids):
                self._tell(len(self.ids))

    def finish(self) -> None:
        """Tell what has waited and is no part of a stop text."""
        if self.stops is None or self.told == len(self.ids):
            return
        said = self.stops.before(self.ids)
        count = self.told
        while count < len(self.ids) and said.startswith(self.stops.decode(self.ids[: count + 1])):
            count += 1
        rest = said[len(self.stops.decode(self.ids[:count])) :]
        self._tell(count)
        if rest:  # a token in which a stop text begins, without it
            tokens = self.stops.tokenizer(rest, add_special_tokens=False)["input_ids"]
            self.streamer.put(torch.tensor(tokens))

    def _tell(self, count: int) -> None:
        for token in self.ids[self.told : count]:
            self.streamer.put(torch.tensor([token]))
        self.told = count


@contextmanager
def telling(
    streamer: BaseStreamer | None,
    prompts: Sequence[Sequence[int]],
    stops: Stops | None,
    ends: Collection[int],
) -> Iterator[Telling | None]:
    """Tell a streamer the answer that is written within the block; it ends whatever happens.

    So that whoever waits for it in another thread does not wait for ever.

    Args:
        streamer: None where nobody listens.
        prompts: Token ids of each answer's prompt.
        stops: See `Telling`.
        ends: See `Telling`.

    Raises:
        ConfigError: There are several answers.
    """
    if streamer is None:
        yield None
        return
    try:
        if len(prompts) != 1:
            raise ConfigError(
                "A streamer is told one answer.",
                value=f"{len(prompts)} answers",
                hint="Ask one question at a time, with num_return_sequences 1.",
            )
        told = Telling(streamer, prompts[0], stops, ends)
        yield told
        told.finish()
    finally:
        streamer.end()
