"""Questions as a pair reads them: once, in batches that fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from c2c_search.evaluation.systems.prompts import OPTION_TOKENS
from c2c_search.evaluation.systems.prompts import PROMPT_TOKENS
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.evaluation.systems.prompts import batches
from c2c_search.fuser.config import FuserConfig
from c2c_search.prompt_cache.caches import PromptCaches


def test_each_models_caches_are_computed_once(pair, questions):
    asked = []

    def caches(loaded, ids, source):
        asked.append((loaded.identity.source, source))
        return PromptCaches.compute(loaded.model, ids, pair.cache_dtype, source=source)

    prompts = QuestionPrompts(pair, questions, caches=caches)
    first = prompts.read()
    assert prompts.read(FuserConfig(width=8)) is first
    # One token a byte for both: "first" makes the sharer read the same tokens.
    assert prompts.read(FuserConfig(token_alignment="first")).receiver is first.receiver
    receiver, sharer = pair.receiver.identity.source, pair.sharer.identity.source
    assert asked == [(receiver, "kv"), (sharer, "kv")]
    hidden = prompts.read(FuserConfig(source="hidden"))
    assert hidden.receiver is first.receiver
    own = prompts.read(FuserConfig(source="hidden", sharer="self"))
    assert own.receiver is first.receiver
    assert own.encoded == tuple(prompt.of_receiver() for prompt in first.encoded)
    assert asked[2:] == [(sharer, "hidden"), (receiver, "hidden")]


def test_long_prompts_get_smaller_batches():
    half = PROMPT_TOKENS // 2
    lengths = [half, 10, half, 20, half + 1]
    # 10 + 20 + half fit, another half does not, nor do half and half + 1.
    assert list(batches(lengths, [()] * 5, 32)) == [[1, 3, 0], [2], [4]]


def test_long_options_get_smaller_batches():
    long = ["x" * 3 * OPTION_TOKENS]
    assert list(batches([5, 5, 5], [["a"], long, ["b"]], 32)) == [[0], [1], [2]]


@given(st.lists(st.integers(1, 3000), max_size=40), st.integers(1, 8))
def test_every_prompt_is_in_one_batch_that_is_not_too_large(lengths, batch_size):
    passes = list(batches(lengths, [["a", "b"]] * len(lengths), batch_size))
    assert sorted(row for batch in passes for row in batch) == list(range(len(lengths)))
    for batch in passes:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or sum(lengths[row] for row in batch) <= PROMPT_TOKENS
