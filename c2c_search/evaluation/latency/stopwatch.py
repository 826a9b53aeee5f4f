"""Times one answer of each system from raw text, part by part."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from c2c_search.evaluation.latency.peak_memory import peak_memory
from c2c_search.evaluation.latency.report import Timing
from c2c_search.evaluation.systems.relay import BACKGROUND
from c2c_search.fuser.cost import message_bytes
from c2c_search.inference.anchors import with_anchors
from c2c_search.inference.decoding import Choose
from c2c_search.inference.decoding import go_on
from c2c_search.inference.drafting import Drafter
from c2c_search.inference.drafting import drafter_of
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.parallel_prefill import parallel
from c2c_search.prompt_cache.parallel_prefill import read_both
from c2c_search.prompt_cache.prefill import cache_argument
from c2c_search.prompt_cache.prefill import stack_cache
from c2c_search.tokenization.spans import tokenize
from c2c_search.tokenization.templates import Message
from c2c_search.tokenization.templates import Role
from c2c_search.tokenization.templates import render
from c2c_search.tokenization.templates import template_of
from c2c_search.tokenization.token_alignment import EncodedPrompt


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.batches import PairBatch


Conversation = Sequence[Message]


class Stopwatch:
    """Takes the time of an answer's parts.

    Args:
        device: Waits for what was started there before it looks at the clock.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._last = self._now()
        self.first_token: float | None = None
        self.parts: dict[str, float] = {}

    def lap(self, part: str) -> float:
        """Add the time since the last lap to a part; seconds since the start."""
        now = self._now()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now
        return now - self._start

    def timing(self, system: str, question: int, repeat: int) -> Timing:
        """What was taken, after the last lap."""
        assert self.first_token is not None
        return Timing(
            system=system,
            question=question,
            repeat=repeat,
            first_token=self.first_token,
            answer=self._last - self._start,
            parts=self.parts,
        )

    def _now(self) -> float:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return time.perf_counter()


