"""Rows as both models of a trial read them, where its memory is predicted."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from c2c_search.data.splits import load_splits
from c2c_search.fuser.config import FuserConfig
from c2c_search.training.memory.rows import Rows
from c2c_search.training.memory.rows import encoded_rows
from tests.inference.test_role_templates import CHAT


def test_a_sharer_that_drafts_reads_the_template_of_its_drafts(trial, pipeline, tiny_model):
    receiver, sharer = tiny_model("qwen3", seed=1), tiny_model("gemma3", seed=2)
    tokenizer = deepcopy(sharer.tokenizer)
    tokenizer.chat_template = CHAT
    sharer = replace(sharer, tokenizer=tokenizer)
    splits = load_splits(pipeline.data)
    rows = Rows(splits.train, splits.validation)
    trial = trial.model_copy(
        update={"data": trial.data.model_copy(update={"draft_template": "chat"})}
    )
    drafts = trial.model_copy(
        update={"fuser": FuserConfig(injection="append", message="draft", width=8)}
    )
    plain = encoded_rows(trial, receiver, sharer, rows.validation)
    drafted = encoded_rows(drafts, receiver, sharer, rows.validation)
    assert [one.receiver_ids for one in plain] == [one.receiver_ids for one in drafted]
    assert all(a.sharer_ids != b.sharer_ids for a, b in zip(plain, drafted, strict=True))
    assert rows.questions(trial, receiver, sharer) == plain
    assert rows.questions(drafts, receiver, sharer) == drafted
