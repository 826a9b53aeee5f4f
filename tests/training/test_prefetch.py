"""Gathering ahead changes when a batch is made, never which."""

from __future__ import annotations

import threading

import pytest

from c2c_search.training.prefetch import Prefetcher


ROWS = [[1, 2], [3, 4], [1, 2], [5, 6]]


def test_the_same_batches_with_and_without_a_thread():
    for background in (True, False):
        with Prefetcher(tuple, background=background) as prefetcher:
            taken = [
                prefetcher.take(rows, then)
                for rows, then in zip(ROWS, [*ROWS[1:], None], strict=True)
            ]
        assert taken == [tuple(rows) for rows in ROWS]


@pytest.mark.parametrize("background", [True, False])
def test_the_next_batch_is_gathered_by_a_thread(background):
    threads = []

    def gather(rows):
        threads.append(threading.current_thread() is threading.main_thread())
        return rows

    with Prefetcher(gather, background=background) as prefetcher:
        prefetcher.take([1], [2])
        prefetcher.take([2], None)
    assert threads == [True, not background]


def test_other_rows_than_announced_are_gathered_now():
    with Prefetcher(tuple, background=True) as prefetcher:
        prefetcher.take([1], [2])
        assert prefetcher.take([3], None) == (3,)


def test_an_error_comes_with_the_batch_it_belongs_to():
    def gather(rows):
        return 1 // rows[0]

    with Prefetcher(gather, background=True) as prefetcher:
        assert prefetcher.take([1], [0]) == 1
        with pytest.raises(ZeroDivisionError):
            prefetcher.take([0], None)
