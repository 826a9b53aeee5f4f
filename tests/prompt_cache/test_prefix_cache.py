"""What texts begin with is kept once, within its bytes, and what was used last stays longest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.prompt_cache.prefix_cache import PrefixCache


TOKEN = 4  # bytes of an entry


def entries_of(ids):
    return torch.tensor(ids, dtype=torch.float32)


def kept_of(cache, owner, ids):
    return [each for part in cache.entries(owner, ids) for each in part.tolist()]


def put(cache, owner, ids):
    cache.put(owner, ids, entries_of(ids))


def text(document, *tail, tokens=32):
    return (*range(1000 * document, 1000 * document + tokens), *tail)


def test_what_texts_begin_with_is_kept_once():
    cache = PrefixCache()
    put(cache, "a", text(1, 1, 2))
    put(cache, "a", text(1, 3, 4, 5))
    assert cache.bytes == TOKEN * (32 + 2 + 3)
    put(cache, "a", text(1, 1, 2))  # kept already
    put(cache, "a", text(1))
    assert cache.bytes == TOKEN * (32 + 2 + 3)
    put(cache, "a", text(1, 1, 2, 9))  # goes on
    assert cache.bytes == TOKEN * (32 + 3 + 3)
    assert kept_of(cache, "a", text(1, 1, 2, 8)) == [*text(1, 1, 2)]
    assert cache.longest("a", text(1, 7)) == 32
    assert cache.longest("b", text(1, 7)) == 0  # another model's


def test_short_runs_are_not_parted():
    cache = PrefixCache()
    put(cache, "a", (1, 2, 3, 4))
    put(cache, "a", (1, 2, 5))
    assert cache.bytes == TOKEN * 7
    assert kept_of(cache, "a", (1, 2, 5, 6)) == [1, 2, 5]
    put(cache, "a", text(1, 1, tokens=20))
    put(cache, "a", text(1, 2, tokens=20))
    assert cache.bytes == TOKEN * (7 + 16 + 5 + 5)
    assert cache.longest("a", text(1, 2, tokens=20)) == 21


def test_what_was_used_longest_ago_goes_first_and_beginnings_last():
    cache = PrefixCache(most_bytes=TOKEN * 40)
    put(cache, "a", text(1, 1, 2))
    put(cache, "a", text(1, 3, 4))
    put(cache, "b", (5, 6, 7))
    assert cache.longest("a", text(1, 1, 2)) == 34
    cache.entries("a", text(1, 1, 2))
    put(cache, "b", (8, 9))
    assert cache.longest("a", text(1, 3, 4)) == 32  # what is behind went, which nobody used
    assert [cache.longest("b", each) for each in ((5, 6, 7), (8, 9))] == [3, 2]
    assert cache.bytes == TOKEN * (34 + 3 + 2)
    put(cache, "b", text(2))
    assert cache.longest("a", text(1, 1, 2)) == 0
    assert cache.bytes == TOKEN * (32 + 2)


def test_what_has_no_room_is_not_kept_and_takes_no_room():
    cache = PrefixCache(most_bytes=TOKEN * 10)
    put(cache, "a", (1, 2))
    put(cache, "a", text(1))
    assert (cache.longest("a", (1, 2)), cache.longest("a", text(1))) == (2, 0)
    none = PrefixCache(most_bytes=0)
    put(none, "a", (1,))
    assert (none.bytes, kept_of(none, "a", (1,))) == (0, [])


def test_a_view_of_something_larger_is_not_kept_by_it():
    cache = PrefixCache()
    batch = torch.zeros(100)
    cache.put("a", (1, 2), batch[:2])
    (part,) = cache.entries("a", (1, 2))
    assert part.untyped_storage().nbytes() == 2 * TOKEN == cache.bytes


def test_notes_go_with_the_text():
    cache = PrefixCache(most_bytes=TOKEN * 40)
    cache.note("a", text(1), "draft", "nothing to note it with")
    put(cache, "a", text(1, 1, 2))
    for ids, note in ((text(1, tokens=16), "short"), (text(1), "mid"), (text(1, 1, 2), "long")):
        cache.note("a", ids, "draft", note)
    put(cache, "a", text(1, 3))  # parts it
    put(cache, "a", (*text(1, tokens=16), 4))
    assert cache.noted("a", text(1, tokens=16), "draft") == "short"
    assert cache.noted("a", text(1), "draft") == "mid"
    assert cache.noted("a", text(1, 1, 2), "draft") == "long"
    assert cache.noted("a", text(1, 1, 2), "other") is None
    assert cache.noted("a", text(1, 3), "draft") is None
    put(cache, "a", text(2))
    assert cache.noted("a", text(1, 1, 2), "draft") is None


texts = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 70), st.lists(st.integers(1, 3))))


@given(given=texts, most=st.integers(0, 300))
def test_whatever_comes_what_is_kept_is_right_and_counted(given, most):
    cache = PrefixCache(most_bytes=TOKEN * most)
    for document, count, tail in given:
        ids = text(document, *tail, tokens=count)
        before = cache.longest("a", ids)
        assert kept_of(cache, "a", ids) == [*ids[:before]]
        put(cache, "a", ids)
        assert cache.bytes <= cache.most_bytes
        nodes = [*cache._used]
        assert cache.bytes == sum(node.entries.untyped_storage().nbytes() for node in nodes)
        assert sum(len(node.ids) for node in nodes) * TOKEN == cache.bytes
        assert all(node.parent is cache._roots["a"] or node.parent in nodes for node in nodes)


def test_several_threads_may_use_it():
    cache = PrefixCache(most_bytes=TOKEN * 200)

    def use(number):
        for turn in range(50):
            ids = text(number % 3, number, turn)
            put(cache, "a", ids)
            found = kept_of(cache, "a", ids)
            assert found == [*ids[: len(found)]]

    with ThreadPoolExecutor(8) as pool:
        [*pool.map(use, range(8))]
    assert cache.bytes <= cache.most_bytes
