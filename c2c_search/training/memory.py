"""Training room: what a trial's step takes in memory, from configurations alone.

The step itself runs, as `TrialRun` runs it: the batch is gathered and fused, the receiver reads
the responses, the loss goes back. It runs on the meta device, so that there are no weights, no
arithmetic, and no second formula that could disagree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from typing import cast

import torch

from c2c_search.fuser import cost
from c2c_search.inference.adaptation import Adaptation
from c2c_search.inference.fusion import Rotaries
from c2c_search.inference.model import C2CModel
from c2c_search.inference.model import cache_shape
from c2c_search.pair.batches import PairPrompts
from c2c_search.pair.caches import PromptCaches
from c2c_search.pair.geometry import geometry
from c2c_search.pair.loading import LoadedModel
from c2c_search.pair.rope import Rotation
from c2c_search.training.allocations import Allocations
from c2c_search.training.allocations import AttentionOf
from c2c_search.training.loop import TrialRun
from c2c_search.training.run import TrainingData
from c2c_search.training.run import TrainingRun


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.data.schema import Row
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.pair.identity import ResolvedModel
    from c2c_search.pair.prompts import Message
    from c2c_search.pair.rope import Rotary
    from c2c_search.pair.token_alignment import EncodedPrompt
    from c2c_search.training.engine import TrainingEngine
    from c2c_search.trial import TrialConfig


# Once a step DeepSpeed copies the gradients, so many bytes at a time, to reduce them over ranks.
_REDUCED_AT_ONCE = 4 * 500_000_000


@dataclass(frozen=True)
class StepMemory:
    """Bytes on the training device at the peak of a trial's step.

    Args:
        models: Weights of both models, in the dtype that they are loaded in.
        caches: The batch's prompt caches, and those of the next batch where it is gathered ahead.
        fuser: Its tensors, their gradients and the optimizer's moments.
        activations: All else: what the forward pass keeps, and what the backward pass needs.
    """

    models: int
    caches: int
    fuser: int
    activations: int

    @property
    def total(self) -> int:
        return self.models + self.caches + self.fuser + self.activations


def model_skeleton(resolved: ResolvedModel, dtype: torch.dtype) -> LoadedModel:
    """A model as `load` loads it, but on the meta device: no weights are read.

    Args:
        resolved: Its folder.
        dtype: What its weights would be loaded in.
    """
    from transformers import AutoConfig
    from transformers import AutoModelForCausalLM
    from transformers import AutoTokenizer

    folder = resolved.path
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return LoadedModel(resolved.identity, model.eval().requires_grad_(False), tokenizer)


def model_bytes(model: PreTrainedModel) -> int:
    """Bytes of a model's weights, those that two of its modules share once."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def step_memory(
    trial: TrialConfig,
    receiver: LoadedModel,
    sharer: LoadedModel,
    rows: Sequence[Row],
    encoded: Sequence[EncodedPrompt],
    *,
    device: torch.device,
) -> StepMemory:
    """Memory of a trial's step on one batch.

    Args:
        trial: The trial.
        receiver: On the meta device; see `model_skeleton`.
        sharer: On the meta device.
        rows: The examples of the batch.
        encoded: Their prompts, as both models read them.
        device: Where the trial would run.
    """
    fuser = cost.skeleton(
        trial.fuser,
        cache_shape(receiver, adapted=trial.fuser.lora_rank > 0),
        cache_shape(sharer),
    )
    run = _run(trial, _pair(receiver, sharer, fuser, trial), rows, encoded)
    places = list(range(len(rows)))
    batch = run._gather(places)
    context = () if batch.context is None else (batch.context.packed,)
    caches = sum(pack.nbytes for pack in (batch.receiver, batch.sharer, *context))
    del batch
    trained = [parameter for parameter in fuser.parameters() if parameter.requires_grad]
    gradients = sum(parameter.nbytes for parameter in trained)
    if trial.training.gradient_accumulation > 1:  # they wait there for the next pass's
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
    with Allocations("meta") as allocations, AttentionOf(device):
        # The engine hands the fuser's own output on.
        loss = run._loss(cast("TrainingEngine", fuser), places)
        penalty = run._penalty()
        (loss if penalty is None else loss + penalty).backward()
    kept = gradients if trial.training.gradient_accumulation > 1 else 0
    # Beside weights and moments: in the backward pass, or after it, when there are all gradients.
    beside = max(allocations.peak + kept, gradients + min(gradients, _REDUCED_AT_ONCE))
    return StepMemory(
        models=model_bytes(receiver.model) + model_bytes(sharer.model),
        caches=caches * (1 if device.type == "cpu" else 2),
        fuser=cost.state_bytes(fuser),
        activations=max(beside - gradients - caches, 0),
    )


