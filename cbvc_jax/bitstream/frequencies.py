"""Frequencies of indices, learned frame by frame from counts (FORMAT.md, "Counts" and "Stages"). Integers only."""

from __future__ import annotations

import functools
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from cbvc_jax.bitstream import rans
from cbvc_jax.bitstream.skipping import Skip
from cbvc_jax.errors import BitstreamError
from cbvc_jax.geometry import FOLLOWS, GROUPS, LEADERS

_LEFT_SIZE = 16
"""Largest codebook with the index on the left as a context."""
_PREVIOUS_SIZE = 64
"""Largest codebook with the previous frame's index as a context."""
_HITS_INITIAL = np.array([[15, 1]] * GROUPS, np.int64)
_WAYS_INITIAL = {len(counts): np.array([counts] * GROUPS, np.int64) for counts in ((3, 1), (2, 1, 1), (2, 1, 1, 1))}
_LEAST_WEIGHT = 32
_PRECISION = 30
_AGE_SHIFT = 4

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Chances(NamedTuple):
    """How likely each index of a stage is in the next frame, out of 2**16, as far as is known before its neighbours.

    Attributes:
      indices: [groups, rows, columns, K] of a codebook of up to 64, [groups, K] of a larger one, which tell of those
        indices only that are not the previous frame's.
      hits: [groups, rows, columns], that the index is the previous frame's. None: it is coded like any other.
      previous: the previous frame's indices, where there are hits.
    """

    indices: Integers
    hits: Integers | None = None
    previous: Integers | None = None


class FrameChances(NamedTuple):
    """How likely what a frame may say is, out of 2**16.

    Attributes:
      stages: indices of each stage.
      blocks: [rows, columns, ways], what becomes of a block of 16x16 pixels, as far as it may. None where none is
        skipped.
    """

    stages: list[Chances]
    blocks: Integers | None


class StageModel:
    """One stage of one rate. Indices of a larger codebook are coded in two passes: where the index is that of the
    previous frame (a hit), and the others. `sent` [groups, rows, columns] tells what is coded at all; None: all."""

    def __init__(self, size: int):
        levels = 3 if size <= _LEFT_SIZE else 2 if size <= _PREVIOUS_SIZE else 1
        self._indices = _Counts(size, levels)
        self._hits = _Counts(2, 3) if levels == 1 else None
        self._previous_hits: Integers | None = None

    def encode(
        self, indices: Integers, previous: Integers | None, initial: Integers | None, sent: Flags | None = None
    ) -> tuple[Integers, ...]:
        """(cumulative frequencies below, frequencies) of the symbols that say `indices` [groups, rows, columns]."""
        places = places_of(indices.shape, sent)
        if self._hits is None or previous is None:
            return self._indices.encode(places.take(indices), places, places.take(previous), initial)
        hits = (indices == previous).astype(np.int64)
        missed = places.where(hits == 0)
        passes = (
            self._hits.encode(places.take(hits), places, places.take(self._previous_hits), _HITS_INITIAL),
            self._indices.encode(missed.take(indices), missed, None, initial),
        )
        return tuple(np.concatenate(parts) for parts in zip(*passes, strict=True))

    def decode(
        self,
        decoder: rans.Decoder,
        shape: tuple[int, int, int],
        previous: Integers | None,
        initial: Integers | None,
        sent: Flags | None = None,
    ) -> Integers:
        """Indices [groups, rows, columns] of the given shape; where none is sent, the previous frame's, or 0."""
        places = places_of(shape, sent)
        indices = np.zeros(shape, np.int64) if previous is None else previous.copy()
        if self._hits is None or previous is None:
            places.put(indices, self._indices.decode(decoder, places, places.take(previous), initial))
            return indices
        hits = np.ones(shape, np.int64)
        places.put(hits, self._hits.decode(decoder, places, places.take(self._previous_hits), _HITS_INITIAL))
        missed = places.where(hits == 0)
        found = self._indices.decode(decoder, missed, None, initial)
        if (found == missed.take(previous)).any():
            raise BitstreamError("a coded payload says of an index that it is and is not the previous", decoder.offset)
        missed.put(indices, found)
        return indices

    def chances(self, shape: tuple[int, int, int], previous: Integers | None, initial: Integers | None) -> Chances:
        """Of the next frame's indices. Where a context needs the index on the left, the previous frame's stands in."""
        places = places_of(shape, None)
        if self._hits is None:
            flat = places.take(previous)
            return Chances(self._indices.frequencies(places, flat, flat, initial).reshape(*shape, -1))
        indices = np.diff(self._indices.tables(initial), axis=1)
        if previous is None:
            return Chances(indices)
        last = places.take(self._previous_hits)
        hits = self._hits.frequencies(places, last, last, _HITS_INITIAL)[:, 1]
        return Chances(indices, hits.reshape(shape), previous)

    def update(self, indices: Integers, previous: Integers | None, sent: Flags | None = None) -> None:
        """_Counts a frame."""
        places = places_of(indices.shape, sent)
        if self._hits is None:
            self._indices.update(places.take(indices), places, places.take(previous))
        elif previous is None:
            self._indices.update(places.take(indices), places, None)
            self._previous_hits = None
        else:
            hits = (indices == previous).astype(np.int64)
            missed = places.where(hits == 0)
            self._hits.update(places.take(hits), places, places.take(self._previous_hits))
            self._indices.update(missed.take(indices), missed, None)
            self._previous_hits = hits


