"""Groups side by side: the order of results, errors where they belong, and threads that end."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbvc_jax.lanes import AHEAD, in_lanes


def threads():
    return [t for t in threading.enumerate() if t is not threading.main_thread() and t.name.startswith("Thread-")]


@given(st.lists(st.booleans(), max_size=100), st.integers(1, 5))
def test_results_are_in_order_and_groups_stay_together(starts, count):
    seen = [[] for _ in range(count)]

    def lane(k):
        def work(item):
            seen[k].append(item)
            return item

        return work

    items = list(enumerate(starts))
    assert list(in_lanes(items, lambda item: item[1], [lane(k) for k in range(count)])) == items
    groups = [0, *itertools.accumulate(start for _, start in items[1:])]
    for k, own in enumerate(seen):
        assert own == [item for item, group in zip(items, groups, strict=False) if group % count == k]


def test_groups_are_worked_on_at_once():
    both = threading.Barrier(2, timeout=30)
    assert list(in_lanes(range(2), lambda _: True, [lambda _: both.wait(), lambda _: both.wait()])) in ([0, 1], [1, 0])


def test_a_long_group_is_not_read_ahead_without_end():
    read = []

    def items():
        for i in range(100 * AHEAD):
            read.append(i)
            yield i

    results = in_lanes(items(), lambda i: i % 1000 == 0, [lambda i: i] * 2)
    assert next(results) == 0
    time.sleep(0.3)
    assert len(read) <= 2 * AHEAD + 4
    results.close()
    assert not threads()


def test_an_error_comes_after_the_results_before_it():
    def items():
        yield from range(5)
        raise OSError("damaged")

    for lanes in (1, 3):
        results = in_lanes(items(), lambda i: i % 2 == 0, [lambda i: i] * lanes)
        assert list(itertools.islice(results, 5)) == list(range(5))
        with pytest.raises(OSError, match="damaged"):
            next(results)

    def fails(i):
        if i == 3:
            raise ValueError("three")
        return i

    results = in_lanes(range(100), lambda i: i % 2 == 0, [fails] * 2)
    assert list(itertools.islice(results, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert not threads()


def test_items_that_never_come_hold_nobody_up():
    never = threading.Event()

    def items():
        yield 0
        never.wait()

    results = in_lanes(items(), lambda _: True, [lambda i: i] * 2)
    assert next(results) == 0
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 10
    never.set()
