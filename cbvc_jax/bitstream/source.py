"""Bytes of a file or pipe, held only as far as the record at hand needs them."""

from __future__ import annotations

import os
import re
from typing import IO, Any

from cbvc_jax.bitstream.errors import TruncatedError
from cbvc_jax.errors import BitstreamError, UsageError

PIECE_BYTES = 1 << 16
"""Most that one read asks for, so that memory follows the bytes that arrive and not a length that a stream claims."""

VARINT_BYTES = 9
VARINT_LIMIT = 1 << 63


class ByteSource:
    """A forward window on a binary file: look at bytes ahead, then drop those that are done with.

    Attributes:
      offset: position of the window's first byte, in bytes from the start of the stream.
      seekable: whether `seek` can be used.
    """

    def __init__(self, file: IO[bytes] | Any):
        self._file = file
        # read1 hands over what a pipe holds now; read would wait until the whole piece has been written.
        self._read = getattr(file, "read1", None) or file.read
        self.seekable: bool = bool(getattr(file, "seekable", lambda: False)())
        self._base: int = file.tell() if self.seekable else 0
        self._buffer = bytearray()
        self._ended = False
        self.offset = 0

    def fill(self, count: int) -> bool:
        """Whether the window holds `count` bytes, after reading as many pieces as that takes."""
        while len(self._buffer) < count and not self._ended:
            piece = self._read(PIECE_BYTES)
            if piece is None:
                raise UsageError("the input is a non-blocking file; a stream is read from a blocking one")
            self._buffer += piece
            self._ended = not piece
        return len(self._buffer) >= count

    def byte(self, position: int) -> int:
        """The byte at `position` in the window; TruncatedError where the stream ends before it."""
        self._require(position + 1)
        return self._buffer[position]

    def peek(self, count: int) -> bytes:
        """The window's first `count` bytes; TruncatedError where the stream ends before them."""
        self._require(count)
        return bytes(self._buffer[:count])

    def varint(self, position: int) -> tuple[int, int]:
        """(value, position behind it) of the unsigned LEB128 integer at `position`; BitstreamError if malformed."""
        value = 0
        for i in range(VARINT_BYTES):
            byte = self.byte(position + i)
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if byte == 0 and i > 0:
                    raise BitstreamError("an integer is not in its shortest form", self.offset + position)
                return value, position + i + 1
        raise BitstreamError("an integer is longer than 63 bits", self.offset + position)

    def find(self, markers: re.Pattern[bytes], length: int) -> bool:
        """Moves to the first match of `markers`, each `length` bytes long; False at the end, to which it has moved."""
        while True:
            if match := markers.search(self._buffer):
                at = match.start()
                del match  # It holds the buffer, which could not be shortened.
                self.drop(at)
                return True
            self.drop(max(0, len(self._buffer) - length + 1))
            if not self.fill(len(self._buffer) + 1):
                self.drop(len(self._buffer))
                return False

    def drop(self, count: int) -> None:
        """Moves the window past `count` bytes that it holds."""
        del self._buffer[:count]
        self.offset += count

    def seek(self, offset: int) -> None:
        """Moves the window to `offset` bytes from the start of the stream; only where `seekable`."""
        ahead = offset - self.offset
        if 0 <= ahead <= len(self._buffer):
            self.drop(ahead)
            return
        self._file.seek(self._base + offset)
        self._buffer.clear()
        self._ended = False
        self.offset = offset

    def size_bytes(self) -> int:
        """Bytes from the start of the stream to the end of the file; only where `seekable`. Empties the window."""
        end = self._file.seek(0, os.SEEK_END)
        self._buffer.clear()
        self._ended = False
        self._file.seek(self._base + self.offset)
        return end - self._base

    def _require(self, count: int) -> None:
        if not self.fill(count):
            end = self.offset + len(self._buffer)
            raise TruncatedError("the stream is cut short: a record is not complete", end)


def encode_varint(value: int) -> bytes:
    """Unsigned LEB128 bytes of `value`, which is in 0 .. 2**63 - 1: seven bits a byte, lowest first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
