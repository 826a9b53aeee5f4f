"""Answers as transformers' users ask for them: `generate`, `chat`, streamers, padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any
from typing import overload

import torch

from c2c_search.errors import ConfigError
from c2c_search.inference.answering import WrittenAnswer
from c2c_search.inference.answering import write_answers
from c2c_search.inference.conversations import Asked
from c2c_search.inference.conversations import turns
from c2c_search.inference.finite import blaming
from c2c_search.inference.fused_pair import FusedPair
from c2c_search.inference.generation_settings import GenerationSettings
from c2c_search.inference.generation_settings import seeds_of
from c2c_search.inference.sampling import Stops
from c2c_search.inference.streaming import telling
from c2c_search.inference.token_ids import IdPrompts
from c2c_search.inference.token_ids import padded
from c2c_search.inference.token_ids import read_of_receiver
from c2c_search.inference.token_ids import sequences
from c2c_search.tokenization.templates import LINES


if TYPE_CHECKING:
    from transformers import GenerationConfig
    from transformers import LogitsProcessor
    from transformers import StoppingCriteria
    from transformers.generation.streamers import BaseStreamer

    from c2c_search.inference.conversations import Conversation
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.tokenization.templates import Message


@dataclass(frozen=True)
class GenerationRequest:
    """How several prompts are to be answered.

    Args:
        settings: Of the generation.
        seeds: One for each answer, a prompt's side by side; not looked at where nothing is drawn.
        processors: The caller's own.
        criteria: The caller's own.
        streamer: Told the only answer.
    """

    settings: GenerationSettings
    seeds: Sequence[int]
    processors: Sequence[LogitsProcessor] = ()
    criteria: Sequence[StoppingCriteria] = ()
    streamer: BaseStreamer | None = None

    @property
    def answers(self) -> int:
        """To each prompt."""
        return self.settings.num_return_sequences

    @property
    def is_greedy(self) -> bool:
        """Whether it is the likeliest answer, as `GenerationSettings.greedy`, told to nobody."""
        plain = self.settings == self.settings.greedy()
        return plain and self.streamer is None and not self.processors and not self.criteria

    def of(self, prompts: Sequence[int]) -> GenerationRequest:
        """The same for some of the prompts."""
        chosen = [
            self.seeds[prompt * self.answers + number]
            for prompt in prompts
            for number in range(self.answers if self.seeds else 0)
        ]
        return replace(self, seeds=chosen)


class GeneratingPair(FusedPair):
    """A pair that answers; see `FusedPair` for the arguments."""

    def inputs(
        self,
        asked: Conversation | Sequence[Conversation],
        sharer_contexts: Conversation | Sequence[Conversation] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Questions or conversations as token ids of both models, what `generate` takes.

        Args:
            asked: A question, a conversation, or several of either.
            sharer_contexts: What the sharer reads instead; injection append or side.

        Returns:
            ``receiver_input_ids``, ``sharer_input_ids``, their attention masks and
            ``alignment``, each ``(prompts, tokens)``, padded on the left; see `IdPrompts`.

        Raises:
            ConfigError: Something else is asked, or the fuser cannot hear what the sharer reads.
        """
        given = Asked.read(asked)
        encoded = self.encoded(given.conversations, _theirs(given, sharer_contexts))
        found = padded(encoded, self.receiver, self.sharer)
        return {name: tensor.to(self.device) for name, tensor in found.items()}

    def read(
        self,
        asked: Conversation | Sequence[Conversation],
        sharer_contexts: Conversation | Sequence[Conversation] | None = None,
    ) -> PairBatch:
        """Questions or conversations, read by both models and packed; see `inputs`."""
        given = Asked.read(asked)
        return self.batch(self.prompts(given.conversations, _theirs(given, sharer_contexts)))

    @overload
    def generate(self, question: str, **more: Any) -> str: ...

    @overload
    def generate(
        self, question: Sequence[Conversation] | Sequence[Message], **more: Any
    ) -> Any: ...

    @overload
    def generate(self, question: None = None, **more: Any) -> torch.Tensor: ...

    @torch.no_grad()
    def generate(
        self,
        question: Conversation | Sequence[Conversation] | None = None,
        *,
        sharer_contexts: Conversation | Sequence[Conversation] | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Sequence[LogitsProcessor] = (),
        stopping_criteria: Sequence[StoppingCriteria] = (),
        streamer: BaseStreamer | None = None,
        seed: int | Sequence[int] | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        receiver_input_ids: torch.Tensor | None = None,
        sharer_input_ids: torch.Tensor | None = None,
        receiver_attention_mask: torch.Tensor | None = None,
        sharer_attention_mask: torch.Tensor | None = None,
        alignment: torch.Tensor | None = None,
        **settings: Any,
    ) -> str | list[str] | torch.Tensor:
        """Answer questions in words, or go on from prompts that are token ids.

        Greedily, unless ``do_sample`` is set: the receiver's own ``generation_config`` says
        nothing here but what ends an answer, since champions are measured so.

        Args:
            question: A question, a conversation, or several of either.
            sharer_contexts: What the sharer reads instead of each; injection append or side.
            generation_config: As in transformers; see `GenerationSettings` for what is taken.
            logits_processor: transformers' own or the caller's; each sees one answer at a time.
            stopping_criteria: The same for what ends an answer.
            streamer: Told the only answer's tokens while they are written: of a question, up to
                what ends the answer; of token ids, all of them.
            seed: Of what is drawn; see `seeds_of`.
            input_ids: The receiver's, from which the sharer's are made where it reads the same
                text; see `read_of_receiver`.
            attention_mask: Of ``input_ids``.
            receiver_input_ids: See `IdPrompts`, for this and all that follow.
            settings: Go before those of ``generation_config``; see `GenerationSettings`.

        Returns:
            The answer to a question; a list for several, or several answers, prompt by prompt.
            Of ids, prompts and answers ``(prompts * num_return_sequences, tokens + new)``,
            answers that ended before the longest one filled up with the padding token.

        Raises:
            ConfigError: Lists the settings that are wrong or not done here; neither a question
                nor ids are given, or both are; the ids do not fit together.
        """
        rest = tuple(logits_processor), tuple(stopping_criteria), streamer
        wanted = GenerationSettings.read(generation_config, settings)
        given = question, input_ids, receiver_input_ids
        if sum(each is not None for each in given) != 1:
            raise _takes_either()
        if question is not None:
            if sharer_input_ids is not None:
                raise _takes_either()
            asked = Asked.read(question)
            theirs = _theirs(asked, sharer_contexts)
            request = _request(wanted, seed, len(asked.conversations), *rest)
            return _in_words(self.answers(asked.conversations, theirs, request), asked)
        if input_ids is not None:
            ids, mask = input_ids, attention_mask
        else:
            ids, mask = receiver_input_ids, receiver_attention_mask
        assert ids is not None
        if sharer_input_ids is not None:
            read = IdPrompts.read(ids, sharer_input_ids, mask, sharer_attention_mask, alignment)
        elif input_ids is not None:
            read = read_of_receiver(self, ids, mask)
        else:
            raise _takes_either()
        request = _request(wanted, seed, len(read.encoded), *rest)
        rows = repeated(range(len(read.encoded)), request.answers)
        batch = self.batch(self.cached(read.encoded), rows)
        answers = self.write_all(batch, request, in_words=False)
        return sequences(ids[rows], [each.ids for each in answers], wanted.padding(self.receiver))

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
        found: list[str] = self.generate(
            [*questions], sharer_contexts=sharer_contexts, max_new_tokens=max_new_tokens
        )
        return found

    @torch.no_grad()
    def chat(
        self,
        messages: Conversation,
        sharer_messages: Conversation | None = None,
        *,
        generation_config: GenerationConfig | None = None,
        logits_processor: Sequence[LogitsProcessor] = (),
        stopping_criteria: Sequence[StoppingCriteria] = (),
        streamer: BaseStreamer | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> Any:
        """Answer the last turn of a conversation, of which both models read only what is new.

        What they have read last is kept (see `PrefixCache`), so that a turn, or another question
        about the same document, costs what it adds. The answer is that of `generate` to the same
        messages.

        Args:
            messages: All turns so far, the answers among them.
            sharer_messages: What the sharer reads instead; injection append or side.
            generation_config: As for `generate`, as all that follow.

        Returns:
            The answer, which the caller adds to the turns; a list where
            ``num_return_sequences`` is more than 1.

        Raises:
            ConfigError: As of `generate`.
        """
        conversation = turns(messages)
        theirs = None if sharer_messages is None else turns(sharer_messages)
        wanted = GenerationSettings.read(generation_config, settings)
        rest = tuple(logits_processor), tuple(stopping_criteria), streamer
        request = _request(wanted, seed, 1, *rest)
        sharer = None if theirs is None else [theirs]
        answers = self.answers([conversation], sharer, request, kept=True)
        return _in_words(answers, Asked([conversation], single=True))

    def answers(
        self,
        conversations: Sequence[Sequence[Message]],
        sharer_conversations: Sequence[Sequence[Message]] | None,
        request: GenerationRequest,
        *,
        kept: bool = False,
    ) -> list[WrittenAnswer]:
        """Answers to conversations, a prompt's side by side.

        Args:
            conversations: What the receiver reads.
            sharer_conversations: What the sharer reads, where it is something else.
            request: How they are answered.
            kept: As for `cached`.
        """
        prompts = self.prompts(conversations, sharer_conversations, kept=kept)
        batch = self.batch(prompts, repeated(range(len(prompts)), request.answers))
        return self.write_all(batch, request)

    @torch.no_grad()
    def write_all(
        self, batch: PairBatch, request: GenerationRequest, *, in_words: bool = True
    ) -> list[WrittenAnswer]:
        """One answer to each packed prompt.

        Args:
            batch: The prompts, one for each answer.
            request: How they are answered.
            in_words: Whether an answer ends as text of the template does, and is put into words.
        """
        settings = request.settings
        texts = (*(LINES[self.receiver_template] if in_words else ()), *settings.stops)
        stops = Stops(self.receiver.text_tokenizer, texts) if in_words or texts else None
        ends, prompts = settings.ends(self.receiver), batch.receiver_ids
        rules = settings.rules(
            prompts,
            request.seeds,
            device=self.device,
            ends=ends,
            processors=request.processors,
            criteria=request.criteria,
        )
        told = telling(request.streamer, prompts, stops if in_words else None, ends)
        with blaming(self, batch), told as listener:
            return write_answers(
                self.receiver.model,
                self.fused_cache(batch),
                batch.last_ids,
                rules=rules,
                stops=stops,
                ends=ends,
                max_new_tokens=settings.most(max(map(len, prompts))),
                listener=listener,
            )


def _request(
    settings: GenerationSettings,
    seed: int | Sequence[int] | None,
    prompts: int,
    processors: Sequence[LogitsProcessor],
    criteria: Sequence[StoppingCriteria],
    streamer: BaseStreamer | None,
) -> GenerationRequest:
    seeds: list[int] = []
    if settings.samples:
        seeds = seeds_of(seed, prompts, settings.num_return_sequences)
    return GenerationRequest(settings, seeds, processors, criteria, streamer)


def repeated(prompts: Sequence[int], times: int) -> list[int]:
    """Each prompt so many times, side by side."""
    return [prompt for prompt in prompts for _ in range(times)]


def _in_words(answers: Sequence[WrittenAnswer], asked: Asked) -> str | list[str]:
    texts = [answer.text for answer in answers]
    return texts[0] if asked.single and len(texts) == 1 else texts


def _theirs(
    asked: Asked, sharer_contexts: Conversation | Sequence[Conversation] | None
) -> list[list[Message]] | None:
    """What the sharer reads instead.

    Raises:
        ConfigError: It is not one for each that is asked.
    """
    if sharer_contexts is None:
        return None
    theirs = Asked.read(sharer_contexts).conversations
    if len(theirs) != len(asked.conversations):
        raise ConfigError(
            "The sharer reads one context for each question.",
            value=f"{len(theirs)} contexts, {len(asked.conversations)} questions",
        )
    return theirs


def _takes_either() -> ConfigError:
    return ConfigError(
        "generate takes a question, or receiver_input_ids and sharer_input_ids.",
        hint="Give the text alone, or the token ids of both models: `model.inputs(question)` "
        "makes them.",
    )
