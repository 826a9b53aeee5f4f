"""The store of drafts: written once, in any length, whatever interrupts it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.errors import StoreError
from c2c_search.prompt_cache.drafts import DraftStore


BATCHES = [[3, 1], [0, 2, 4]]
ENDS = {0: 2, 1: 9, 2: 6, 3: 1, 4: 30}  # tokens after which the draft of a prompt ends by itself


class Sharer:
    """Drafts the prompt's number over and over, and counts the batches it is asked for."""

    def __init__(self, tokens: int, *, fails_after: int = 99) -> None:
        self.tokens, self.left, self.asked = tokens, fails_after, []

    def __call__(self, rows):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked.append(list(rows))
        return [[row] * min(ENDS[row], self.tokens) for row in rows]


def wanted(tokens):
    return [tuple([row] * min(ENDS[row], tokens)) for row in range(5)]


def test_drafts_come_in_the_prompts_order_and_are_written_once(tmp_path):
    store, sharer, told = DraftStore(tmp_path), Sharer(8), []
    progress = lambda *done: told.append(done)  # noqa: E731
    assert store.get("key", BATCHES, 8, sharer, progress=progress) == wanted(8)
    assert told == [(2, 5), (5, 5)]
    assert DraftStore(tmp_path).get("key", BATCHES, 8, sharer) == wanted(8)
    assert sharer.asked == BATCHES
    assert store.get("other", BATCHES, 8, sharer) == wanted(8)
    assert sharer.asked == BATCHES * 2


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_any_length_follows_from_the_longest(lengths, tmp_path_factory):
    store, longest = DraftStore(tmp_path_factory.mktemp("drafts")), 0
    for tokens in lengths:
        sharer = Sharer(tokens)
        assert store.get("key", BATCHES, tokens, sharer) == wanted(tokens)
        if tokens <= longest or longest > 30:
            assert not sharer.asked
        longest = max(longest, tokens)


def test_a_longer_one_leaves_what_has_ended_by_itself(tmp_path):
    store = DraftStore(tmp_path)
    store.get("key", BATCHES, 10, Sharer(10))
    sharer = Sharer(20)
    assert store.get("key", BATCHES, 20, sharer) == wanted(20)
    assert sharer.asked == [BATCHES[1]]  # both drafts of the other batch had ended


def test_an_interrupted_one_goes_on_behind_its_last_batch(tmp_path):
    store = DraftStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.get("key", BATCHES, 8, Sharer(8, fails_after=1))
    sharer = Sharer(8)
    assert store.get("key", BATCHES, 8, sharer) == wanted(8)
    assert sharer.asked == [BATCHES[1]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2 - 20],
        lambda text: text.replace('"drafts":[[3]', '"drafts":[[4]'),
        lambda text: text.replace('"batch":0', '"batch":7'),
        lambda text: "\x00\xff{" + text[1:],
        lambda text: json.dumps({"batch": 0}),
        lambda text: "",
    ],
    ids=["cut short", "another draft", "another batch", "no JSON", "another line", "nothing"],
)
def test_what_is_damaged_is_written_again(damage, tmp_path):
    store = DraftStore(tmp_path)
    store.get("key", BATCHES, 8, Sharer(8))
    (journal,) = (tmp_path / "key").glob("*.jsonl")
    journal.write_text(damage(journal.read_text()))
    sharer = Sharer(8)
    assert store.get("key", BATCHES, 8, sharer) == wanted(8)
    assert BATCHES[0] in sharer.asked or BATCHES[1] in sharer.asked
    assert DraftStore(tmp_path).get("key", BATCHES, 8, Sharer(8, fails_after=0)) == wanted(8)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "drafts").write_text("a file")
    with pytest.raises(StoreError, match="can be written"):
        DraftStore(tmp_path / "drafts").get("key", BATCHES, 8, Sharer(8))
