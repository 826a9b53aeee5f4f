"""Inference room: `C2CModel`, the class that answers in evaluation and in a shipped champion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from c2c_search.errors import ConfigError
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.fuser.config import CacheShape
from c2c_search.inference.decoding import generate
from c2c_search.inference.scoring import score_options
from c2c_search.pair.batches import PairPrompts
from c2c_search.pair.geometry import geometry
from c2c_search.pair.prompts import continuation
from c2c_search.pair.store import PromptCaches
from c2c_search.pair.token_alignment import encode


if TYPE_CHECKING:
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.pair.batches import PairBatch
    from c2c_search.pair.loading import LoadedModel
    from c2c_search.pair.prompts import Message
    from c2c_search.pair.prompts import Template


class C2CModel:
    """A receiver that answers with what a sharer tells it through its KV-cache.

    Args:
        receiver: The model that answers.
        sharer: The model that speaks.
        fuser: What joins them; None for the two models alone.
        template: How a prompt is written for both.

    Example:
        >>> model = C2CModel.from_pretrained("champion")
        >>> model.generate("Which country is called 'Deutschland' in German?")
        'Germany'
    """

    def __init__(
        self,
        receiver: LoadedModel,
        sharer: LoadedModel,
        fuser: Fuser | None,
        *,
        template: Template = "plain",
    ) -> None:
        self.receiver = receiver
        self.sharer = sharer
        self.template = template
        self.fuser = fuser
        self.device: torch.device = receiver.model.device
        if fuser is not None:
            for role, loaded in (("receiver", receiver), ("sharer", sharer)):
                built, found = getattr(fuser, f"{role}_shape"), cache_shape(loaded)
                if built != found:
                    raise ConfigError(
                        f"The {role} must have the cache shape that the fuser is for: {built}.",
                        value=str(found),
                        hint=f"Load the {role} that the fuser was trained with.",
                    )
            fuser.to(self.device)

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, device: torch.device | str | None = None
    ) -> C2CModel:
        """Load a champion folder and the two models that its manifest names.

        Args:
            directory: The folder that ``c2c-search export`` writes.
            device: Where to run; a GPU if there is one, when left out.

        Raises:
            IntegrityError: The folder's bytes, or the models, are not those that were measured.
            SourceError: A model cannot be fetched or read.
        """
        from c2c_search.inference.integrity import check_sums
        from c2c_search.inference.integrity import read_manifest
        from c2c_search.inference.integrity import verify_compatibility
        from c2c_search.pair.loading import load

        directory = Path(directory)
        check_sums(directory)
        manifest = read_manifest(directory)
        receiver = load(manifest.pair.receiver.source, device=device)
        sharer = load(manifest.pair.sharer.source, device=device)
        verify_compatibility(manifest, receiver.identity, sharer.identity)
        return cls(receiver, sharer, load_fuser(directory), template=manifest.template)

    def prompts(self, conversations: Sequence[Sequence[Message]]) -> PairPrompts:
        """Tokenize conversations for both models and compute both models' prompt caches."""
        encoded = tuple(
            encode(messages, self.template, self.receiver.tokenizer, self.sharer.tokenizer)
            for messages in conversations
        )
        return PairPrompts(
            encoded=encoded,
            receiver=PromptCaches.compute(
                self.receiver.model, [prompt.receiver_ids for prompt in encoded]
            ),
            sharer=PromptCaches.compute(
                self.sharer.model, [prompt.sharer_ids for prompt in encoded]
            ),
        )

    @torch.no_grad()
    def fuse(self, batch: PairBatch) -> torch.Tensor:
        """The fused cache of packed prompts, ``(2, layers, tokens, size)``; see `PairBatch`."""
        batch = batch.to(self.device)
        if self.fuser is None:
            return batch.receiver
        fused: torch.Tensor = self.fuser(batch.receiver, batch.sharer)
        return fused

    @torch.no_grad()
    def score(
        self, batch: PairBatch, options: Sequence[Sequence[str]]
    ) -> list[tuple[torch.Tensor, list[int]]]:
        """Log-likelihood of each option's text after each prompt.

        Args:
            batch: Prompts, from `prompts` or from a store.
            options: The texts to choose from, for each prompt.

        Returns:
            For each prompt, the options' log-likelihoods (nats) and their lengths in tokens.
        """
        tokens = [[self.response_ids(option) for option in choices] for choices in options]
        scores = score_options(
            self.receiver.model, self.fuse(batch), batch.lengths, batch.last_ids, tokens
        )
        return [
            (score, [len(option) for option in choices])
            for score, choices in zip(scores, tokens, strict=True)
        ]

    def generate(self, question: str, *, max_new_tokens: int = 64) -> str:
        """Answer one question, greedily.

        Args:
            question: The user's text; the template is put around it.
            max_new_tokens: Where a long answer is cut.
        """
        return self.generate_batch([question], max_new_tokens=max_new_tokens)[0]

    @torch.no_grad()
    def generate_batch(self, questions: Sequence[str], *, max_new_tokens: int = 64) -> list[str]:
        """Answer several questions at once; each as `generate` answers it alone."""
        prompts = self.prompts([[{"role": "user", "content": text}] for text in questions])
        batch = prompts.batch(range(len(prompts)))
        ids = generate(
            self.receiver.model,
            self.fuse(batch),
            batch.lengths,
            batch.last_ids,
            stop=self._stop_ids(),
            max_new_tokens=max_new_tokens,
        )
        return [self._decode(tokens) for tokens in ids]

    def receiver_alone(self, question: str, *, max_new_tokens: int = 64) -> str:
        """The receiver's own answer, without the sharer."""
        alone = C2CModel(self.receiver, self.sharer, None, template=self.template)
        return alone.generate(question, max_new_tokens=max_new_tokens)

    def sharer_alone(self, question: str, *, max_new_tokens: int = 64) -> str:
        """The sharer's own answer, without the receiver."""
        alone = C2CModel(self.sharer, self.sharer, None, template=self.template)
        return alone.generate(question, max_new_tokens=max_new_tokens)

    def response_ids(self, response: str) -> list[int]:
        """Receiver tokens of a response, as they follow a prompt."""
        tokenizer = self.receiver.tokenizer
        text = continuation(response, self.template, tokenizer)
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _stop_ids(self) -> set[int]:
        eos = self.receiver.model.generation_config.eos_token_id
        listed = eos if isinstance(eos, list) else [eos]
        return {token for token in (*listed, self.receiver.tokenizer.eos_token_id) if token}

    def _decode(self, ids: list[int]) -> str:
        text: str = self.receiver.tokenizer.decode(ids, skip_special_tokens=True)
        # The plain template is written in lines: the next line is another question.
        return (text.split("\n")[0] if self.template == "plain" else text).strip()


def cache_shape(loaded: LoadedModel) -> CacheShape:
    """The shape of a model's KV-cache, as a fuser is built for it."""
    found = geometry(loaded.model.config)
    return CacheShape(layers=found.layers, heads=found.kv_heads, head_dim=found.head_dim)
