"""Rows as a pair reads them, and what is checked of the pair and its prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from c2c_search.data.sources import place_of
from c2c_search.errors import ConfigError
from c2c_search.errors import NotFiniteError
from c2c_search.inference.finite import check_model
from c2c_search.inference.model import C2CModel
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.tokenization.templates import TemplateRefusedError
from c2c_search.tokenization.templates import any_dated
from c2c_search.tokenization.templates import is_dated
from c2c_search.tokenization.token_alignment import encode_all


if TYPE_CHECKING:
    import torch

    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import DataConfig
    from c2c_search.data.schema import Row
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.token_alignment import EncodedPrompt


def pair_of(
    receiver: LoadedModel,
    sharer: LoadedModel,
    data: DataConfig,
    cache_dtype: torch.dtype,
    today: str,
) -> C2CModel:
    """Two models, without a fuser, that read the data as a pipeline says, on its day.

    Args:
        receiver: The model that answers.
        sharer: The model that speaks.
        data: Says how prompts are written.
        cache_dtype: What prompt caches are rounded to.
        today: The day that dated chat templates write if the data names none.
    """
    tokenizers = receiver.text_tokenizer, sharer.text_tokenizer
    drafts = data.draft_template
    dated = any_dated(data.template, *tokenizers) or (
        drafts is not None and is_dated(drafts, sharer.text_tokenizer)
    )
    return C2CModel(
        receiver,
        sharer,
        None,
        template=data.template,
        cache_dtype=cache_dtype,
        date=data.date or (today if dated else None),
        draft_template=drafts,
    )


def read_rows(
    receiver: LoadedModel,
    sharer: LoadedModel,
    data: DataConfig,
    rows: Sequence[Row],
    alignment: str = "span",
    *,
    date: str | None,
    drafts: bool = False,
) -> tuple[EncodedPrompt, ...]:
    """Tokenize rows for both models, in the template of the data; see `encode_all`.

    Args:
        receiver: The model that answers.
        sharer: The model that speaks.
        data: Says how prompts are written.
        rows: What is asked.
        alignment: Of tokens.
        date: That dated chat templates write.
        drafts: Whether the sharer is to draft, in a template that may be another one.

    Raises:
        TemplateRefusedError: A chat template cannot write a row; it names the model, and the
            row's file and line.
    """
    with naming(receiver, sharer, data, rows):
        return encode_all(
            [row["messages"] for row in rows],
            data.template,
            receiver.text_tokenizer,
            sharer.text_tokenizer,
            alignment,
            sharer_conversations=[row["sharer_messages"] for row in rows],
            date=date,
            sharer_template=data.draft_template if drafts else None,
        )


@contextmanager
def naming(
    receiver: LoadedModel, sharer: LoadedModel, data: DataConfig, rows: Sequence[Row]
) -> Iterator[None]:
    """Name the model whose chat template refuses one of these rows, and the row's place.

    Raises:
        TemplateRefusedError: One that was raised in the block.
    """
    try:
        yield
    except TemplateRefusedError as error:
        refuses = next(one for one in (receiver, sharer) if one.tokenizer is error.tokenizer)
        where = place_of(data.files, rows[error.index]["id"])
        raise error.named(refuses.identity.source, where) from error


def check_finite_pair(model: C2CModel, prompts: PairPrompts) -> None:
    """Let both models predict after a prompt: what diverges later is the fuser's own fault.

    Raises:
        NotFiniteError: A model predicts something that is no number.
    """
    first = prompts.encoded[0]
    sharer = PairPrompts.alone([first.sharer_ids], prompts.sharer)
    for role, loaded, own in (
        ("receiver", model.receiver, prompts),
        ("sharer", model.sharer, sharer),
    ):
        batch = own.batch([0]).to(loaded.model.device)
        try:
            check_model(loaded, FusedCache(batch.receiver, batch.lengths), batch.last_ids)
        except FloatingPointError as error:
            raise NotFiniteError(role, loaded.identity.source, "log-likelihoods") from error


def prompts_hash(splits: Sequence[Sequence[EncodedPrompt]]) -> str:
    """SHA-256 of the tokens of all prompts, as both models read them."""
    digest = hashlib.sha256()
    for encoded in splits:
        for prompt in encoded:
            line = json.dumps([prompt.receiver_ids, prompt.sharer_ids], separators=(",", ":"))
            digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def refuse_other_date(config: TrialConfig, pair: C2CModel) -> None:
    """Refuse a trial whose prompts would not be those that it stands for.

    Raises:
        ConfigError: A chat template writes the day, and the trial does not say which.
    """
    if config.data.date != pair.date:
        raise ConfigError(
            "A chat template of this pair writes the day into every prompt, so the trial must"
            " say which.",
            value=f"data.date {config.data.date}",
            hint=f"Set data.date in the trial to the day of its study, as {pair.date}.",
        )
