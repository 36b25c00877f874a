"""The entropy coder: range asymmetric numeral systems (Duda, arXiv:1311.2540) in plain integers (FORMAT.md, "Coder").

The state is one integer in 2**23 .. 2**31 - 1 and moves a byte at a time. What it is driven by are integer frequencies
that sum to 2**16, so that the bytes are the same on every machine.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cbvc_jax.errors import BitstreamError

SCALE_BITS = 16
"""Frequencies sum to 2**16."""
STATE_BYTES = 4

_SLOTS = (1 << SCALE_BITS) - 1
_STATE_LOW = 1 << 23
_STATE_HIGH = 1 << 31
_EMIT_SHIFT = 31 - SCALE_BITS
_TOO_SHORT = "a coded payload ends before its indices do"


def encode(starts: npt.NDArray[np.int64], frequencies: npt.NDArray[np.int64]) -> bytes:
    """The bytes of a sequence of symbols, at least four.

    Args:
      starts: cumulative frequency below each symbol, integers [symbols].
      frequencies: of each symbol, at least 1; start + frequency is at most 2**16.
    """
    state = _STATE_LOW
    out = bytearray()
    # The decoder takes off last what is put on first, hence backwards.
    for start, frequency in zip(starts[::-1].tolist(), frequencies[::-1].tolist(), strict=True):
        limit = frequency << _EMIT_SHIFT
        while state >= limit:
            out.append(state & 0xFF)
            state >>= 8
        quotient, rest = divmod(state, frequency)
        state = (quotient << SCALE_BITS) + rest + start
    out += state.to_bytes(STATE_BYTES, "little")
    out.reverse()
    return bytes(out)


class Decoder:
    """Takes symbols off the bytes of `encode`, in the order in which they were given.

    Attributes:
      offset: where the bytes lie in the stream, for errors.
      position: bytes taken so far.

    Raises:
      BitstreamError: the bytes do not begin with a state.
    """

    def __init__(self, payload: bytes, offset: int = 0):
        self._payload = payload
        self.offset = offset
        self._state = int.from_bytes(payload[:STATE_BYTES], "big")
        self.position = STATE_BYTES
        if len(payload) < STATE_BYTES or not _STATE_LOW <= self._state < _STATE_HIGH:
            raise BitstreamError("a coded payload does not begin with a state of the coder", offset)

    def symbols(
        self, tables: Sequence[Sequence[int]], contexts: Sequence[int], rows: Sequence[int], left_step: int = 0
    ) -> list[int]:
        """The next symbols, as many as there are contexts.

        The table of a symbol is number `context + left_step * left`; left is the symbol before, or the number of
        symbols K for the first of a row.

        Args:
          tables: cumulative frequencies 0 .. 2**16 of K symbols, strictly increasing, K + 1 integers each.
          contexts: of each symbol, one row after the other.
          rows: length of each row.

        Raises:
          BitstreamError: the bytes end too early.
        """
        state, position, payload = self._state, self.position, self._payload
        none = len(tables[0]) - 1
        out: list[int] = []
        try:
            end = 0
            for length in rows:
                left, begin, end = none, end, end + length
                for context in contexts[begin:end]:
                    table = tables[context + left_step * left]
                    slot = state & _SLOTS
                    left = bisect_right(table, slot) - 1
                    start = table[left]
                    state = (table[left + 1] - start) * (state >> SCALE_BITS) + slot - start
                    while state < _STATE_LOW:
                        state = state << 8 | payload[position]
                        position += 1
                    out.append(left)
        except IndexError:
            raise BitstreamError(_TOO_SHORT, self.offset + len(payload)) from None
        self._state, self.position = state, position
        return out

    def run(self, table: npt.NDArray[np.int64], count: int) -> list[int]:
        """The next `count` symbols, all of one table, as `symbols` takes them: quicker for large tables.

        Raises:
          BitstreamError: the bytes end too early.
        """
        state, position, payload = self._state, self.position, self._payload
        # Views of plain memory: a list of thousands of integers is slow to make and to search.
        starts = table.data
        symbol_at = np.repeat(np.arange(len(table) - 1, dtype=np.uint16), np.diff(table)).data
        out: list[int] = []
        try:
            for _ in range(count):
                slot = state & _SLOTS
                symbol = symbol_at[slot]
                start = starts[symbol]
                state = (starts[symbol + 1] - start) * (state >> SCALE_BITS) + slot - start
                while state < _STATE_LOW:
                    state = state << 8 | payload[position]
                    position += 1
                out.append(symbol)
        except IndexError:
            raise BitstreamError(_TOO_SHORT, self.offset + len(payload)) from None
        self._state, self.position = state, position
        return out

    def finish(self) -> None:
        """Checks that the symbols taken are all there were; BitstreamError otherwise."""
        if self.position != len(self._payload) or self._state != _STATE_LOW:
            raise BitstreamError("a coded payload does not end with its indices", self.offset + self.position)
