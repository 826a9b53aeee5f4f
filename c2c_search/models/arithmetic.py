"""What reading and learning take, counted from sizes: the one place of these formulas.

Products of matrices and attention count, two operations for each multiplication with its
addition; norms, activations and the optimizer do not. Source: Kaplan et al., arXiv 2001.08361,
section 2.1, with attention over what comes before.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import Self

from c2c_search.models.attention_maps import skeleton_of
from c2c_search.models.geometry import geometry


if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class ModelSize:
    """What of a model its arithmetic depends on.

    Args:
        body: Weights of the maps in its layers.
        head: Weights of the map to the vocabulary.
        attended: Numbers of a token's queries, over all layers and heads.
    """

    body: int
    head: int
    attended: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """From a configuration; the model is built without content.

        Raises:
            ConfigError: It is none that can be fused.
        """
        geometry(config)  # refused before anything is built
        return cls.of_model(skeleton_of(config))

    @classmethod
    def of_model(cls, model: PreTrainedModel) -> Self:
        """From a model that is there, with weights or without.

        Raises:
            ConfigError: It is none that can be fused.
        """
        found = geometry(model)
        maps = {id(one): one.numel() for one in model.parameters() if one.dim() > 1}
        ends = (model.get_input_embeddings(), model.get_output_embeddings())
        embedded = {id(each.weight) for each in ends}
        body = sum(size for number, size in maps.items() if number not in embedded)
        queries = model.config.get_text_config().num_attention_heads * found.head_dim
        return cls(body, found.hidden_size * found.vocab_size, found.layers * queries)

    def read(self, tokens: float, before: float = 0.0) -> float:
        """Floating-point operations of reading tokens behind others, all of which they see."""
        return 2 * self.body * tokens + 4 * self.attended * tokens * (before + tokens / 2)

    def predict(self, tokens: float) -> float:
        """The same of predicting what follows each of so many tokens."""
        return 2 * self.head * tokens


@dataclass(frozen=True)
class Fused:
    """A receiver, and the fuser in front of it.

    Args:
        receiver: Its size.
        parameters: Of the fuser, each of which is multiplied with every token that is heard.
    """

    receiver: ModelSize
    parameters: int

    def learned(self, said: Sequence[float], before: float, heard: float) -> float:
        """Floating-point operations of an example that is learned from, caches being there.

        Back through the frozen receiver to the fuser takes as much again for the receiver, and
        twice as much again for the fuser.

        Args:
            said: Tokens of what the receiver reads behind the prompt: of the response, or of each
                choice.
            before: Tokens of the prompt in the receiver's cache.
            heard: Tokens of the message.
        """
        return 2 * self._read(said, before) + 6 * self.parameters * heard

    def answered(self, said: Sequence[float], before: float, heard: float) -> float:
        """The same of a question that is answered by comparing options; see `learned`."""
        return self._read(said, before) + 2 * self.parameters * heard

    def _read(self, said: Sequence[float], before: float) -> float:
        size = self.receiver
        return sum(size.read(each, before) + size.predict(each) for each in said)
