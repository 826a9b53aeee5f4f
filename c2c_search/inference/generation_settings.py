"""How an answer is to be generated, in transformers' words, every mistake told at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import torch
from transformers import LogitsProcessor
from transformers import NoBadWordsLogitsProcessor
from transformers import NoRepeatNGramLogitsProcessor
from transformers import RepetitionPenaltyLogitsProcessor
from transformers import SuppressTokensLogitsProcessor

from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.errors import suggestion
from c2c_search.inference.answering import TokenRules
from c2c_search.inference.sampling import Draw
from c2c_search.inference.sampling import padding_id
from c2c_search.inference.sampling import stop_ids


if TYPE_CHECKING:
    from transformers import GenerationConfig
    from transformers import StoppingCriteria

    from c2c_search.models.loading import LoadedModel


MAX_NEW_TOKENS = 64
"""Where an answer is cut when nobody says otherwise."""

# What changes nothing here: names of versions, and beams' own settings where there is one beam.
_IGNORED = {
    "bos_token_id",
    "cache_implementation",
    "decoder_start_token_id",
    "disable_compile",
    "early_stopping",
    "length_penalty",
    "transformers_version",
    "use_cache",
}
_NEUTRAL = {
    "diversity_penalty": 0.0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "num_assistant_tokens": 20,
    "num_beam_groups": 1,
    "num_beams": 1,
    "remove_invalid_values": False,
    "typical_p": 1.0,
}
_WAY_OUT = (
    "Leave it out, or let the receiver's own generate do it: "
    "`receiver.generate(**model.fuse(...), ...)`."
)


@dataclass(frozen=True)
class GenerationSettings:
    """What `generate` and `chat` take of a ``GenerationConfig``; as there, but for what is said.

    Args:
        max_new_tokens: Where a long answer is cut.
        max_length: The same with the prompt's tokens; ``max_new_tokens`` goes before.
        min_new_tokens: Fewest tokens of an answer.
        do_sample: Whether tokens are drawn; greedy if not, whatever the receiver's own
            ``generation_config`` says: so champions are measured.
        temperature: What logits are divided by; 0 for greedy decoding.
        top_p: See `Draw`.
        top_k: See `Draw`; 0, all tokens, when left out (transformers: 50).
        min_p: See `Draw`.
        repetition_penalty: Above 1, tokens of prompt and answer are made less likely.
        no_repeat_ngram_size: No so many tokens in a row occur twice.
        bad_words_ids: Token sequences that do not occur.
        suppress_tokens: Tokens that do not occur.
        num_return_sequences: Answers to each prompt.
        stop_strings: Texts that end an answer.
        eos_token_id: Tokens that end an answer; the receiver's own when left out.
        pad_token_id: What shorter answers are filled up with.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int = 0
    do_sample: bool | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    bad_words_ids: Sequence[Sequence[int]] = ()
    suppress_tokens: Sequence[int] = ()
    num_return_sequences: int = 1
    stop_strings: str | Sequence[str] = ()
    eos_token_id: int | Sequence[int] | None = None
    pad_token_id: int | None = None

    @classmethod
    def read(cls, config: GenerationConfig | None, given: Mapping[str, Any]) -> GenerationSettings:
        """Settings of a ``GenerationConfig`` and of arguments, which go before.

        Raises:
            ConfigError: Lists all that is unknown, out of its range, or not done here.
        """
        told = {**({} if config is None else config.to_diff_dict()), **given}
        known = {field.name for field in dataclasses.fields(cls)}
        found = {name: value for name, value in told.items() if value is not None}
        others = {name: value for name, value in found.items() if name not in known}
        problems = [
            problem
            for name, value in others.items()
            if (problem := _not_done(name, value, known)) is not None
        ]
        settings = cls(**{name: value for name, value in found.items() if name in known})
        problems += settings._out_of_range(found)
        if problems:
            raise ConfigError.collect(problems)
        return settings

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn."""
        return bool(self.do_sample) and self.temperature > 0

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end an answer."""
        texts = self.stop_strings
        return (texts,) if isinstance(texts, str) else tuple(texts)

    def ends(self, loaded: LoadedModel) -> set[int]:
        """Token ids that end an answer of a model."""
        if self.eos_token_id is None:
            return stop_ids(loaded)
        return {self.eos_token_id} if isinstance(self.eos_token_id, int) else {*self.eos_token_id}

    def padding(self, loaded: LoadedModel) -> int:
        """What shorter answers of a model are filled up with."""
        return padding_id(loaded) if self.pad_token_id is None else self.pad_token_id

    def most(self, prompt_tokens: int) -> int:
        """Most tokens of an answer.

        Args:
            prompt_tokens: Of the longest prompt.

        Raises:
            ConfigError: The prompt alone is as long as ``max_length``.
        """
        if self.max_new_tokens is not None or self.max_length is None:
            return self.max_new_tokens or MAX_NEW_TOKENS
        if self.max_length <= prompt_tokens:
            raise ConfigError(
                "max_length counts the prompt's tokens too, and leaves none for an answer.",
                value=f"max_length {self.max_length}, {prompt_tokens} tokens of the prompt",
                hint="Set max_new_tokens instead.",
            )
        return self.max_length - prompt_tokens

    def greedy(self) -> GenerationSettings:
        """The same lengths and ends, without anything that changes which token is chosen."""
        kept = ("max_new_tokens", "max_length", "stop_strings", "eos_token_id", "pad_token_id")
        return GenerationSettings(**{name: getattr(self, name) for name in kept})

    def rules(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        device: torch.device,
        ends: set[int],
        processors: Sequence[LogitsProcessor] = (),
        criteria: Sequence[StoppingCriteria] = (),
    ) -> TokenRules:
        """How the tokens of answers are chosen.

        Args:
            prompts: Token ids of the prompts, one for each answer.
            seeds: One for each answer; not looked at where nothing is drawn.
            device: Of the model.
            ends: Token ids that end an answer.
            processors: The caller's own, behind those of the settings.
            criteria: The caller's own.
        """
        draw = None
        if self.samples:
            more = {"top_k": self.top_k, "min_p": self.min_p}
            draw = Draw(self.temperature, self.top_p, seeds, **more)  # type: ignore[arg-type]
        return TokenRules(
            draw,
            (*self._processors(device, ends), *processors),
            tuple(criteria),
            prompts,
            sorted(ends),
            self.min_new_tokens,
        )

    def _processors(self, device: torch.device, ends: set[int]) -> list[LogitsProcessor]:
        """transformers' own, in transformers' order."""
        found: list[LogitsProcessor] = []
        if self.repetition_penalty != 1.0:
            found.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        if self.no_repeat_ngram_size:
            found.append(NoRepeatNGramLogitsProcessor(self.no_repeat_ngram_size))
        if self.bad_words_ids:
            words = [[*ids] for ids in self.bad_words_ids]
            found.append(NoBadWordsLogitsProcessor(words, sorted(ends)))
        if self.suppress_tokens:
            found.append(SuppressTokensLogitsProcessor([*self.suppress_tokens], device=device))
        return found

    def _out_of_range(self, told: Mapping[str, Any]) -> list[Problem]:
        rules = {
            "max_new_tokens": (
                _whole(self.max_new_tokens, 1),
                "must be a whole number, at least 1",
            ),
            "max_length": (_whole(self.max_length, 1), "must be a whole number, at least 1"),
            "min_new_tokens": (
                _whole(self.min_new_tokens, 0),
                "must be a whole number, at least 0",
            ),
            "temperature": (_within(self.temperature, 0), "must not be negative"),
            "top_p": (
                _within(self.top_p, 0, 1) and self.top_p > 0,
                "must be above 0 and at most 1",
            ),
            "top_k": (_whole(self.top_k, 0), "must be a whole number, at least 0"),
            "min_p": (_within(self.min_p, 0, 1), "must be from 0 to 1"),
            "repetition_penalty": (
                _within(self.repetition_penalty, 0) and self.repetition_penalty > 0,
                "must be above 0",
            ),
            "no_repeat_ngram_size": (
                _whole(self.no_repeat_ngram_size, 0),
                "must be a whole number, at least 0",
            ),
            "num_return_sequences": (
                _whole(self.num_return_sequences, 1),
                "must be a whole number, at least 1",
            ),
            "stop_strings": (
                all(isinstance(text, str) and text for text in self.stops),
                "must be texts, none of them empty",
            ),
        }
        problems = [
            Problem(name, rule, getattr(self, name))
            for name, (holds, rule) in rules.items()
            if name in told and not holds
        ]
        if problems:
            return problems
        drawn = [
            name
            for name in ("temperature", "top_p", "top_k", "min_p")
            if name in told and getattr(self, name) not in (_DEFAULTS[name], 0)
        ]
        if drawn and self.do_sample is None:
            hint = "Set do_sample=True, or leave them out for greedy decoding."
            names = ", ".join(drawn)
            problems.append(Problem(names, "says how tokens are drawn, and none are", hint=hint))
        if self.num_return_sequences > 1 and not self.samples:
            hint = "Set do_sample=True."
            rule = "needs answers that differ: greedy decoding gives the same one each time"
            problems.append(Problem("num_return_sequences", rule, self.num_return_sequences, hint))
        return problems


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(GenerationSettings)}


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _within(value: Any, least: float, most: float = float("inf")) -> bool:
    return isinstance(value, int | float) and least <= value <= most


