"""`C2CModel`, the class that answers in evaluation and in a shipped champion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import overload

import torch

from c2c_search.errors import ConfigError
from c2c_search.inference.decoding import generate
from c2c_search.inference.finite import blaming
from c2c_search.inference.fused_pair import FusedPair
from c2c_search.inference.loading import open_champion
from c2c_search.inference.sampling import Draw
from c2c_search.inference.sampling import Stops
from c2c_search.inference.sampling import padding_id
from c2c_search.inference.sampling import stop_ids
from c2c_search.inference.sampling import write
from c2c_search.inference.scoring import score_options
from c2c_search.inference.token_ids import FusedOutput
from c2c_search.inference.token_ids import IdPrompts
from c2c_search.inference.token_ids import last_token_output
from c2c_search.inference.token_ids import sequences
from c2c_search.tokenization.continuations import response_ids
from c2c_search.tokenization.templates import LINES
from c2c_search.tokenization.templates import both_asked
from c2c_search.tokenization.templates import template_of


if TYPE_CHECKING:
    from c2c_search.inference.doubt import ListeningRule
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.tokenization.templates import Role


class C2CModel(FusedPair):
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
        directory: str | Path,
        *,
        device: torch.device | str | None = None,
        listening: ListeningRule | None = None,
    ) -> C2CModel:
        """Load a champion folder and its two models, to compute as measured (`champion_dtype`).

        Args:
            directory: The folder that ``c2c-search export`` or ``import-rosetta`` writes.
            device: Where to run; a GPU if there is one, when left out.
            listening: See `ConfidentModel`; as the champion was measured, when left out.

        Raises:
            ConfigError: It is to listen when unsure, and was not measured so.
            IntegrityError: The folder's bytes, or the models, are not those that were measured.
            SourceError: A model cannot be fetched or read.
        """
        from c2c_search.inference.listening import as_asked  # which is a model of this kind

        return as_asked(cls, open_champion(directory, device), listening)

    @torch.no_grad()
    def score(
        self, batch: PairBatch, options: Sequence[Sequence[str]]
    ) -> list[tuple[torch.Tensor, list[int]]]:
        """Log-likelihood of each option's text after each prompt.

        Args:
            batch: Prompts, from `prompts` or from a store; see `batch`.
            options: The texts to choose from, for each prompt.

        Returns:
            For each prompt, the options' log-likelihoods (nats) and their lengths in tokens.
        """
        tokenizer = self.receiver.text_tokenizer
        tokens = response_ids(batch.texts, options, self.receiver_template, tokenizer)
        with blaming(self, batch):
            scores = score_options(self.receiver.model, self.fuse(batch), batch.last_ids, tokens)
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
            return last_token_output(self.receiver.model, self.fuse(batch), batch.last_ids, read)

    @overload
    def generate(self, question: str, *, max_new_tokens: int = 64) -> str: ...

    @overload
    def generate(
        self,
        question: None = None,
        *,
        max_new_tokens: int = 64,
        receiver_input_ids: torch.Tensor,
        sharer_input_ids: torch.Tensor,
        receiver_attention_mask: torch.Tensor | None = None,
        sharer_attention_mask: torch.Tensor | None = None,
        alignment: torch.Tensor | None = None,
    ) -> torch.Tensor: ...

    @torch.no_grad()
    def generate(
        self,
        question: str | None = None,
        *,
        max_new_tokens: int = 64,
        receiver_input_ids: torch.Tensor | None = None,
        sharer_input_ids: torch.Tensor | None = None,
        receiver_attention_mask: torch.Tensor | None = None,
        sharer_attention_mask: torch.Tensor | None = None,
        alignment: torch.Tensor | None = None,
    ) -> str | torch.Tensor:
        """Answer one question, or go on from prompts that are token ids, greedily.

        Args:
            question: The user's text; the template is put around it.
            max_new_tokens: Where a long answer is cut.
            receiver_input_ids: See `IdPrompts`, for this and all that follow; both models' ids
                are given, or neither.

        Returns:
            The answer to a question; of ids, prompts and answers ``(batch, tokens + new)``,
            answers that ended before the longest one filled up with the padding token.

        Raises:
            ConfigError: Neither a question nor both models' ids are given, or both are.
        """
        if question is not None and receiver_input_ids is None and sharer_input_ids is None:
            return self.generate_batch([question], max_new_tokens=max_new_tokens)[0]
        if question is not None or receiver_input_ids is None or sharer_input_ids is None:
            raise ConfigError(
                "generate takes a question, or receiver_input_ids and sharer_input_ids.",
                hint="Give the text alone, or the token ids of both models.",
            )
        rest = receiver_attention_mask, sharer_attention_mask, alignment
        read = IdPrompts.read(receiver_input_ids, sharer_input_ids, *rest)
        batch = self.batch(self.cached(read.encoded))
        answers = self._go_on(batch, max_new_tokens, with_stop=True)
        return sequences(receiver_input_ids, answers, padding_id(self.receiver))

    def generate_batch(
        self,
        questions: Sequence[str],
        sharer_contexts: Sequence[str] | None = None,
        *,
        max_new_tokens: int = 64,
    ) -> list[str]:
        """Answer several questions at once; each as `generate` answers it alone.

        Args:
            questions: What the receiver is asked.
            sharer_contexts: What the sharer reads instead; injection append or side.
            max_new_tokens: Where a long answer is cut.
        """
        prompts = self.prompts(*both_asked(questions, sharer_contexts))
        return self._say(self.batch(prompts), max_new_tokens)

    def _say(self, batch: PairBatch, max_new_tokens: int) -> list[str]:
        stops = Stops(self.receiver.text_tokenizer, LINES[self.receiver_template])
        return [stops.cut(tokens) for tokens in self._go_on(batch, max_new_tokens)]

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
            return write(
                self.receiver,
                self.fuse(batch),
                batch.last_ids,
                stop=stop,
                max_new_tokens=max_new_tokens,
                draw=draw,
            )

    def receiver_alone(self, question: str, *, max_new_tokens: int = 64) -> str:
        """The receiver's own answer, without the sharer."""
        return self._alone("receiver").generate(question, max_new_tokens=max_new_tokens)

    def sharer_alone(self, question: str, *, max_new_tokens: int = 64) -> str:
        """The sharer's own answer, without the receiver."""
        return self._alone("sharer").generate(question, max_new_tokens=max_new_tokens)

    def _alone(self, role: Role) -> C2CModel:
        return model_alone(self, self.receiver if role == "receiver" else self.sharer, role)

    def pairs_of(self, batch: PairBatch) -> list[tuple[C2CModel, PairBatch]]:
        """Each sharer's pair with its part of a batch."""
        return [(self, batch)]

    @torch.no_grad()
    def _go_on(
        self, batch: PairBatch, max_new_tokens: int, *, with_stop: bool = False
    ) -> list[list[int]]:
        with blaming(self, batch):
            return generate(
                self.receiver.model,
                self.fuse(batch),
                batch.last_ids,
                stop=stop_ids(self.receiver),
                max_new_tokens=max_new_tokens,
                with_stop=with_stop,
            )


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
