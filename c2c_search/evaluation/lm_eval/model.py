"""`C2CLM`, a champion as lm-evaluation-harness sees it (an optional extra)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows
from lm_eval.utils import make_disjoint_window
from tqdm import tqdm

from c2c_search.batching import portions
from c2c_search.errors import ConfigError
from c2c_search.evaluation.lm_eval.limits import anchor_tokens
from c2c_search.evaluation.lm_eval.limits import last_tokens
from c2c_search.evaluation.lm_eval.limits import longest_prompt
from c2c_search.evaluation.scoring import receiver_alone
from c2c_search.evaluation.systems.prompts import OPTION_TOKENS
from c2c_search.evaluation.systems.prompts import PROMPT_TOKENS
from c2c_search.inference.drafting import drafter_of
from c2c_search.inference.finite import blaming
from c2c_search.inference.scoring import check_finite
from c2c_search.inference.scoring import response_logits
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.store import PromptCaches
from c2c_search.tokenization.spans import endings
from c2c_search.tokenization.templates import Message
from c2c_search.tokenization.templates import Rendered
from c2c_search.tokenization.templates import RoleTemplates
from c2c_search.tokenization.templates import chat_template
from c2c_search.tokenization.templates import render
from c2c_search.tokenization.templates import written_on
from c2c_search.tokenization.token_alignment import encode_rendered


if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from c2c_search.inference.model import C2CModel


Scored = tuple[float, bool]
"""Log-likelihood (nats) of a continuation, and whether greedy decoding would write it."""

_DECODING = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}
_OF_SAMPLING = {"top_p", "top_k", "min_p", "typical_p"}


@dataclass(frozen=True)
class _Context:
    """What continuations follow.

    Args:
        asked: As the harness gave it; empty where it starts from nothing or from tokens alone.
        text: What is read of it: spaces at its end belong to the continuation.
        ids: The receiver's tokens of the text, without those that are too far back.
    """

    asked: str
    text: str
    ids: tuple[int, ...]


class C2CLM(TemplateLM):
    """A champion, or a model alone (`C2CModel` without a fuser), for lm-evaluation-harness.

    Only the context is fused, and the sharer reads its text too, by its own tokenizer. The
    receiver's tokens are those of the harness's ``hf`` model. Where there is no context (text
    from nothing, ``loglikelihood_rolling``) the receiver is alone. Prompt caches are rounded to
    the model's ``cache_dtype`` as everywhere; ``hf`` rounds nothing.

    In chats each model reads the conversation in its own chat template, the sharer in the
    template of its role; an answer that the task
    has begun (``gen_prefix``) is read by a receiver alone only.

    Args:
        model: What answers.
        batch_size: Contexts answered in one pass, at most; fewer where they are long.
        max_length: Tokens that context and continuation may have together; more are left out in
            front, and anchors count. The receiver's own limit when left out.

    Raises:
        ConfigError: Anchors alone are as long.
    """

    def __init__(
        self, model: C2CModel, *, batch_size: int = 32, max_length: int | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.batch_size = batch_size
        self.tokenizer = model.receiver.text_tokenizer
        read, words = max_length or longest_prompt(model.receiver), anchor_tokens(model)
        if read <= words:
            raise ConfigError(
                "A receiver needs room beside the words of its sharer.",
                value=max_length,
                hint=f"Set max_length above {words}.",
            )
        self.max_length = read - words
        self.max_gen_toks = 256
        self._device = model.device
        self._alone = receiver_alone(model)
        self._chats: dict[str, list[Message]] = {}

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        end: int = self.tokenizer.eos_token_id
        return end

    @property
    def prefix_token_id(self) -> int:
        """The token that a text from nothing follows."""
        start: int | None = self.tokenizer.bos_token_id
        return self.eot_token_id if start is None else start

    @property
    def tokenizer_name(self) -> str:
        """Which tokenizer (and chat template) the harness's cache of prompts belongs to."""
        identity = self.model.receiver.identity
        return f"{identity.source}#{identity.tokenizer_sha256}"

    def get_model_info(self) -> dict[str, str | None]:
        """What the harness writes beside its results."""
        fuser = self.model.fuser
        return {
            "receiver": self.model.receiver.identity.source,
            "sharer": None if fuser is None else self.model.sharer.identity.source,
            "cache_dtype": str(self.model.cache_dtype),
        }

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """The receiver's tokens of a text; special ones unless the text begins with them."""
        if add_special_tokens is None:
            add_special_tokens = not self._special_front(string)
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=add_special_tokens)
        # A prompt does not end with what ends a text.
        return ids[: -len(endings(self.tokenizer)) or None] if add_special_tokens else ids

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as the receiver reads it; what it was is kept for the sharer.

        Raises:
            ConfigError: The receiver has no chat template, or C2C is to go on with an answer that
                has begun.
        """
        if chat_template(self.tokenizer) is None:
            raise ConfigError(
                "Chats need a receiver with a chat template.",
                value=self.model.receiver.identity.source,
                hint="Leave the chat template out: prompts are then plain text.",
            )
        if not add_generation_prompt and self.model.fuser is not None:
            raise ConfigError(
                "A chat must end where the answer begins: the sharer's template begins it"
                " otherwise.",
                value="a task with gen_prefix",
                hint="Leave the chat template out, or evaluate the receiver alone.",
            )
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **written_on(self.model.date, self.tokenizer),
        )
        self._chats[text] = [
            Message(role=turn["role"], content=turn["content"]) for turn in chat_history
        ]
        return text

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood (nats) of whole texts: nothing stands before them, nothing is fused."""
        windows = [
            (row, *make_disjoint_window(window))
            for row, request in enumerate(requests)
            for window in get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
        ]
        scored = self._loglikelihood_tokens(
            [(("", ""), context, predicted) for _, context, predicted in windows],
            disable_tqdm=disable_tqdm,
        )
        totals = [0.0] * len(requests)
        for (row, _, _), (likelihood, _) in zip(windows, scored, strict=True):
            totals[row] += likelihood
        return totals

    @torch.no_grad()
    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        **kwargs: Any,
    ) -> list[Scored]:
        """Score continuations; those of one context are branches on its fused cache."""
        by_context: dict[_Context, list[int]] = defaultdict(list)
        for index, ((asked, _), ids, continuation) in enumerate(requests):
            kept = self.max_length + 1 - len(continuation)
            by_context[self._context(asked, asked.rstrip(), ids, kept)].append(index)
        scored: dict[int, Scored] = {}
        contexts = list(by_context)
        judged = [sum(len(requests[index][2]) for index in by_context[one]) for one in contexts]
        progress = tqdm(total=len(requests), disable=disable_tqdm, desc="loglikelihood")
        for model, rows in self._passes(contexts, judged):
            batch = model.batch(self._prompts(model, [contexts[row] for row in rows]))
            indices = [by_context[contexts[row]] for row in rows]
            responses = [[requests[index][2] for index in each] for each in indices]
            with blaming(model, batch):
                logits = response_logits(
                    model.receiver.model, model.fuse(batch), batch.last_ids, responses
                )
                answers = _score(logits, [ids for each in responses for ids in each])
            flat = [index for each in indices for index in each]
            scored.update(zip(flat, answers, strict=True))
            progress.update(len(flat))
        progress.close()
        return [scored[index] for index in range(len(requests))]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Write answers, greedily or sampled; the seed of a sample is its request's number.

        White space around an answer is left out, as `C2CModel.write` does; ``hf`` keeps it.

        Raises:
            ConfigError: A task asks for another way of decoding, or for too long an answer.
        """
        by_decoding: dict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            by_decoding[repr(sorted(request.args[1].items()))].append(index)
        texts: dict[int, str] = {}
        progress = tqdm(total=len(requests), disable=disable_tqdm, desc="generate_until")
        for indices in by_decoding.values():
            decoding = self._decoding(requests[indices[0]].args[1])
            kept = self.max_length - decoding["max_new_tokens"]
            asked = [requests[index].args[0] for index in indices]
            contexts = [self._context(text, text, self.tok_encode(text), kept) for text in asked]
            for model, rows in self._passes(contexts, [0] * len(contexts)):
                batch = model.batch(self._prompts(model, [contexts[row] for row in rows]))
                seeds = [indices[row] for row in rows]
                written = model.write(batch, seeds=seeds, **decoding)
                texts.update(zip(seeds, (text for text, _ in written), strict=True))
                progress.update(len(rows))
        progress.close()
        return [texts[index] for index in range(len(requests))]

    def _decoding(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What `C2CModel.write` takes, from what a task asks for."""
        wanted: dict[str, Any] = dict(normalize_gen_kwargs(asked, self.max_gen_toks))
        sampled = wanted["do_sample"] and wanted.get("temperature", 1.0) > 0
        unknown = sorted(set(wanted) - _DECODING - (set() if sampled else _OF_SAMPLING))
        if unknown:
            raise ConfigError(
                f"A task may set {', '.join(sorted(_DECODING))} for decoding.",
                value={name: wanted[name] for name in unknown},
                hint="Write a task file without it.",
            )
        if wanted["max_gen_toks"] >= self.max_length:
            raise ConfigError(
                f"An answer must be shorter than {self.max_length} tokens, all that the receiver"
                " reads.",
                value=wanted["max_gen_toks"],
                hint="Set max_gen_toks in the task file.",
            )
        return {
            "max_new_tokens": wanted["max_gen_toks"],
            "stop": tuple(wanted["until"]),
            "temperature": wanted.get("temperature", 1.0) if sampled else 0.0,
            "top_p": wanted.get("top_p", 1.0) if sampled else 1.0,
        }

    def _context(self, asked: str, text: str, ids: Sequence[int], kept: int) -> _Context:
        if not text or not ids:
            return _Context("", "", tuple(ids[-kept:]) or (self.prefix_token_id,))
        return _Context(asked, text, tuple(ids[-kept:]))

    def _passes(
        self, contexts: Sequence[_Context], judged: Sequence[int]
    ) -> Iterator[tuple[C2CModel, list[int]]]:
        """Which contexts are answered together, and what answers them; the longest first.

        Args:
            contexts: What was asked.
            judged: Tokens after each context whose likelihoods are wanted.
        """
        lone = self.model.fuser is None
        for model, own in ((self.model, False), (self._alone, True)):
            rows = [row for row, one in enumerate(contexts) if (lone or not one.text) is own]
            rows.sort(key=lambda row: (-len(contexts[row].ids), contexts[row].ids))
            limits = (self.batch_size, PROMPT_TOKENS, OPTION_TOKENS)
            for chosen in portions(
                rows, lambda row: (1, len(contexts[row].ids), judged[row]), limits
            ):
                yield model, chosen

    def _prompts(self, model: C2CModel, contexts: Sequence[_Context]) -> PairPrompts:
        if model.fuser is None:
            ids = [context.ids for context in contexts]
            caches = PromptCaches.compute(model.receiver.model, ids, model.cache_dtype)
            return PairPrompts.alone(ids, caches)
        read = [self._rendered(context) for context in contexts]
        encoded = encode_rendered(
            [ours for ours, _ in read],
            [theirs for _, theirs in read],
            self.tokenizer,
            model.sharer.text_tokenizer,
            model.fuser.config.token_alignment,
        )
        drafter = drafter_of(model)
        longest = longest_prompt(model.sharer) - (0 if drafter is None else drafter.tokens)
        return model.cached(
            [
                last_tokens(prompt, len(context.ids), longest)
                for prompt, context in zip(encoded, contexts, strict=True)
            ]
        )

    def _rendered(self, context: _Context) -> tuple[Rendered, Rendered]:
        """A context as both models read it."""
        text, theirs = context.text, self.model.sharer.text_tokenizer
        begins = self._special_front(text)
        ours = Rendered(text, ((begins, len(text)),), special=not begins)
        if context.asked not in self._chats:
            bos = theirs.bos_token
            return ours, Rendered(
                text, ours.contents, special=bos is None or not text.startswith(bos)
            )
        messages = self._chats[context.asked]
        contents = tuple(
            (min(start, len(text)), min(end, len(text)))
            for start, end in render(messages, "chat", self.tokenizer, self.model.date).contents
        )
        told = self.model.template
        # A harness may ask in chats whatever the pair was trained on.
        heard_in = told.sharer if isinstance(told, RoleTemplates) else "chat"
        heard = render(messages, heard_in, theirs, self.model.date)
        return Rendered(text, contents, ours.special), heard

    def _special_front(self, text: str) -> int:
        """Characters in front that the harness has written for a special token."""
        front = str(self.tokenizer.decode([self.prefix_token_id]))
        return len(front) if text.startswith(front) else 0


def _score(logits: torch.Tensor, continuations: Sequence[Sequence[int]]) -> list[Scored]:
    """Of ``(all continuations' tokens, vocabulary)`` in their order.

    Raises:
        FloatingPointError: A log-likelihood is no number.
    """
    lengths = [len(ids) for ids in continuations]
    targets = torch.tensor([token for ids in continuations for token in ids], device=logits.device)
    chosen = logits.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0].cpu()
    check_finite(chosen)
    greedy = (logits.argmax(dim=-1) == targets).cpu()
    return [
        (float(likelihoods.sum()), bool(hits.all()))
        for likelihoods, hits in zip(chosen.split(lengths), greedy.split(lengths), strict=True)
    ]
