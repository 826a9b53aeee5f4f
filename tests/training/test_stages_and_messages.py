"""Stages of fusers that hear drafts, layers' outputs or tokens of another alignment."""

from __future__ import annotations

import pytest
import torch

from c2c_search.config.training import TrainingConfig
from c2c_search.data.reconstruction import INSTRUCTION
from c2c_search.fuser.config import FuserConfig


STAGES = "reconstruction 2 tokens=12 -> answer 2 replay=0.5 -> task 2 replay=0.5"
SIDE = {"injection": "side", "projector": "linear"}
DRAFT = {"draft_tokens": 5}
FUSERS = {
    "hidden": {**SIDE, "source": "hidden"},
    "draft": {**SIDE, **DRAFT, "message": "draft"},
    "slots of both, hidden, read by all": {
        **SIDE,
        **DRAFT,
        "message": "both",
        "source": "hidden",
        "slots": 3,
        "reads_from": "all",
    },
    "first": {"injection": "append", "projector": "linear", "token_alignment": "first"},
    "of itself": {**SIDE, **DRAFT, "message": "both", "sharer": "self"},
}


@pytest.fixture
def staged(service, trial):
    """Makes a trial in stages, and the service that trains it."""

    def make(fields, sees="half"):
        training = trial.training.model_dump(exclude={"steps"})
        training |= {"stages": STAGES, "receiver_sees": sees, "log_every": 1}
        update = {
            "training": TrainingConfig.model_validate(training),
            "fuser": FuserConfig(initialisation="random", **fields),
        }
        return trial.model_copy(update=update)

    return make


@pytest.mark.parametrize("fields", FUSERS.values(), ids=FUSERS)
def test_what_is_added_to_the_train_split_is_heard_as_the_split_is(
    fields, service, staged, tmp_path
):
    run = service.trial(staged(fields), tmp_path / "trial", lambda: True)
    data, model, split = run.data, run.model, len(service._rows["train"])
    added = list(range(split, len(data.train), 5))
    # There is nothing to be written from a message where nobody is heard.
    assert bool(added) is (model.fuser.config.sharer != "self")
    if added:
        rows = [data.train[row] for row in added]
        fresh = model.prompts(
            [row["messages"] for row in rows], [row["sharer_messages"] for row in rows]
        )
        assert fresh.encoded == tuple(data.train_prompts.encoded[row] for row in added)
        stored, own = model.batch(data.train_prompts, added), model.batch(fresh)
        torch.testing.assert_close(stored.sharer, own.sharer, atol=1e-2, rtol=1e-2)
        drafted = {prompt.drafted > 0 for prompt in data.train_prompts.encoded}
        assert drafted == {model.fuser.config.drafts}
    run.run()


@pytest.mark.parametrize("message", ["draft", "both"])
def test_what_is_reconstructed_is_what_the_message_says(message, service, staged, tmp_path):
    fields = {**SIDE, **DRAFT, "message": message}
    run = service.trial(staged(fields), tmp_path / "trial", lambda: True)
    tokenizer = run.model.sharer.text_tokenizer
    for number in run.course.lessons[0].rows:
        row, prompt = run.data.train[number], run.data.train_prompts.encoded[number]
        assert INSTRUCTION in prompt.receiver_text.text
        draft = tokenizer.decode(prompt.draft, skip_special_tokens=True).strip()
        text = row["sharer_messages"][-1]["content"]
        assert row["response"] == (draft if message == "draft" else text)
