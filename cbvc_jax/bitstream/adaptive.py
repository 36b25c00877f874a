"""Index maps <-> coded payloads: frequencies that both sides learn from the frames before (FORMAT.md, "Coded payload").

    frames of the GOP so far --> counts --> frequencies --> rANS <--> payload of the next frame
                                              ^
                     initial tables: ones, or the model's

Within a frame the frequencies stand still, so that a record can be tried, skipped or refused without a trace; `update`
moves them on, whichever way the frame's record was coded. A keyframe forgets everything. Integers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cbvc_jax.bitstream import rans
from cbvc_jax.bitstream.packing import IndexMaps, PayloadLayout
from cbvc_jax.errors import BitstreamError, UsageError
from cbvc_jax.geometry import GROUPS
from cbvc_jax.presets import KEYFRAME

MAX_TABLE_ENTRY = 65535

_LEFT_SIZE = 16
"""Largest codebook with the index on the left as a context."""
_PREVIOUS_SIZE = 64
"""Largest codebook with the previous frame's index as a context."""
_HITS_INITIAL = np.array([[15, 1]] * GROUPS, np.int64)
_LEAST_WEIGHT = 32
_PRECISION = 30
_AGE_SHIFT = 4

Integers = npt.NDArray[np.int64]
IndexTables = Mapping[str, Sequence[Sequence[npt.ArrayLike]]]
"""Initial tables of a model: under "key" and each rate, [stage][group] -> K integers 1 .. 65535, how often each index
is used in proportion to the others."""


class AdaptiveCoder:
    """The frequencies of a stream at its current frame.

    Args:
      layouts: of keyframes (under "key") and of each rate.
      tables: initial tables of the model, for index coding 2; None for coding 1, which starts from uniform ones.

    Raises:
      UsageError: `tables` does not fit the layouts.
    """

    def __init__(self, layouts: Mapping[str, PayloadLayout], tables: IndexTables | None = None):
        self._layouts = layouts
        self._tables = None if tables is None else _checked_tables(tables, layouts)
        self._models: dict[str, list[list[_MapModel]]] = {}
        self._last: tuple[str, IndexMaps] | None = None

    @property
    def has_tables(self) -> bool:
        """Whether the model's initial tables are at hand."""
        return self._tables is not None

    def encode(self, rate: str, indices: Sequence[npt.ArrayLike], *, tables: bool) -> bytes:
        """The coded payload of the next frame, whose codebooks `rate` names and whose indices fit its layout.

        Args:
          tables: use the model's initial tables (coding 2) in place of uniform ones (coding 1).
        """
        symbols = [
            model.encode(np.asarray(maps).astype(np.int64), previous, initial)
            for maps, (model, previous, initial) in zip(indices, self._stages(rate, tables), strict=True)
        ]
        starts, frequencies = (np.concatenate(parts) for parts in zip(*symbols, strict=True))
        return rans.encode(starts, frequencies)

    def decode(self, rate: str, payload: bytes, offset: int = 0, *, tables: bool) -> tuple[IndexMaps, tuple[int, ...]]:
        """(uint16 [groups=2, rows, columns] of each stage, bytes that each stage took) of the next frame.

        Args:
          payload: all of it.
          offset: where it begins in the stream, for the error.
          tables: as for `encode`.

        Raises:
          BitstreamError: the payload is too short, too long, or no payload.
        """
        decoder = rans.Decoder(payload, offset)
        maps, stage_bytes, done = [], [], 0
        for shape, (model, previous, initial) in zip(
            self._layouts[rate].shapes, self._stages(rate, tables), strict=True
        ):
            maps.append(model.decode(decoder, shape, previous, initial).astype(np.uint16))
            stage_bytes.append(decoder.position - done)
            done = decoder.position
        decoder.finish()
        return tuple(maps), tuple(stage_bytes)

    def update(self, rate: str, indices: IndexMaps) -> None:
        """Takes note of the frame that came next, however its record was coded."""
        if rate == KEYFRAME:
            self._models, self._last = {}, None
            return
        if self._layouts[rate].can_be_coded:
            for maps, (model, previous, _) in zip(indices, self._stages(rate, False), strict=True):
                model.update(maps.astype(np.int64), previous)
        self._last = rate, indices

    def _stages(self, rate: str, tables: bool) -> Iterable[tuple[_StageModel, Integers | None, Integers | None]]:
        """(model, previous frame's indices, initial tables) of each stage."""
        sizes = self._layouts[rate].codebook_sizes
        # The models of keyframes never learn, so they are not kept.
        kept = {} if rate == KEYFRAME else self._models
        models = kept.setdefault(rate, [_StageModel(size) for size in sizes])
        last = self._last[1] if self._last is not None and self._last[0] == rate else None
        for stage, model in enumerate(models):
            previous = None if last is None else last[stage].astype(np.int64)
            initial = np.stack(self._tables[rate][stage]).astype(np.int64) if tables and self._tables else None
            yield model, previous, initial


