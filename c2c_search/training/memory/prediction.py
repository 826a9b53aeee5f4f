"""What a trial takes in memory, from configurations alone.

Its step itself runs, as `FuserTraining` runs it: the batch is gathered and fused, the receiver
reads the responses, the loss goes back; so do its calibration and a pass of its validation. They
run on tensors without content: there are no weights, no arithmetic, and no second formula that
could disagree with them.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import cast

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from c2c_search.fuser import cost
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.fusion import Rotaries
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.lora import Adaptation
from c2c_search.inference.model import C2CModel
from c2c_search.inference.queries import Queries
from c2c_search.inference.scoring import option_likelihoods
from c2c_search.models.loading import LoadedModel
from c2c_search.tokenization.continuations import response_ids
from c2c_search.training.calibration import PROMPTS
from c2c_search.training.calibration import calibrate
from c2c_search.training.fuser_training import FuserTraining
from c2c_search.training.harm_guard import GuardedRows
from c2c_search.training.harm_guard import other_rows
from c2c_search.training.loop import TrainingData
from c2c_search.training.memory.allocations import Allocations
from c2c_search.training.memory.heaviest import heaviest_passes
from c2c_search.training.memory.heaviest import heaviest_steps
from c2c_search.training.memory.heaviest import longest_prompts
from c2c_search.training.memory.rows import Rows
from c2c_search.training.memory.rows import encoded_rows
from c2c_search.training.memory.stand_ins import RotaryWithoutContent
from c2c_search.training.memory.stand_ins import prompts_without_content
from c2c_search.training.memory.trial_memory import TrialMemory


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row
    from c2c_search.models.identity import ResolvedModel
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.prompt_cache.rope import Rotary
    from c2c_search.tokenization.token_alignment import EncodedPrompt
    from c2c_search.training.engine import TrainingEngine


# Once a step DeepSpeed copies the gradients, so many bytes at a time, to reduce them over ranks.
_REDUCED_AT_ONCE = 4 * 500_000_000


class Rehearsal:
    """Runs steps of trials on tensors that have a shape, a dtype and a device, but no content.

    Torch chooses as it would choose with content, attention kernels for example, and every
    operation costs the time that it takes to write down its result's shape.

    Args:
        device: Where the trials would run.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # What is made outside, e.g. token ids, is as small as in a real step.
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    @contextmanager
    def without_content(self) -> Iterator[None]:
        """Tensors made within the block have no content."""
        with self._mode, torch.device(self.device):
            yield

    def model(self, resolved: ResolvedModel, dtype: torch.dtype) -> LoadedModel:
        """A model as `load` loads it, but for its weights, which are not read.

        Args:
            resolved: Its folder.
            dtype: What its weights would be loaded in.
        """
        from transformers import AutoConfig
        from transformers import AutoModelForCausalLM
        from transformers import AutoTokenizer

        local = {"local_files_only": True, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(resolved.path, **local)
        tokenizer = AutoTokenizer.from_pretrained(resolved.path, **local)
        with self.without_content():
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        return LoadedModel(resolved.identity, model.eval().requires_grad_(False), tokenizer)

    def trial(
        self,
        trial: TrialConfig,
        receiver: LoadedModel,
        sharer: LoadedModel,
        data: Rows,
        *,
        together: int = 1,
    ) -> TrialMemory:
        """Memory of a trial at its peak: of calibration, its heaviest step, or validation.

        Args:
            trial: The trial.
            receiver: Made by `model`.
            sharer: Made by `model`.
            data: What it is trained and validated on.
            together: So many trials train in lockstep. The others are taken to be as large, and
                to hold what a step of theirs takes while one of them is validated.
        """
        models = (receiver, sharer)
        steps = []
        others: list[Row] = []
        if trial.training.guard is not None:
            count = other_rows(trial.training.batch_size)
            others = [data.guard[row] for row in longest_prompts(data.guard, count)]
        heavy = heaviest_steps(trial, data.train, data.texts, receiver.text_tokenizer)
        for alone, batch in heavy:
            encoded = encoded_rows(alone, *models, batch)
            steps.append(self.step(alone, *models, batch, encoded, others))
        heaviest = max(steps, key=lambda step: step.total)
        beside = (together - 1) * (heaviest.caches + heaviest.activations)
        peak = heaviest.in_lockstep(together)
        questions = data.questions(trial, *models)
        for indices in heaviest_passes(trial, data.validation, questions):
            rows = [data.validation[row] for row in indices]
            encoded = [questions[row] for row in indices]
            taken = self.validation(trial, *models, rows, encoded)
            peak = peak.with_validation(beside + taken)
        if not trial.fuser.calibrates:
            return peak
        shown = [data.train[row] for row in longest_prompts(data.train, PROMPTS)]
        taken = self.calibration(trial, *models, shown, encoded_rows(trial, *models, shown))
        return peak.with_calibration(taken)

    def step(
        self,
        trial: TrialConfig,
        receiver: LoadedModel,
        sharer: LoadedModel,
        rows: Sequence[Row],
        encoded: Sequence[EncodedPrompt],
        others: Sequence[Row] = (),
    ) -> TrialMemory:
        """Memory of a trial's step on one batch; a fuser that is only fitted makes none.

        Args:
            trial: The trial.
            receiver: Made by `model`.
            sharer: Made by `model`.
            rows: The examples of the batch.
            encoded: Their prompts, as both models read them.
            others: Rows of other tasks that a step guards.
        """
        run = self._run(trial, receiver, sharer, rows, encoded, others)
        batch = list(range(len(rows)))
        caches = _pack_bytes(run._gather(batch))
        memory = TrialMemory(
            models=model_bytes(receiver.model) + model_bytes(sharer.model),
            caches=caches * (1 if self.device.type == "cpu" else 2),
            fuser=cost.state_bytes(run.fuser),
            activations=0,
        )
        if not run.fuser.trainable:
            return memory
        trained = [each for each in run.fuser.parameters() if each.requires_grad]
        gradients = sum(parameter.nbytes for parameter in trained)
        waiting = 0
        if trial.training.gradient_accumulation > 1:  # they wait there for the next pass's
            waiting = gradients
            for parameter in trained:
                parameter.grad = torch.empty_like(parameter)
        peak = 0
        for more in _guarded(run, batch, len(others)):
            with Allocations(self.device.type) as allocations:
                # The engine hands the fuser's own output on.
                loss = run._request(cast("TrainingEngine", run.fuser), batch).loss()
                penalty = run._penalty()
                if (guarded := more()) is not None:
                    loss = loss + guarded
                (loss if penalty is None else loss + penalty).backward()
            peak = max(peak, allocations.peak)
            if not waiting:
                run.fuser.zero_grad()
        # Beside weights and moments: in the backward pass, or after it, with all gradients.
        reduced = gradients + min(gradients, _REDUCED_AT_ONCE)
        beside = max(peak + waiting, reduced)
        return replace(memory, activations=max(beside - gradients - caches, 0))

    def validation(
        self,
        trial: TrialConfig,
        receiver: LoadedModel,
        sharer: LoadedModel,
        rows: Sequence[Row],
        encoded: Sequence[EncodedPrompt],
    ) -> int:
        """Bytes beside models and fuser while questions are answered in one pass.

        Args:
            trial: The trial.
            receiver: Made by `model`.
            sharer: Made by `model`.
            rows: The questions.
            encoded: Their prompts, as both models read them.
        """
        run = self._run(trial, receiver, sharer, rows, encoded)
        run.fuser.eval()
        with torch.no_grad(), Allocations(self.device.type) as allocations:
            model = run.model
            batch = model.batch(run.data.validation_prompts)
            # `C2CModel.score`, but for its look at the numbers.
            options = [row["choices"] for row in rows]
            tokenizer = receiver.text_tokenizer
            tokens = response_ids(batch.texts, options, model.receiver_template, tokenizer)
            option_likelihoods(receiver.model, model.fuse(batch), batch.last_ids, tokens)
        return allocations.peak

    def calibration(
        self,
        trial: TrialConfig,
        receiver: LoadedModel,
        sharer: LoadedModel,
        rows: Sequence[Row],
        encoded: Sequence[EncodedPrompt],
    ) -> int:
        """Bytes beside the models, the fuser's weights among them, while it is calibrated.

        Without what numbers must decide (which layers are fused, and by which they are fed).

        Args:
            trial: The trial.
            receiver: Made by `model`.
            sharer: Made by `model`.
            rows: Examples.
            encoded: Their prompts, as both models read them.
        """
        fuser = trial.fuser
        similar = fuser.aligned.measured
        decided = {
            "ridge_weighting": "none",
            "layers": "last" if fuser.scores_layers else fuser.layers,
            "layer_alignment": "terminal" if similar else fuser.layer_alignment,
        }
        shown = fuser.without_anchors().model_copy(update=decided)
        trial = trial.model_copy(update={"fuser": shown})
        run = self._run(trial, receiver, sharer, rows, encoded)
        with Allocations(self.device.type) as allocations:
            calibrate(run.model, run.data.train_prompts, trial.seed)
        return cost.tensor_bytes(run.fuser) + allocations.peak

    def _run(
        self,
        trial: TrialConfig,
        receiver: LoadedModel,
        sharer: LoadedModel,
        rows: Sequence[Row],
        encoded: Sequence[EncodedPrompt],
        others: Sequence[Row] = (),
    ) -> FuserTraining:
        config, dtype = trial.fuser, getattr(torch, trial.cache_dtype)
        theirs = cache_shape(sharer, source=config.source)
        shapes = cache_shape(receiver, adapted=config.lora_rank > 0), theirs
        # As many bytes as float16, and nobody looks whether a number is too large for it.
        kept = torch.bfloat16 if dtype == torch.float16 else dtype
        pair = C2CModel(receiver, sharer, None, template=trial.data.template, cache_dtype=kept)
        with self.without_content():
            pair.fuser = Fuser(config, *shapes)
            drafted = config.draft_tokens if config.drafts else 0
            words = config.anchor_tokens + 1 if config.anchored else 0  # and the line's end
            prompts = prompts_without_content(
                encoded, shapes, dtype, config.source, drafted, words
            )
            guarded = None
            if others:
                guarded = prompts_without_content(
                    encoded_rows(trial, receiver, sharer, others),
                    shapes,
                    dtype,
                    config.source,
                    drafted,
                    words,
                )
        pair.adaptation = Adaptation.of(pair.fuser, receiver.model)
        if config.adds_memory:
            pair.queries = Queries(receiver.model)  # there are no numbers to prove them by

        def rotary(model: PreTrainedModel) -> Rotary:
            return cast("Rotary", RotaryWithoutContent(model, self.without_content))

        pair.rotaries = Rotaries.between(config, receiver.model, sharer.model, of=rotary)
        data = TrainingData(rows, prompts, (), prompts, others, guarded)
        return FuserTraining(trial, pair, data, Path(), emit=lambda _: None, go_on=lambda: False)


def model_bytes(model: PreTrainedModel) -> int:
    """Bytes of a model's weights; those that two of its modules share count once."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def _pack_bytes(batch: PairBatch) -> int:
    context = () if batch.context is None else (batch.context.packed,)
    return sum(pack.nbytes for pack in (batch.receiver, batch.sharer, *context))


def _guarded(
    run: FuserTraining, batch: Sequence[int], others: int
) -> Iterator[Callable[[], torch.Tensor | None]]:
    """What a step may add to its own batch, each at another time: nothing without a guard."""
    guard = run.guard
    if guard is None or run.kind == "reconstruction":
        yield lambda: None
        return
    engine = cast("TrainingEngine", run.fuser)

    def taken(found: GuardedRows | None) -> torch.Tensor | None:
        if found is None:
            return None
        if run.config.fuser.anchored:  # the receiver alone reads its prompts anew, without them
            guard.alone(found).loss()
        asked = [guard.request(engine, found)]
        del found
        return asked.pop().loss()

    yield lambda: taken(guard.deranged(batch))
    if others:
        yield lambda: taken(guard.other(range(others), batch))
