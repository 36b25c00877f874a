"""A second reader, written from FORMAT.md alone: slow, plain, and sharing nothing with the package.

Everything is read at once; indices are taken off one long integer.
"""

from __future__ import annotations

import re
import zlib

SEQUENCE_LIMIT = 2**63


class Damaged(Exception):
    """The stream breaks a rule of the format."""


class CutShort(Exception):
    """The bytes end before the end-of-stream record."""


class Later(Exception):
    """A later version of the format is needed."""


class Reader:
    """Reads the header on construction, and frames with `read_frames`."""

    def __init__(self, data: bytes):
        self.data = data
        self.position = 0
        self._read_header()

    def _bytes(self, count: int) -> bytes:
        if self.position + count > len(self.data):
            raise CutShort
        self.position += count
        return self.data[self.position - count : self.position]

    def _number(self, count: int) -> int:
        return int.from_bytes(self._bytes(count), "big")

    def _varint(self) -> int:
        value = 0
        for i in range(9):
            byte = self._number(1)
            value += (byte % 128) * 128**i
            if byte < 128:
                if byte == 0 and i:
                    raise Damaged("overlong integer")
                return value
        raise Damaged("integer too long")

    def _sizes(self) -> list[int]:
        sizes = [self._number(2) + 1 for _ in range(3)]
        if min(sizes) < 2:
            raise Damaged("codebook size")
        return sizes

    def _read_header(self) -> None:
        if len(self.data) < 8:
            raise CutShort
        if self._bytes(4) != bytes.fromhex("89434256"):
            raise Damaged("magic")
        if self._number(1) != 1:
            raise Later
        self.minor = self._number(1)
        length = self._number(2)
        if length < 8 + 56 + 6 + 1 + 4:
            raise Damaged("header length")
        if len(self.data) < length:
            raise CutShort
        if int.from_bytes(self.data[length - 4 : length], "big") != zlib.crc32(self.data[: length - 4]):
            raise Damaged("header checksum")
        self.header_crc = zlib.crc32(self.data[: length - 4])
        whole, self.data = self.data, self.data[: length - 4]
        try:
            self._read_fields()
        except CutShort:
            raise Damaged("header field too long") from None
        self.data = whole
        self.position = length

    def _read_fields(self) -> None:
        self.model = self._bytes(32)
        self.width, self.height = self._number(2), self._number(2)
        if not (1 <= self.width <= 16384 and 1 <= self.height <= 16384):
            raise Damaged("frame size")
        self.time_base = self._number(4), self._number(4)
        self.frame_rate = self._number(4), self._number(4)
        if 0 in self.time_base or self.frame_rate.count(0) == 1:
            raise Damaged("fraction")
        self.matrix, self.range = self._number(1), self._number(1)
        if self.matrix not in (0, 1, 6, 9) or self.range not in (0, 1):
            raise Damaged("colour")
        self.gop = self._number(2)
        if self.gop == 0:
            raise Damaged("GOP")
        self.key_sizes = self._sizes()
        count = self._number(1)
        if not 1 <= count <= 8:
            raise Damaged("number of rates")
        self.rates = []
        for _ in range(count):
            name = self._bytes(self._number(1))
            if not re.fullmatch(rb"[a-z0-9][a-z0-9._-]{0,31}", name) or name == b"key":
                raise Damaged("rate name")
            self.rates.append((name.decode("ascii"), self._sizes()))
        if len({name for name, _ in self.rates}) != count:
            raise Damaged("two rates of one name")
        self.extensions = []
        while self.position < len(self.data):
            field = self._number(2)
            self.extensions.append((field, self._bytes(self._number(2))))

    def _payload(self, sizes: list[int]) -> tuple[list[list[int]], bool]:
        """(flat indices of each stage, whether all is in range)."""
        counts = [2 * -(-self.height // s) * -(-self.width // s) for s in (16, 32, 64)]
        widths = [len(f"{k - 1:b}") for k in sizes]
        bits = sum(n * w for n, w in zip(counts, widths, strict=True))
        length = -(-bits // 8)
        value = self._number(length)
        left = 8 * length
        stages, sound = [], True
        for n, w, k in zip(counts, widths, sizes, strict=True):
            stage = []
            for _ in range(n):
                left -= w
                stage.append(value >> left & (2**w - 1))
            sound = sound and max(stage) < k
            stages.append(stage)
        return stages, sound and value & (2**left - 1) == 0

    def read_frames(self):
        """Yields (kind, rate, frame number, timestamp, flat indices of each stage) to the end of the stream."""
        frames, time, delta, in_gop, crc = 0, -1, None, None, None
        while True:
            start = self.position
            kind, rate, sizes, number, ticks = self._record_head()
            stages, sound = self._payload(sizes) if kind != "end" else ([], True)
            seed = crc if kind == "predicted" else self.header_crc
            if seed is None:
                seed = 0
            crc = zlib.crc32(self.data[start : self.position], seed)
            if self._number(4) != crc:
                raise Damaged("checksum")
            if kind == "predicted":
                delta = delta if ticks is None else ticks
                if in_gop is None or in_gop >= self.gop or not delta or time + delta >= SEQUENCE_LIMIT:
                    raise Damaged("order")
                time, in_gop = time + delta, in_gop + 1
            elif number != frames:
                raise Damaged("number")
            elif kind == "end":
                return
            elif ticks <= time:
                raise Damaged("timestamp")
            else:
                time, delta, in_gop = ticks, None, 1
            if not sound:
                raise Damaged("payload")
            yield kind, rate, frames, time, stages
            frames += 1

    def _record_head(self):
        first = self._number(1)
        if first < 128:
            if first >> 4:
                raise Later
            if first % 8 >= len(self.rates):
                raise Damaged("rate")
            rate, sizes = self.rates[first % 8]
            return "predicted", rate, sizes, None, None if first & 8 else self._varint()
        marker = bytes([first]) + self._bytes(3)
        if marker == bytes.fromhex("F1454E44"):
            return "end", "", [], self._varint(), None
        if marker != bytes.fromhex("F14B4559"):
            raise Damaged("no record")
        flags = self._number(1)
        if flags & 0x70:
            raise Later
        if flags:
            raise Damaged("reserved flag")
        return "key", "key", self.key_sizes, self._varint(), self._varint()
