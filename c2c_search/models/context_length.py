"""How many tokens a model was made to read, and what becomes of longer texts."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import ConfigError
from c2c_search.models.geometry import rope_window
from c2c_search.models.geometry import text_config


if TYPE_CHECKING:
    from transformers import PreTrainedConfig
    from transformers import PreTrainedModel

_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")


@dataclass(frozen=True)
class ContextLength:
    """Tokens that a model reads.

    Args:
        tokens: Prompt and answer together; None for any number.
        fixed: Whether it cannot read more: positions that were learned end there, and some rotary
            frequencies change. Otherwise it reads on, beyond what it was made for.
    """

    tokens: int | None
    fixed: bool

    @classmethod
    def of(cls, model: PreTrainedModel | PreTrainedConfig | Mapping[str, Any]) -> ContextLength:
        """Read it off a model, its configuration, or the content of its config.json."""
        if (window := rope_window(model)) is not None:
            return cls(window, fixed=True)
        config = text_config(model)
        get = config.get if isinstance(config, Mapping) else lambda name: getattr(config, name, 0)
        tokens = next((found for name in _POSITIONS if (found := get(name))), None)
        # A model that rotates computes its positions; others look them up in a table.
        rotates = any(get(name) for name in ("rope_parameters", "rope_theta", "rotary_emb_base"))
        return cls(tokens, fixed=not rotates)

    def check(self, lengths: Sequence[int], role: str, source: str, what: str) -> str | None:
        """Compare texts with what the model reads, before anything is computed.

        Args:
            lengths: Tokens of each text, what is answered to it included.
            role: ``receiver`` or ``sharer``.
            source: Of the model.
            what: The texts are called, e.g. ``test questions``.

        Returns:
            What a user should know; None if every text is short enough.

        Raises:
            ConfigError: Some are too long for a model whose positions end.
        """
        longer = 0 if self.tokens is None else sum(one > self.tokens for one in lengths)
        if not longer:
            return None
        counts = f"{longer} of {len(lengths)} {what}"
        if self.fixed:
            raise ConfigError(
                f"What the {role} reads must fit into its {self.tokens} positions: {counts} have"
                " more tokens, their answers included.",
                value=f"{source}, up to {max(lengths)} tokens",
                hint="Shorten or leave out the longest ones, or choose a model that reads more.",
            )
        return (
            f"{counts} have more tokens than the {self.tokens} that the {role} was made for"
            f" ({source}, up to {max(lengths)}); nothing is cut."
        )