class SkipModel:
    """What becomes of each block, in the context of the frame before and of the block on the left; then, of those that
    follow one displacement, which one, in the context of the frame before.

    Args:
      ways: what may become of one, in all.
    """

    def __init__(self, ways: int) -> None:
        self._initial = _WAYS_INITIAL[min(ways, 1 + FOLLOWS)]
        self._counts = _Counts(self._initial.shape[1], 3)
        self._leaders = _Counts(LEADERS, 2) if ways > FOLLOWS else None
        self._previous: Integers | None = None

    def encode(self, skip: Skip) -> tuple[Integers, ...]:
        """(cumulative frequencies below, frequencies) of the symbols that say `skip` [rows, columns]."""
        ways, places = skip[None].astype(np.int64), places_of((1, *skip.shape), None)
        passes = [self._counts.encode(_flat_ways(ways), places, _flat_ways(self._previous), self._initial)]
        if self._leaders is not None:
            following = _following(skip)
            passes.append(self._leaders.encode(following.take(ways) - FOLLOWS, following, self._led(following), None))
        return tuple(np.concatenate(parts) for parts in zip(*passes, strict=True))

    def decode(self, decoder: rans.Decoder, shape: tuple[int, int]) -> Skip:
        """The blocks [rows, columns] of the given shape."""
        places = places_of((1, *shape), None)
        skip = self._counts.decode(decoder, places, _flat_ways(self._previous), self._initial).reshape(1, *shape)
        if self._leaders is not None:
            following = _following(skip[0])
            leaders = self._leaders.decode(decoder, following, self._led(following), None)
            following.put(skip, FOLLOWS + leaders)
        return skip[0].astype(np.uint8)

    def chances(self, shape: tuple[int, int]) -> Integers:
        """How likely each way is in the next frame, out of 2**16, [rows, columns, ways]. The previous frame's stands in
        for the one on the left."""
        places, previous = places_of((1, *shape), None), _flat_ways(self._previous)
        found = self._counts.frequencies(places, previous, previous, self._initial)
        if self._leaders is not None:
            leaders = self._leaders.frequencies(places, self._led(places), None, None)
            of_leaders = (found[:, FOLLOWS:] * leaders) >> rans.SCALE_BITS
            found = np.concatenate([found[:, :FOLLOWS], np.maximum(of_leaders, 1)], axis=1)
        return found.reshape(*shape, -1)

    def update(self, skip: Skip | None) -> None:
        """_Counts a frame's blocks; None of them, where its record tells of none."""
        if skip is None:
            self._previous = None
            return
        ways, places = skip[None].astype(np.int64), places_of((1, *skip.shape), None)
        self._counts.update(_flat_ways(ways), places, _flat_ways(self._previous))
        if self._leaders is not None:
            following = _following(skip)
            self._leaders.update(following.take(ways) - FOLLOWS, following, self._led(following))
        self._previous = ways

    def _led(self, places: Places) -> Integers | None:
        """Which displacement each of the blocks followed in the frame before; LEADERS: none."""
        if self._previous is None:
            return None
        return places.take(np.where(self._previous < FOLLOWS, LEADERS, self._previous - FOLLOWS))


