"""C2C, and the controls that change what the fuser hears, knows or may say."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from c2c_search.errors import ConfigError
from c2c_search.evaluation.systems.passes import Pass
from c2c_search.evaluation.systems.passes import PassByPass
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.drafting import drafter_of
from c2c_search.inference.fusion import Fuse
from c2c_search.inference.model import C2CModel
from c2c_search.inference.packed.fused_cache import FusedCache


if TYPE_CHECKING:
    from c2c_search.evaluation.systems.prompts import QuestionPrompts
    from c2c_search.evaluation.systems.system import Decoding
    from c2c_search.evaluation.systems.system import OptionScores
    from c2c_search.evaluation.systems.system import Progress
    from c2c_search.evaluation.systems.system import Written
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.prompt_cache.batches import PairPrompts


class Fused(PassByPass):
    """A receiver that hears a sharer through a fuser.

    Args:
        name: In `SYSTEMS`.
        model: With the fuser.
        derangement: By which of the split's derangements each question hears the sharer read
            another one (see `draw_partners`): what is left then is not what the sharer knows.
            None: it hears its own.
    """

    def __init__(self, name: str, model: C2CModel, *, derangement: int | None = None) -> None:
        super().__init__(name)
        self.model = model
        self.derangement = derangement

    def passes(self, prompts: QuestionPrompts) -> Iterator[Pass]:
        """The passes.

        Raises:
            ConfigError: The sharer reads what this fuser cannot hear, or deranged there is
                nothing else to hear.
        """
        assert self.model.fuser is not None
        config = self.model.fuser.config
        if not config.stands_beside and any(q.sharer_messages for q in prompts.questions):
            raise ConfigError(
                "A sharer can read something else than the receiver only where its cache is "
                "appended, or read beside: otherwise each receiver token hears the same token.",
                value=f"injection {config.injection}",
                hint=f"Leave {self.name} out, or use a fuser with injection append or side.",
            )
        partners = None
        if self.derangement is None:
            read = prompts.read(config)
        else:
            read, partners = prompts.read_deranged(config, self.derangement)
        for rows in prompts.batches(read):
            speakers = None if partners is None else [partners[row] for row in rows]
            if config.sharer != "blank":
                self._hear(prompts, read, rows, speakers or rows)
            yield Pass(rows, self.model, self.model.batch(read, rows, speakers))

    def _hear(
        self,
        prompts: QuestionPrompts,
        read: PairPrompts,
        rows: Sequence[int],
        speakers: Sequence[int],
    ) -> None:
        """Keep the drafts that questions hear, in words, if there are any."""
        drafter = drafter_of(self.model)
        if drafter is None:
            return
        for row, speaker in zip(rows, speakers, strict=True):
            self.heard[prompts.questions[row].item.id] = drafter.text(read.encoded[speaker])


class Deranged:
    """A receiver that hears the sharer read other questions, in several derangements.

    Args:
        name: In `SYSTEMS`.
        model: With the fuser.
        derangements: How often every question is answered, each time with another message.
    """

    def __init__(self, name: str, model: C2CModel, derangements: int) -> None:
        self.name = name
        self.heard: dict[str, str] = {}
        self.each = [Fused(name, model, derangement=number) for number in range(derangements)]

    def choose(
        self, prompts: QuestionPrompts, progress: Progress | None = None
    ) -> list[OptionScores]:
        """Score the options of every question, once with each message."""
        total = len(prompts) * len(self.each)
        times = []
        for before, system in enumerate(self.each):

            def told(done: int, of: int, before: int = before) -> None:
                if progress is not None:
                    progress(before * of + done, total)

            times.append(system.choose(prompts, told))
        return [replace(answers[0], repeats=answers[1:]) for answers in zip(*times, strict=True)]

    def write(self, prompts: QuestionPrompts, decoding: Decoding) -> list[Written]:
        """Answer every question in words, once with each message."""
        times = [system.write(prompts, decoding) for system in self.each]
        return [replace(answers[0], repeats=answers[1:]) for answers in zip(*times, strict=True)]


class Shut(C2CModel):
    """A model whose fuser computes all that it would say, and says nothing.

    What is added, or found in a memory, is multiplied by zero, what is appended is dropped, no
    response is fused and the receiver is not adapted: it must answer as the receiver alone, or
    something else than what the fuser says reaches the receiver. Where there are anchors, these
    do: it answers as the receiver that reads them.
    """

    def fused_cache(self, batch: PairBatch, through: Fuse | None = None) -> FusedCache:
        fused = super().fused_cache(batch, through)
        receiver = batch.receiver.to(self.device)
        if fused.memories:
            silent = tuple(memory.silenced() for memory in fused.memories)
            return FusedCache(receiver, batch.lengths, memories=silent)
        # A prompt's entries stand after those that are appended to it.
        kept = torch.cat(
            [
                entries[:, :, entries.shape[2] - length :]
                for entries, length in zip(
                    fused.packed.split(list(fused.lengths), dim=2), batch.lengths, strict=True
                )
            ],
            dim=2,
        )
        return FusedCache(receiver + 0 * (kept - receiver), batch.lengths)


def unanchored(fuser: Fuser) -> Fuser:
    """The same fuser, with the same weights, whose receiver reads no anchors."""
    if not fuser.config.anchored:
        return fuser
    found = copy.copy(fuser)
    found.config = fuser.config.without_anchors()
    return found


def shuffled(fuser: Fuser, seed: int) -> Fuser:
    """A fuser of the same architecture and calibration that has learned nothing.

    In every weight of the projector, the dynamic weight's included, and of the pool of ``slots``,
    the entries of a layer's keys, values or both change places: sizes and distributions stay.
    Gates, source weights, normalisation, sources, LoRA and anchors stay as they are: as much is
    said, and none of what the fuser says is right. A weight of one entry keeps it.

    Args:
        fuser: The fuser; it stays as it is.
        seed: Of the order.
    """
    state = {name: tensor.clone() for name, tensor in fuser.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in state.items():
        if name.startswith(("projector.", "pool.")):
            flat = tensor.flatten(1)
            order = torch.rand(flat.shape, generator=generator).argsort(dim=1)
            state[name] = flat.gather(1, order.to(flat.device)).view_as(tensor)
    random = Fuser(
        fuser.config,
        fuser.receiver_shape,
        fuser.sharer_shape,
        layers=fuser.layers,
        sources=fuser.sources.tolist(),
    )
    random.contexts_only = fuser.contexts_only
    random.load_state_dict(state)
    return random.to(fuser.sources.device).train(fuser.training)
