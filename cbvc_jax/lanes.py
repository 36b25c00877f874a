"""Groups of a sequence worked on side by side, results in order: what GOPs allow, which need nothing of each other.

    items --feed--> group 0 --> lane 0 --+
                    group 1 --> lane 1 --+--> results, in the order of the items
                    group 2 --> lane 0 --+

Each lane is a thread with its own function, such as a decoder's; between the threads no more than `AHEAD` items and
results of a lane wait, however long a group is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

AHEAD = 32
"""Items and results of one lane that may wait: as many as a GOP usually has."""
POLL_S = 0.05
PATIENCE_S = 1.0

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class _Value:
    value: Any


class _EndOfGroup:
    pass


@dataclasses.dataclass(frozen=True)
class _End:
    error: Exception | None = None


def in_lanes(
    items: Iterable[Item], starts: Callable[[Item], bool], lanes: Sequence[Callable[[Item], Result]]
) -> Iterator[Result]:
    """Results of all items in their order; each group of items goes through one lane, groups take turns.

    An error of `items` or of a lane is raised where its result would be, after all results before it. When the
    iterator is closed, lanes end with the item that they are at, and the reading of items, too, unless it waits: for a
    pipe, say.

    Args:
      items: read ahead, in a thread.
      starts: whether an item is the first of a group.
      lanes: what makes a result of an item. Each is called from one thread only, with whole groups.
    """
    shared = _Lanes(items, starts, lanes)
    reading = threading.Thread(target=shared.feed, daemon=True)
    working = [threading.Thread(target=shared.work, args=(lane,), daemon=True) for lane in range(len(lanes))]
    for thread in (reading, *working):
        thread.start()
    try:
        yield from shared.results()
    finally:
        shared.stopped.set()
        for thread in working:
            thread.join()
        reading.join(PATIENCE_S)


class _Stopped(Exception):
    """Nobody wants results any more."""


class _Lanes:
    """What the threads share: a queue into each lane and one out of it."""

    def __init__(self, items: Iterable[Any], starts: Callable[[Any], bool], lanes: Sequence[Callable[[Any], Any]]):
        self.items, self.starts, self.lanes = items, starts, lanes
        self.inputs, self.outputs = ([queue.Queue(AHEAD) for _ in lanes] for _ in range(2))
        self.stopped = threading.Event()

    def feed(self) -> None:
        """Items into the lanes; an error of theirs after them."""
        lane, fed = 0, False
        with contextlib.suppress(_Stopped):
            try:
                for item in self.items:
                    if fed and self.starts(item):
                        self._put(self.inputs[lane], _EndOfGroup())
                        lane = (lane + 1) % len(self.lanes)
                    self._put(self.inputs[lane], _Value(item))
                    fed = True
                self._put(self.inputs[lane], _End())
            except Exception as error:
                self._put(self.inputs[lane], _End(error))

    def work(self, lane: int) -> None:
        """Results of one lane, until it fails or nobody wants them."""
        with contextlib.suppress(_Stopped):
            try:
                while True:
                    got = self._get(self.inputs[lane])
                    if isinstance(got, _Value):
                        got = _Value(self.lanes[lane](got.value))
                    self._put(self.outputs[lane], got)
            except Exception as error:
                self._put(self.outputs[lane], _End(error))

    def results(self) -> Iterator[Any]:
        """Results in the order of the items."""
        lane = 0
        while True:
            got = self._get(self.outputs[lane])
            if isinstance(got, _EndOfGroup):
                lane = (lane + 1) % len(self.lanes)
            elif isinstance(got, _Value):
                yield got.value
            else:
                if got.error is not None:
                    raise got.error
                return

    def _put(self, where: queue.Queue, value: Any) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(queue.Full):
                return where.put(value, timeout=POLL_S)
        raise _Stopped

    def _get(self, where: queue.Queue) -> Any:
        while not self.stopped.is_set():
            with contextlib.suppress(queue.Empty):
                return where.get(timeout=POLL_S)
        raise _Stopped
