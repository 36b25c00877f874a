"""Frequencies of indices, learned frame by frame from counts (FORMAT.md, "Counts" and "Stages"). Integers only."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cbvc_jax.bitstream import rans
from cbvc_jax.errors import BitstreamError
from cbvc_jax.geometry import GROUPS

_LEFT_SIZE = 16
"""Largest codebook with the index on the left as a context."""
_PREVIOUS_SIZE = 64
"""Largest codebook with the previous frame's index as a context."""
_HITS_INITIAL = np.array([[15, 1]] * GROUPS, np.int64)
_LEAST_WEIGHT = 32
_PRECISION = 30
_AGE_SHIFT = 4

Integers = npt.NDArray[np.int64]


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


class StageModel:
    """One stage of one rate. Indices of a larger codebook are coded in two passes: where the index is that of the
    previous frame (a hit), and the others."""

    def __init__(self, size: int):
        levels = 3 if size <= _LEFT_SIZE else 2 if size <= _PREVIOUS_SIZE else 1
        self._indices = _Counts(size, levels)
        self._hits = _Counts(2, 3) if levels == 1 else None
        self._previous_hits: Integers | None = None

    def encode(self, indices: Integers, previous: Integers | None, initial: Integers | None) -> tuple[Integers, ...]:
        """(cumulative frequencies below, frequencies) of the symbols that say `indices` [groups, rows, columns]."""
        groups = _group_numbers(indices.shape)
        if self._hits is None or previous is None:
            return self._indices.encode(indices, groups, previous, initial)
        hits = (indices == previous).astype(np.int64)
        missed = hits == 0
        passes = (
            self._hits.encode(hits, groups, self._previous_hits, _HITS_INITIAL),
            self._indices.encode(indices[missed], groups[missed], None, initial),
        )
        return tuple(np.concatenate(parts) for parts in zip(*passes, strict=True))

    def decode(
        self,
        decoder: rans.Decoder,
        shape: tuple[int, int, int],
        previous: Integers | None,
        initial: Integers | None,
    ) -> Integers:
        """Indices [groups, rows, columns] of the given shape."""
        groups = _group_numbers(shape)
        if self._hits is None or previous is None:
            return self._indices.decode(decoder, groups, previous, initial)
        hits = self._hits.decode(decoder, groups, self._previous_hits, _HITS_INITIAL)
        missed = hits == 0
        indices = previous.copy()
        indices[missed] = self._indices.decode(decoder, groups[missed], None, initial)
        if (indices[missed] == previous[missed]).any():
            raise BitstreamError("a coded payload says of an index that it is and is not the previous", decoder.offset)
        return indices

    def chances(self, shape: tuple[int, int, int], previous: Integers | None, initial: Integers | None) -> Chances:
        """Of the next frame's indices. Where a context needs the index on the left, the previous frame's stands in."""
        groups = _group_numbers(shape)
        if self._hits is None:
            return Chances(self._indices.frequencies(groups, previous, previous, initial))
        indices = np.diff(self._indices.tables(initial), axis=1)
        if previous is None:
            return Chances(indices)
        last = self._previous_hits
        return Chances(indices, self._hits.frequencies(groups, last, last, _HITS_INITIAL)[..., 1], previous)

    def update(self, indices: Integers, previous: Integers | None) -> None:
        """Counts a frame."""
        groups = _group_numbers(indices.shape)
        if self._hits is None:
            self._indices.update(indices, groups, previous)
        elif previous is None:
            self._indices.update(indices, groups, None)
            self._previous_hits = None
        else:
            hits = (indices == previous).astype(np.int64)
            missed = hits == 0
            self._hits.update(hits, groups, self._previous_hits)
            self._indices.update(indices[missed], groups[missed], None)
            self._previous_hits = hits


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
        self, symbols: Integers, groups: Integers, previous: Integers | None, initial: Integers | None
    ) -> tuple[Integers, ...]:
        """(cumulative frequencies below, frequencies) of `symbols`, flat."""
        tables = self.tables(initial)
        contexts, flat = self._contexts(symbols, groups, previous)[-1], symbols.reshape(-1)
        starts = tables[contexts, flat]
        return starts, tables[contexts, flat + 1] - starts

    def decode(
        self, decoder: rans.Decoder, groups: Integers, previous: Integers | None, initial: Integers | None
    ) -> Integers:
        """Symbols of the shape of `groups`, which tells the group of each."""
        tables = self.tables(initial)
        if len(self._counts) == 1:
            counts = np.bincount(groups.reshape(-1), minlength=GROUPS).tolist()
            runs = [decoder.run(table, count) for table, count in zip(tables, counts, strict=True)]
            return np.concatenate(runs).astype(np.int64).reshape(groups.shape)
        contexts = groups + self._previous_step * (self._size if previous is None else previous)
        symbols = decoder.symbols(tables.tolist(), contexts.reshape(-1).tolist(), groups.shape[-1], self._left_step)
        return np.array(symbols, np.int64).reshape(groups.shape)

    def frequencies(
        self, groups: Integers, previous: Integers | None, left: Integers | None, initial: Integers | None
    ) -> Integers:
        """Of each symbol, out of 2**16, at each place of `groups`; `left` has the symbols that are left of another."""
        symbols = np.full(groups.shape, self._size) if left is None else left
        contexts = self._contexts(symbols, groups, previous)[-1]
        return np.diff(self.tables(initial), axis=1)[contexts].reshape(*groups.shape, self._size)

    def update(self, symbols: Integers, groups: Integers, previous: Integers | None) -> None:
        """Counts age by a sixteenth, then take in `symbols`."""
        flat = symbols.reshape(-1)
        for level, contexts in enumerate(self._contexts(symbols, groups, previous)):
            counts = self._counts[level]
            new = np.bincount(contexts * self._size + flat, minlength=counts.size)
            self._counts[level] = counts - (counts >> _AGE_SHIFT) + new.reshape(counts.shape).astype(np.int32)

    def _contexts(self, symbols: Integers, groups: Integers, previous: Integers | None) -> list[Integers]:
        """Numbers of the contexts, flat, of each level."""
        levels = [groups]
        if self._previous_step:
            levels.append(groups + self._previous_step * (self._size if previous is None else previous))
        if self._left_step:
            left = np.full_like(symbols, self._size)
            left[..., 1:] = symbols[..., :-1]
            levels.append(levels[-1] + self._left_step * left)
        return [numbers.reshape(-1) for numbers in levels]

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


@functools.lru_cache(maxsize=16)
def _group_numbers(shape: tuple[int, ...]) -> Integers:
    """The group of each index of maps [groups, rows, columns]."""
    return np.broadcast_to(np.arange(GROUPS, dtype=np.int64)[:, None, None], shape)
