"""What is kept stays within its bytes, and what was used last stays longest."""

from __future__ import annotations

from c2c_search.prompt_cache.recent import RecentlyRead


def test_what_was_used_longest_ago_goes_first():
    recent = RecentlyRead(most_bytes=10)
    recent.put("a", 1, "one", 4)
    recent.put("b", 1, "two", 4)
    assert recent.get("a", 1) == "one"
    recent.put("a", 2, "three", 4)
    assert recent.get("b", 1) is None
    assert recent.of("a") == [(2, "three"), (1, "one")]
    assert recent.of("b") == []
    assert recent.bytes == 8


def test_what_has_no_room_is_not_kept_and_takes_no_room():
    recent = RecentlyRead(most_bytes=10)
    recent.put("a", 1, "one", 4)
    recent.put("a", 2, "large", 11)
    assert recent.of("a") == [(1, "one")]
    recent.put("a", 1, "anew", 6)
    recent.drop("a", "none")
    assert (recent.of("a"), recent.bytes) == ([(1, "anew")], 6)
    recent.drop("a", 1)
    assert (recent.of("a"), recent.bytes) == ([], 0)