@overload
def _flat_ways(ways: Integers) -> Integers: ...
@overload
def _flat_ways(ways: None) -> None: ...
def _flat_ways(ways: Integers | None) -> Integers | None:
    """What becomes of blocks, flat, which displacement one follows left aside; None of None."""
    return None if ways is None else np.minimum(ways, FOLLOWS).reshape(-1)


def _following(skip: Integers | Skip) -> Places:
    """The blocks [rows, columns] that follow one displacement."""
    return places_of((1, *skip.shape), skip[None] >= FOLLOWS)


class Places:
    """Some places of maps [groups, rows, columns], in the order in which their symbols are coded.

    Attributes:
      groups: the group of each place, flat.
      rows: how many places each row of each group has.
    """

    def __init__(self, shape: tuple[int, ...], kept: Flags | None):
        every = np.broadcast_to(np.arange(shape[0], dtype=np.int64)[:, None, None], shape)
        self._kept = kept
        self.groups: Integers = every.reshape(-1) if kept is None else every[kept]
        counts = np.full(shape[:2], shape[2]) if kept is None else kept.sum(axis=2)
        self.rows: Integers = counts.reshape(-1).astype(np.int64)

    @overload
    def take(self, maps: Integers) -> Integers: ...
    @overload
    def take(self, maps: None) -> None: ...
    def take(self, maps: Integers | None) -> Integers | None:
        """Entries of `maps` at these places, flat; None of None."""
        return None if maps is None else maps.reshape(-1) if self._kept is None else maps[self._kept]

    def put(self, maps: Integers, symbols: Integers) -> None:
        """Writes `symbols` to these places of `maps`."""
        if self._kept is None:
            maps[...] = symbols.reshape(maps.shape)
        else:
            maps[self._kept] = symbols

    def where(self, flags: Flags) -> Places:
        """Those of these places where `flags` [groups, rows, columns] is set."""
        return Places(flags.shape, flags if self._kept is None else flags & self._kept)

    def left(self, symbols: Integers, none: int) -> Integers:
        """The symbol before each in its row, `none` for the first of a row."""
        out = np.empty_like(symbols)
        out[1:] = symbols[:-1]
        out[(np.cumsum(self.rows) - self.rows)[self.rows > 0]] = none
        return out


def places_of(shape: tuple[int, ...], sent: Flags | None) -> Places:
    """The places of maps [groups, rows, columns] where `sent` is set, or all of them."""
    if sent is None:
        return _all_places(shape)
    return Places(shape, sent)


@functools.lru_cache(maxsize=16)
def _all_places(shape: tuple[int, ...]) -> Places:
    return Places(shape, None)