def heaviest_batches(trial: TrialConfig, rows: Sequence[Row]) -> list[list[int]]:
    """Of a trial's batches, in its own order, those that may take most memory.

    Prompts weigh by what the fuser is, responses by what the receiver is, so these are the batch
    of the longest prompts, that of the longest responses, and that of most of both; lengths are
    taken in characters.

    Returns:
        Places in ``rows``.
    """
    prompts = [_characters(row["messages"]) + _characters(row["sharer_messages"]) for row in rows]
    responses = [len(row["response"]) for row in rows]
    both = [
        prompt / (sum(prompts) or 1) + response / (sum(responses) or 1)
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    dealt = _dealt(trial, len(rows))
    found: list[list[int]] = []
    for weights in (prompts, responses, both):
        batch = max(dealt, key=lambda batch: sum(weights[row] for row in batch))
        if batch not in found:
            found.append(batch)
    return found


def _characters(messages: Sequence[Message] | None) -> int:
    return sum(len(message["content"]) for message in messages or ())


def _dealt(trial: TrialConfig, total: int) -> list[list[int]]:
    """The batches of a trial, as its own run deals them."""
    dealer = SimpleNamespace(
        config=trial,
        training=trial.training,
        data=SimpleNamespace(train=range(total)),
        _epoch=-1,
        _order=[],
    )
    run = cast("TrainingRun", dealer)
    dealer._epoch_order = lambda epoch: TrainingRun._epoch_order(run, epoch)
    passes = trial.training.steps * trial.training.gradient_accumulation
    return [TrainingRun._rows(run, number) for number in range(passes)]


def _pair(
    receiver: LoadedModel, sharer: LoadedModel, fuser: Fuser, trial: TrialConfig
) -> C2CModel:
    pair = C2CModel(
        receiver,
        sharer,
        None,
        template=trial.data.template,
        cache_dtype=getattr(torch, trial.cache_dtype),
    )
    pair.fuser = fuser
    pair.adaptation = Adaptation.of(fuser, receiver.model)
    if fuser.config.keys == "unrotated":
        ways = [cast("Rotary", _AnyRotary(each.model)) for each in (receiver, sharer)]
        pair.rotaries = Rotaries(*ways)
    return pair


def _run(
    trial: TrialConfig, pair: C2CModel, rows: Sequence[Row], encoded: Sequence[EncodedPrompt]
) -> TrialRun:
    prompts = PairPrompts(
        tuple(encoded),
        _stored(pair.receiver, [len(each.receiver_ids) for each in encoded], pair.cache_dtype),
        _stored(pair.sharer, [len(each.sharer_ids) for each in encoded], pair.cache_dtype),
    )
    data = TrainingData(rows, prompts, validation=(), validation_prompts=prompts)
    return TrialRun(trial, pair, data, Path(), emit=lambda _: None, go_on=lambda: False)


def _stored(loaded: LoadedModel, lengths: Sequence[int], dtype: torch.dtype) -> PromptCaches:
    shape = cache_shape(loaded)
    tokens = sum(lengths)
    shard = torch.empty(tokens, 2, shape.layers, shape.size, dtype=dtype, device="meta")
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    return PromptCaches((shard,), tuple((0, start) for start in starts))


class _AnyRotary:
    """Stands in for a model's `Rotary`, which is found by running the model.

    It is taken to rotate whole heads, in each layer in its own way.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._layers = geometry(model).layers
        self._head_dim = geometry(model).head_dim

    def at(self, positions: torch.Tensor) -> Rotation:
        size = (self._layers, len(positions), self._head_dim)
        cos, sin = torch.empty(size, device="meta"), torch.empty(size, device="meta")
        return Rotation(cos, sin, self._head_dim, interleaved=False)