def _not_done(name: str, value: Any, known: set[str]) -> Problem | None:
    """What is wrong with a setting that is none of ours; None where it changes nothing."""
    from transformers import GenerationConfig

    if name.startswith("_") or name in _IGNORED:
        return None
    if not hasattr(GenerationConfig(), name) and name not in _NEUTRAL:
        return Problem(name, "is no setting of generation", value, suggestion(name, known))
    if value is False or (name in _NEUTRAL and value == _NEUTRAL[name]):
        return None
    if name == "num_beams":
        hint = (
            "Leave it out, or let the receiver search: `receiver.generate(**model.fuse(question, "
            f"beams={value!r}), num_beams={value!r})`."
        )
        return Problem(name, "must be 1: beams are not searched here", value, hint)
    return Problem(name, "is not done here", value, _WAY_OUT)


def seeds_of(seed: int | Sequence[int] | None, prompts: int, answers: int) -> list[int]:
    """A seed for each answer.

    A prompt's answers do not depend on the prompts beside it: its n-th has the prompt's seed
    and n.

    Args:
        seed: Of every prompt, or one for each; drawn from torch's own generator when left out,
            so that ``torch.manual_seed`` and ``transformers.set_seed`` repeat what was drawn.
        prompts: How many.
        answers: To each prompt.

    Raises:
        ConfigError: There is not one for each prompt.
    """
    if seed is None:
        return torch.randint(2**63 - 1, (prompts * answers,)).tolist()
    seeds = [seed] * prompts if isinstance(seed, int) else [*seed]
    if len(seeds) != prompts or not all(_whole(each, 0) for each in seeds):
        raise ConfigError(
            "seed must be a whole number, not negative, or one for each prompt.",
            value=f"{seed!r}, {prompts} prompts",
        )
    return [each + number for each in seeds for number in range(answers)]