class _Counts:
    """How often each symbol 0 .. K - 1 occurred, in contexts of up to three levels, each finer than the one before:

    the group; the symbol there in the previous frame too; the symbol on the left too. A symbol that there is not counts
    as K. The number of a context is group + groups * (previous + (K + 1) * left), as far as its level goes.
    """

    def __init__(self, size: int, levels: int):
        self._size = size
        self._previous_step = GROUPS if levels > 1 else 0
        self._left_step = GROUPS * (size + 1) if levels > 2 else 0
        self._weight = max(_LEAST_WEIGHT, size // 2)
        self._counts = [np.zeros((GROUPS * (size + 1) ** level, size), np.int32) for level in range(levels)]

    def encode(
        self, symbols: Integers, places: Places, previous: Integers | None, initial: Integers | None
    ) -> tuple[Integers, Integers]:
        """(cumulative frequencies below, frequencies) of `symbols`, flat as all arguments are."""
        tables = self.tables(initial)
        contexts = self._contexts(symbols, places, previous)[-1]
        starts = tables[contexts, symbols]
        return starts, tables[contexts, symbols + 1] - starts

    def decode(
        self, decoder: rans.Decoder, places: Places, previous: Integers | None, initial: Integers | None
    ) -> Integers:
        """The next symbols, flat."""
        tables = self.tables(initial)
        if len(self._counts) == 1:
            counts = np.bincount(places.groups, minlength=GROUPS).tolist()
            runs = [decoder.run(table, count) for table, count in zip(tables, counts, strict=True)]
            return np.concatenate(runs).astype(np.int64)
        contexts = places.groups + self._previous_step * (self._size if previous is None else previous)
        symbols = decoder.symbols(tables.tolist(), contexts.tolist(), places.rows.tolist(), self._left_step)
        return np.array(symbols, np.int64)

    def frequencies(
        self, places: Places, previous: Integers | None, left: Integers | None, initial: Integers | None
    ) -> Integers:
        """Of each symbol, out of 2**16, at each place; `left` has the symbols that are left of another."""
        symbols = np.full(places.groups.shape, self._size) if left is None else left
        contexts = self._contexts(symbols, places, previous)[-1]
        return np.diff(self.tables(initial), axis=1)[contexts]

    def update(self, symbols: Integers, places: Places, previous: Integers | None) -> None:
        """_Counts age by a sixteenth, then take in `symbols`."""
        for level, contexts in enumerate(self._contexts(symbols, places, previous)):
            counts = self._counts[level]
            new = np.bincount(contexts * self._size + symbols, minlength=counts.size)
            self._counts[level] = counts - (counts >> _AGE_SHIFT) + new.reshape(counts.shape).astype(np.int32)

    def _contexts(self, symbols: Integers, places: Places, previous: Integers | None) -> list[Integers]:
        """Numbers of the contexts of each level."""
        levels = [places.groups]
        if self._previous_step:
            levels.append(places.groups + self._previous_step * (self._size if previous is None else previous))
        if self._left_step:
            levels.append(levels[-1] + self._left_step * places.left(symbols, self._size))
        return levels

    def tables(self, initial: Integers | None) -> Integers:
        """Cumulative frequencies [contexts of the last level, K + 1], from 0 to 2**16, each step at least 1."""
        # In place throughout: for large codebooks, fresh memory takes longer than the arithmetic.
        if initial is None:
            shares = np.full((GROUPS, 1), (1 << _PRECISION) // self._size, np.int64)
        else:
            shares = (initial << _PRECISION) // initial.sum(axis=-1, keepdims=True)
        for counts in self._counts:
            # A context begins as the one it refines and departs from it as it gathers counts.
            coarser = shares if len(counts) == len(shares) else np.tile(shares, (len(counts) // len(shares), 1))
            coarser *= self._weight
            shares = counts.astype(np.int64)
            total = shares.sum(axis=1, keepdims=True) + self._weight
            shares <<= _PRECISION
            shares += coarser
            shares //= total
        tables = np.zeros((len(shares), self._size + 1), np.int64)
        np.cumsum(shares, axis=1, out=tables[:, 1:])
        tables *= (1 << rans.SCALE_BITS) - self._size
        tables >>= _PRECISION
        tables += np.arange(self._size + 1)
        tables[:, -1] = 1 << rans.SCALE_BITS
        return tables
