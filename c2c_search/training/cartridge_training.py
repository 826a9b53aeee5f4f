"""A cartridge on the receiver alone, the control for what a cache that is always there can do.

A fuser puts into the receiver's cache what a sharer has said. A cartridge (Eyuboglu et al. 2025,
arXiv 2506.06266) puts trained entries there that say the same to every question. One of the
fuser's size, trained on the same examples in the same order for the same steps, shows how much of
the gain needs no sharer. Its files are those of peft's `CartridgeConfig`.
"""

from __future__ import annotations

from itertools import chain
from itertools import cycle
from itertools import islice
from typing import TYPE_CHECKING
from typing import Any

import torch

from c2c_search.evaluation.systems.alone import Prefixed
from c2c_search.models.context_length import ContextLength
from c2c_search.models.geometry import cache_shape
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.training.adapters import flat_entries
from c2c_search.training.adapters import save_cartridge
from c2c_search.training.adapters import stacked_entries
from c2c_search.training.receiver_training import ReceiverTraining
from c2c_search.training.receiver_training import response_logits


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence
    from pathlib import Path

    from peft import CartridgeConfig
    from peft import CartridgeEncoder
    from transformers import PreTrainedModel

    from c2c_search.config.trial import TrialConfig
    from c2c_search.fuser.shapes import CacheShape
    from c2c_search.models.loading import LoadedModel
    from c2c_search.training.loop import TrainingData
    from c2c_search.training.protocol import Event
    from c2c_search.training.protocol import Trained


LEARNING_RATE = 2e-2
"""Peak rate, in place of the trial's: that of trainings with the paper's own code, which begin
from text too. Others were not measured here."""

FROZEN = 1
"""Entries in front that are not trained: attention rests on the first one (as in the paper)."""

_SHARE_OF_CONTEXT = 2  # half of what the receiver reads is left to the prompts


def trained_entries(model: PreTrainedModel, parameters: int) -> int:
    """How many trained entries come nearest to so many parameters; 1 at least.

    No more than fit into half of the tokens that the model was made to read.

    Args:
        model: Whose cache it is.
        parameters: The fuser's.
    """
    shape = cache_shape(model)
    nearest = max(1, round(parameters / (2 * shape.layers * shape.size)))
    most = ContextLength.of(model).tokens
    if most is None:
        return nearest
    return max(1, min(nearest, most // _SHARE_OF_CONTEXT - FROZEN))


class Cartridge(torch.nn.Module):
    """The entries that peft trains, and a model's answers behind them.

    Args:
        model: A frozen model.
        entries: What they begin with, ``(2, layers, entries, size)``.
    """

    def __init__(self, model: PreTrainedModel, entries: torch.Tensor) -> None:
        from peft import CartridgeEncoder

        super().__init__()
        self.shape: CacheShape = cache_shape(model)
        self.config = _config(self.shape, entries.shape[2])
        self.encoder: CartridgeEncoder = CartridgeEncoder(self.config).to(model.device)
        self.encoder.load_prompt_embeddings(flat_entries(entries).float())
        # In a tuple it is no child: the engine sees, and a checkpoint holds, the entries alone.
        self._model: tuple[PreTrainedModel] = (model,)

    @property
    def entries(self) -> torch.Tensor:
        """``(2, layers, entries, size)``; gradients flow into those that are trained."""
        return stacked_entries(self.encoder.weight, self.shape.layers)

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimizer groups: a single one. Entries are no weights, and zeros are no better ones."""
        trained = [self.encoder.trainable_embedding]
        return [{"params": trained, "lr": learning_rate, "weight_decay": 0.0}]

    def forward(
        self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Read whole prompts behind the entries; see `response_logits`."""
        (model,) = self._model
        return response_logits(model, prompts, responses, self.entries)


def _config(shape: CacheShape, count: int) -> CartridgeConfig:
    from peft import CartridgeConfig

    # All of the shape is said, so that peft guesses none of it from the model's configuration.
    return CartridgeConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=count,
        num_frozen_tokens=FROZEN,
        num_layers=shape.layers,
        num_attention_heads=shape.heads,
        token_dim=shape.size,
        num_transformer_submodules=1,
    )


class CartridgeTraining(ReceiverTraining):
    """Trains one cartridge; see `train_cartridge`."""

    system = "cartridge"
    peak_rate = LEARNING_RATE

    def __init__(
        self,
        config: TrialConfig,
        receiver: LoadedModel,
        data: TrainingData,
        directory: Path,
        *,
        count: int,
        emit: Callable[[Event], None],
        go_on: Callable[[], bool],
    ) -> None:
        super().__init__(config, receiver, data, directory, emit=emit, go_on=go_on)
        self.cartridge = Cartridge(receiver.model, self._first_entries(count))

    def _first_entries(self, count: int) -> torch.Tensor:
        """The receiver's own cache of so many tokens of training examples, answers included.

        Source: Cartridges (arXiv 2506.06266), initialisation by the first tokens of a corpus.
        """
        prompts = (prompt.receiver_ids for prompt in self.data.train_prompts.encoded)
        examples = zip(prompts, self.responses, strict=True)
        text = list(chain.from_iterable([*prompt, *response] for prompt, response in examples))
        ids = tuple(islice(cycle(text), count))
        caches = PromptCaches.compute(self.model.receiver.model, [ids], torch.float32)
        return caches.packed([0], [torch.arange(count)])

    def _module(self) -> Cartridge:
        return self.cartridge

    def _system(self) -> Prefixed:
        return Prefixed(self.system, self.model, self.cartridge.entries.detach())

    def _sizes(self) -> dict[str, float]:
        return {"cartridge/entries": float(self.cartridge.encoder.num_trainable_tokens)}

    def _keep(self) -> None:
        cartridge = self.cartridge
        save_cartridge(
            cartridge.config,
            cartridge.encoder.weight,
            self.model.receiver.identity.source,
            self.best_dir,
        )


def train_cartridge(
    config: TrialConfig,
    receiver: LoadedModel,
    data: TrainingData,
    directory: Path,
    *,
    parameters: int,
    emit: Callable[[Event], None],
    go_on: Callable[[], bool],
) -> Trained:
    """Train a cartridge for a receiver, from its checkpoint if there is one.

    Args:
        config: The trial.
        receiver: Unchanged.
        data: The trial's.
        directory: See `ReceiverTraining`.
        parameters: The fuser's, for `trained_entries`.
        emit: Called with every event.
        go_on: Called after every rung but the last; False stops it there.

    Raises:
        DivergedError: The loss became infinite or NaN.
    """
    count = FROZEN + trained_entries(receiver.model, parameters)
    torch.manual_seed(config.seed)
    training = CartridgeTraining(
        config, receiver, data, directory, count=count, emit=emit, go_on=go_on
    )
    return training.run()