class TimedSystems:
    """The systems, each from raw text.

    C2C does what a champion does: both models read, side by side where that is faster, and one
    part, the prefill, has the time of both. A model alone (also in text relay) does what it does
    without this package: it reads its prompt in one pass, which gives the first token, and rounds
    nothing. All decode in the same loop.

    Args:
        model: C2C, or the models alone.
        new_tokens: Of every answer.
        relay_tokens: Of every relayed text.
    """

    def __init__(self, model: C2CModel, new_tokens: int, relay_tokens: int) -> None:
        self.model = model
        self.new_tokens = new_tokens
        self.relay_tokens = relay_tokens

    @torch.no_grad()
    def answer(self, system: str, question: Conversation, watch: Stopwatch) -> int | None:
        """Answer; the bytes that would cross the wire, where there is one."""
        if system == "c2c":
            return self._fused(question, watch)
        if system == "text_relay":
            text = self._relayed(question, watch)
            self._alone("receiver", BACKGROUND.tell(question, text), watch)
            return len(text.encode())
        self._alone("receiver" if system == "receiver" else "sharer", question, watch)
        return None

    def read(self, role: Role, question: Conversation) -> list[int]:
        """A model's tokens of a question."""
        tokenizer = self._model_of(role).text_tokenizer
        template = template_of(self.model.template, role)
        rendered = render(question, template, tokenizer, self.model.date)
        return tokenize([rendered.text], tokenizer, special=rendered.special)[0].ids

    def prefills(self, question: Conversation) -> str:
        """How C2C's two prefills of a question share the machine, in words."""
        receiver, sharer = self.model.receiver.model, self.model.sharer.model
        encoded = self._encode(question)
        if (drafter := drafter_of(self.model)) is not None:
            encoded = encoded.with_draft([0] * drafter.tokens)  # whatever it says
        if receiver is sharer and encoded.receiver_ids == encoded.sharer_ids:
            return "are one, of the same model"
        how = parallel(receiver, [encoded.receiver_ids], sharer, [encoded.sharer_ids])
        if how is None or receiver is sharer:
            return "run one after the other"
        if how == "streams":
            return "run at the same time, each in a stream of the GPU"
        return "run at the same time, on {} and {} CPU threads".format(*how)

    def weight_bytes(self, system: str) -> int:
        """Of the models, and the fuser, that a system needs."""
        model = self.model
        needed: dict[str, list[torch.nn.Module | None]] = {
            "receiver": [model.receiver.model],
            "sharer": [model.sharer.model],
            "c2c": [model.receiver.model, model.sharer.model, model.fuser],
            "text_relay": [model.receiver.model, model.sharer.model],
        }
        # A model that is its own sharer is there once.
        modules = [module for module in dict.fromkeys(needed[system]) if module is not None]
        return sum(weight.nbytes for module in modules for weight in module.parameters())

    def peak_bytes(self, system: str, question: Conversation) -> int:
        """Memory that an answer takes at its peak; see `peak_memory`."""
        device = self.model.device
        return peak_memory(lambda: self.answer(system, question, Stopwatch(device)), device)

    def _fused(self, question: Conversation, watch: Stopwatch) -> int:
        """Step by step what `C2CModel.generate_batch` does."""
        model = self.model
        receiver, sharer = model.receiver, model.sharer
        encoded = self._encode(question)
        watch.lap("tokenize")
        if (drafter := drafter_of(model)) is not None:
            encoded = encoded.with_draft(self._draft(drafter, encoded))
            watch.lap("sharer drafts")
        config = None if model.fuser is None else model.fuser.config
        if config is not None and config.anchored:
            (encoded,) = with_anchors([encoded], config, receiver, sharer)
            watch.lap("anchors")
        receiver_caches, sharer_caches = read_both(
            receiver.model,
            [encoded.receiver_ids],
            sharer.model,
            [encoded.sharer_ids],
            model.cache_dtype,
            "kv" if config is None else config.source,
        )
        watch.lap("prefill")
        batch = model.batch(PairPrompts((encoded,), receiver_caches, sharer_caches))
        fused = model.fuse(batch)
        watch.lap("fuse")

        def choose(prompts: Sequence[int], logits: torch.Tensor) -> list[int]:
            chosen = _likeliest(prompts, logits)
            if watch.first_token is None:
                watch.first_token = watch.lap("first token")
            return chosen

        (ids,) = _go_on(receiver, fused, batch.last_ids, self.new_tokens, choose)
        receiver.text_tokenizer.decode(ids, skip_special_tokens=True)
        watch.lap("decode")
        return cache_bytes(model, batch, self.new_tokens)

    def _draft(self, drafter: Drafter, encoded: EncodedPrompt) -> list[int]:
        """A draft as long as any may be: like a relayed text, it does not stop early."""
        ids, loaded = [encoded.sharer_ids], drafter.loaded
        caches = PromptCaches.compute(
            loaded.model, ids, self.model.cache_dtype, keep_on_device=True
        )
        batch = PairPrompts.alone(ids, caches).batch([0])
        cache = FusedCache(batch.receiver, batch.lengths)
        (draft,) = _go_on(loaded, cache, batch.last_ids, drafter.tokens, _likeliest)
        return draft

    def _model_of(self, role: Role) -> LoadedModel:
        return self.model.receiver if role == "receiver" else self.model.sharer

    def _encode(self, question: Conversation) -> EncodedPrompt:
        """A question as both models read it for C2C."""
        (encoded,) = self.model.encoded([question])
        return encoded

    def _alone(self, role: Role, question: Conversation, watch: Stopwatch) -> None:
        first, cache = self._prefill(role, question, watch)
        watch.first_token = watch.lap(f"{role} prefill")
        _write_on(self._model_of(role), first, cache, self.new_tokens)
        watch.lap("decode")

    def _relayed(self, question: Conversation, watch: Stopwatch) -> str:
        """What the sharer writes for the receiver."""
        first, cache = self._prefill("sharer", BACKGROUND.ask(question), watch)
        watch.lap("sharer prefill")
        text = _write_on(self.model.sharer, first, cache, self.relay_tokens).strip()
        watch.lap("sharer writes")
        return text

    def _prefill(
        self, role: Role, question: Conversation, watch: Stopwatch
    ) -> tuple[int, FusedCache]:
        """A model's first token, in the one pass that it takes without C2C, and its cache."""
        model = self._model_of(role).model
        ids = self.read(role, question)
        watch.lap("tokenize")
        cache = DynamicCache()
        sliced = "logits_to_keep" in inspect.signature(model.forward).parameters
        output = model(
            input_ids=torch.tensor([ids], device=model.device),
            use_cache=True,
            **cache_argument(model, cache),
            **({"logits_to_keep": 1} if sliced else {}),
        )
        packed = stack_cache(cache)[0].permute(1, 2, 0, 3).contiguous()
        return int(output.logits[0, -1].argmax()), FusedCache(packed, (len(ids),))


def _write_on(loaded: LoadedModel, first: int, cache: FusedCache, tokens: int) -> str:
    """Exactly ``tokens`` tokens as text, the first of which is known."""
    (ids,) = _go_on(loaded, cache, [first], tokens - 1, _likeliest)
    return str(loaded.text_tokenizer.decode([first, *ids], skip_special_tokens=True))


def _go_on(
    loaded: LoadedModel, cache: FusedCache, last_ids: Sequence[int], tokens: int, choose: Choose
) -> list[list[int]]:
    return go_on(
        loaded.model,
        cache,
        last_ids,
        choose=choose,
        ended=lambda _, ids: False,
        max_new_tokens=tokens,
    )


def cache_bytes(model: C2CModel, batch: PairBatch, new_tokens: int) -> int:
    """Bytes of the sharer's messages, in the model's ``cache_dtype``; see `message_bytes`.

    A sharer token that is aligned to several receiver tokens is sent once. Where the response is
    fused too, the sharer also sends one token for each that the receiver writes, but the last;
    where the message is refreshed, those of them that stand before its last refresh. Anchors go
    as token ids.

    Args:
        model: With a fuser.
        batch: Its prompts.
        new_tokens: Of the answer.
    """
    fuser = model.fuser
    assert fuser is not None
    further, every = 0, fuser.config.refresh
    if fuser.config.fuse_response or every is not None:
        further = (new_tokens - 1) // (every or 1) * (every or 1)
    anchors = batch.anchored or ((0, 0),) * len(batch.lengths)
    return sum(
        message_bytes(fuser, len(each.unique()) + further, model.cache_dtype, stop - start)
        for each, (start, stop) in zip(batch.sharer_positions, anchors, strict=True)
    )


def _likeliest(prompts: Sequence[int], logits: torch.Tensor) -> list[int]:
    chosen: list[int] = logits.argmax(dim=-1).tolist()
    return chosen
