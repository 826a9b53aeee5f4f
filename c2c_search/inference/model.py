"""`C2CModel`, the class that answers in evaluation and in a shipped champion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import overload

import torch

from c2c_search.host.dtypes import named_dtype
from c2c_search.inference.answering import TokenRules
from c2c_search.inference.answering import write_answers
from c2c_search.inference.champion_source import champion_folder
from c2c_search.inference.conversations import Asked
from c2c_search.inference.conversations import options_of
from c2c_search.inference.finite import blaming
from c2c_search.inference.fused_pair import FusedPair
from c2c_search.inference.fused_prompts import FusedPrompts
from c2c_search.inference.generation import GeneratingPair
from c2c_search.inference.loading import open_champion
from c2c_search.inference.sampling import Draw
from c2c_search.inference.sampling import Stops
from c2c_search.inference.sampling import stop_ids
from c2c_search.inference.scoring import score_options
from c2c_search.inference.token_ids import FusedOutput
from c2c_search.inference.token_ids import IdPrompts
from c2c_search.inference.token_ids import last_token_output
from c2c_search.prompt_cache.batches import PairBatch
from c2c_search.tokenization.continuations import response_ids
from c2c_search.tokenization.templates import template_of


if TYPE_CHECKING:
    from c2c_search.inference.conversations import Conversation
    from c2c_search.inference.doubt import ListeningRule
    from c2c_search.inference.fusion import Fuse
    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.templates import Role


class C2CModel(GeneratingPair):
    """A receiver that answers with what a sharer tells it through its KV-cache.

    See `FusedPair` for the arguments.

    Raises:
        NotFiniteError: Of every method that answers: something in it is NaN or infinite.

    Example:
        >>> model = C2CModel.from_pretrained("champion")
        >>> model.generate("Which country is called 'Deutschland' in German?")
        'Germany'
    """

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        listening: ListeningRule | None = None,
    ) -> C2CModel:
        """Load a champion and its two models, to compute as measured (`champion_dtype`).

        Args:
            source: The folder that ``c2c-search export`` or ``import-rosetta`` writes, a
                repository of the hub, or a registered model; see `champion_folder`.
            device: Where to run; a GPU if there is one, when left out.
            dtype: What both models compute in, e.g. ``torch.bfloat16`` or ``"bfloat16"``; as
                measured, when left out or ``"auto"``.
            listening: See `ConfidentModel`; as the champion was measured, when left out.

        Raises:
            ConfigError: It is to listen when unsure, and was not measured so; there is no such
                dtype.
            IntegrityError: The folder's bytes, or the models, are not those that were measured.
            SourceError: The champion, or a model, cannot be fetched or read.
        """
        from c2c_search.inference.listening import as_asked  # which is a model of this kind

        wanted = named_dtype(dtype)
        with champion_folder(source) as folder:
            return as_asked(cls, open_champion(folder, device, wanted), listening)

    @overload
    def fuse(self, asked: PairBatch, through: Fuse | None = None) -> FusedCache: ...

    @overload
    def fuse(
        self,
        asked: Conversation | Sequence[Conversation],
        *,
        sharer_contexts: Conversation | Sequence[Conversation] | None = None,
        beams: int = 1,
    ) -> FusedPrompts: ...

    def fuse(
        self,
        asked: PairBatch | Conversation | Sequence[Conversation],
        through: Fuse | None = None,
        *,
        sharer_contexts: Conversation | Sequence[Conversation] | None = None,
        beams: int = 1,
    ) -> FusedCache | FusedPrompts:
        """What the sharer makes of prompts, for the receiver's own `generate` to go on from.

        Args:
            asked: A question, a conversation, or several of either; or packed prompts, of which
                the cache comes as it is, and through which gradients flow.
            through: Called instead of the fuser on packed prompts, e.g. the engine around it.
            sharer_contexts: What the sharer reads instead of each; injection append or side.
            beams: Rows of the cache for each prompt; as many as the beams that are searched.

        Raises:
            ConfigError: The fuser says more while the receiver writes (``fuse_response``,
                ``refresh``), or the beams are to read a memory.

        Example:
            >>> fused = model.fuse("Which country is called 'Deutschland' in German?")
            >>> with fused.active():
            ...     ids = model.receiver.model.generate(**fused, max_new_tokens=8)
        """
        if isinstance(asked, PairBatch):
            return self.fused_cache(asked, through)
        batch = self.read(asked, sharer_contexts)
        with torch.no_grad(), blaming(self, batch):
            return FusedPrompts(
                self.receiver.model, self.fused_cache(batch), batch.receiver_ids, beams
            )

    @overload
    def score(  # type: ignore[overload-overlap]
        self, asked: str, options: Sequence[str]
    ) -> tuple[torch.Tensor, list[int]]: ...

    @overload
    def score(
        self, asked: PairBatch | Sequence[Conversation], options: Sequence[Sequence[str]]
    ) -> list[tuple[torch.Tensor, list[int]]]: ...

    @torch.no_grad()
    def score(
        self,
        asked: PairBatch | Conversation | Sequence[Conversation],
        options: Sequence[str] | Sequence[Sequence[str]],
        *,
        sharer_contexts: Conversation | Sequence[Conversation] | None = None,
    ) -> tuple[torch.Tensor, list[int]] | list[tuple[torch.Tensor, list[int]]]:
        """Log-likelihood of each option's text after each prompt.

        Args:
            asked: A question or conversation, or several; or packed prompts, from `prompts` or
                from a store (see `batch`).
            options: The texts to choose from; for each prompt, where there are several.
            sharer_contexts: What the sharer reads instead of each; injection append or side.

        Returns:
            The options' log-likelihoods (nats) and their lengths in tokens; a list of them for
            several prompts.

        Raises:
            ConfigError: There are not options for each prompt.
        """
        if isinstance(asked, PairBatch):
            return self._scored(asked, [list(each) for each in options])
        given = Asked.read(asked)
        of_each = options_of(given, options)
        found = self._scored(self.read(asked, sharer_contexts), of_each)
        return found[0] if given.single else found

    def _scored(
        self, batch: PairBatch, options: Sequence[Sequence[str]]
    ) -> list[tuple[torch.Tensor, list[int]]]:
        tokenizer = self.receiver.text_tokenizer
        tokens = response_ids(batch.texts, options, self.receiver_template, tokenizer)
        with blaming(self, batch):
            cache = self.fused_cache(batch)
            scores = score_options(self.receiver.model, cache, batch.last_ids, tokens)
        return [(score, [*map(len, ids)]) for score, ids in zip(scores, tokens, strict=True)]

    @torch.no_grad()
    def __call__(
        self,
        receiver_input_ids: torch.Tensor,
        sharer_input_ids: torch.Tensor,
        *,
        receiver_attention_mask: torch.Tensor | None = None,
        sharer_attention_mask: torch.Tensor | None = None,
        alignment: torch.Tensor | None = None,
    ) -> FusedOutput:
        """Read prompts that are token ids; see `IdPrompts` for the arguments.

        Returns:
            Logits of each prompt's last token, ``(batch, 1, vocabulary)``, and the fused cache
            with that token, from which the receiver alone (in ``adaptation.active()`` if there
            is one, and in ``output.memory.active()`` where the injection is ``side``) can go on:
            as wide as ``receiver_input_ids``, zeros where it is padded (wider, with the appended
            entries in front, where the injection is ``append``).

        Raises:
            ConfigError: The ids do not fit together.
        """
        rest = receiver_attention_mask, sharer_attention_mask, alignment
        read = IdPrompts.read(receiver_input_ids, sharer_input_ids, *rest)
        batch = self.batch(self.cached(read.encoded))
        with blaming(self, batch):
            return last_token_output(
                self.receiver.model, self.fused_cache(batch), batch.last_ids, read
            )

    @torch.no_grad()
    def write(
        self,
        batch: PairBatch,
        *,
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seeds: Sequence[int] | None = None,
    ) -> list[tuple[str, float]]:
        """Answer packed prompts in words.

        Args:
            batch: Prompts, from `prompts` or from a store; see `batch`.
            max_new_tokens: Where a long answer is cut.
            stop: Texts that end an answer; neither they nor what follows is part of it.
            temperature: 0 for greedy decoding.
            top_p: See `Draw`.
            seeds: One for each prompt; its answer does not depend on the others in the batch.

        Returns:
            For each prompt, the answer's text, and the mean log-probability (nats, at
            temperature 1) of its tokens, the one that ended it included.

        Raises:
            ConfigError: A temperature, top_p or seeds that cannot be sampled with.
        """
        draw = Draw.of(len(batch.last_ids), temperature, top_p, seeds)
        with blaming(self, batch):
            answers = write_answers(
                self.receiver.model,
                self.fused_cache(batch),
                batch.last_ids,
                rules=TokenRules(draw),
                stops=Stops(self.receiver.text_tokenizer, stop),
                ends=stop_ids(self.receiver),
                max_new_tokens=max_new_tokens,
            )
        return [(answer.text, answer.likelihood) for answer in answers]

    def receiver_alone(self, question: str, *, max_new_tokens: int = 64) -> str:
        """The receiver's own answer, without the sharer."""
        return self._alone("receiver").generate(question, max_new_tokens=max_new_tokens)

    def sharer_alone(self, question: str, *, max_new_tokens: int = 64) -> str:
        """The sharer's own answer, without the receiver."""
        return self._alone("sharer").generate(question, max_new_tokens=max_new_tokens)

    def _alone(self, role: Role) -> C2CModel:
        return model_alone(self, self.receiver if role == "receiver" else self.sharer, role)


def model_alone(pair: FusedPair, loaded: LoadedModel, role: Role) -> C2CModel:
    """A model as a system of its own, which reads as a role of the pair does."""
    return C2CModel(
        loaded,
        loaded,
        None,
        template=template_of(pair.template, role),
        cache_dtype=pair.cache_dtype,
        date=pair.date,
    )