class _StageModel:
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
        tables = self._cumulative(initial)
        contexts, flat = self._contexts(symbols, groups, previous)[-1], symbols.reshape(-1)
        starts = tables[contexts, flat]
        return starts, tables[contexts, flat + 1] - starts

    def decode(
        self, decoder: rans.Decoder, groups: Integers, previous: Integers | None, initial: Integers | None
    ) -> Integers:
        """Symbols of the shape of `groups`, which tells the group of each."""
        contexts = groups + self._previous_step * (self._size if previous is None else previous)
        tables = self._cumulative(initial).tolist()
        symbols = decoder.symbols(tables, contexts.reshape(-1).tolist(), groups.shape[-1], self._left_step)
        return np.array(symbols, np.int64).reshape(groups.shape)

    def update(self, symbols: Integers, groups: Integers, previous: Integers | None) -> None:
        """Counts age by a sixteenth, then take in `symbols`."""
        flat = symbols.reshape(-1)
        for counts, contexts in zip(self._counts, self._contexts(symbols, groups, previous), strict=True):
            counts -= counts >> _AGE_SHIFT
            counts += np.bincount(contexts * self._size + flat, minlength=counts.size).reshape(counts.shape)

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

    def _cumulative(self, initial: Integers | None) -> Integers:
        """Cumulative frequencies [contexts of the last level, K + 1], from 0 to 2**16, each step at least 1."""
        # In place throughout: for large codebooks, fresh memory takes longer than the arithmetic.
        first = np.ones((GROUPS, self._size), np.int64) if initial is None else initial
        shares = first << _PRECISION
        shares //= first.sum(axis=-1, keepdims=True)
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


def _group_numbers(shape: tuple[int, ...]) -> Integers:
    """The group of each index of maps [groups, rows, columns]."""
    return np.broadcast_to(np.arange(GROUPS, dtype=np.int64)[:, None, None], shape)


def _checked_tables(tables: IndexTables, layouts: Mapping[str, PayloadLayout]) -> dict[str, list[list[np.ndarray]]]:
    checked: dict[str, list[list[np.ndarray]]] = {}
    for rate, layout in layouts.items():
        if rate not in tables or len(tables[rate]) != len(layout.codebook_sizes):
            raise UsageError(f"the initial tables lack a stage of '{rate}'")
        checked[rate] = []
        for size, groups in zip(layout.codebook_sizes, tables[rate], strict=True):
            arrays = [np.asarray(table) for table in groups]
            if len(arrays) != GROUPS or any(a.shape != (size,) or a.dtype.kind not in "iu" for a in arrays):
                raise UsageError(f"a stage of '{rate}' needs {GROUPS} initial tables of {size} integers")
            if any(a.min() < 1 or a.max() > MAX_TABLE_ENTRY for a in arrays):
                raise UsageError(f"an entry of an initial table of '{rate}' is not in 1 .. {MAX_TABLE_ENTRY}")
            checked[rate].append(arrays)
    return checked
