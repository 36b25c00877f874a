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
    """Reads the header on construction, and frames with `read_frames`; `tables` are [rate][stage][group] lists."""

    def __init__(self, data: bytes, tables=None):
        self.data = data
        self.position = 0
        self.tables = tables
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

    def _fixed_length(self, sizes: list[int]) -> int:
        counts = [2 * -(-self.height // s) * -(-self.width // s) for s in (16, 32, 64)]
        return -(-sum(n * len(f"{k - 1:b}") for n, k in zip(counts, sizes, strict=True)) // 8)

    def _payload_length(self, coding: int, sizes: list[int]) -> int:
        fixed = self._fixed_length(sizes)
        if coding == 0:
            return fixed
        length = self._varint()
        counts = [2 * -(-self.height // s) * -(-self.width // s) for s in (16, 32, 64)]
        most = fixed - 1 if coding < 3 else 4 + 5 * sum(counts) + 3 * counts[0] // 2
        if max(sizes) > 8192 or length > most:
            raise Damaged("length of a coded payload")
        return length

    def fixed(self, sizes: list[int], payload: bytes) -> tuple[list[list[int]], bool]:
        """(flat indices of each stage, whether all is in range)."""
        counts = [2 * -(-self.height // s) * -(-self.width // s) for s in (16, 32, 64)]
        widths = [len(f"{k - 1:b}") for k in sizes]
        value = int.from_bytes(payload, "big")
        left = 8 * len(payload)
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
        """Yields (kind, rate, frame number, timestamp, flat indices of each stage, flat skips) to the stream's end.

        Skips are 0, 1 or 2 for each block, and None in a frame that has none.
        """
        frames, time, delta, in_gop, crc = 0, -1, None, None, None
        indices = Indices(self)
        while True:
            start = self.position
            kind, rate, sizes, number, ticks, coding = self._record_head()
            length = self._payload_length(coding, sizes) if kind != "end" else 0
            payload = self._bytes(length)
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
            stages, skips = indices.take(kind, rate, sizes, coding, payload)
            yield kind, rate, frames, time, stages, skips
            frames += 1

    def _record_head(self):
        first = self._number(1)
        if first < 128:
            coding = self._coding(first >> 4)
            if first % 8 >= len(self.rates):
                raise Damaged("rate")
            rate, sizes = self.rates[first % 8]
            return "predicted", rate, sizes, None, None if first & 8 else self._varint(), coding
        marker = bytes([first]) + self._bytes(3)
        if marker == bytes.fromhex("F1454E44"):
            return "end", "", [], self._varint(), None, 0
        if marker != bytes.fromhex("F14B4559"):
            raise Damaged("no record")
        flags = self._number(1)
        coding = self._coding(flags >> 4 & 7)
        if flags & 0x8F:
            raise Damaged("reserved flag")
        if coding in (1, 3, 4, 5, 6, 7):
            raise Damaged("a coding of predicted frames in a keyframe")
        return "key", "key", self.key_sizes, self._varint(), self._varint(), coding

    def _coding(self, number: int) -> int:
        if number not in ((0,), (0, 1, 2), (0, 1, 2, 3, 4), (0, 1, 2, 5, 6), (0, 1, 2, 7))[min(self.minor, 4)]:
            raise Later
        return number


class Indices:
    """What is remembered from frame to frame: sections 8.3, 8.4 and 8.6 to 8.8."""

    def __init__(self, reader: Reader):
        self.reader = reader
        self.ways = min(max(reader.minor, 2), 4)
        self._forget()

    def _forget(self) -> None:
        self.models, self.reference = {}, ("", [])
        self.skips, self.skips_before = Model(self.ways, 3), None
        self.leaders, self.leaders_before = Model(4, 2), None

    def take(self, kind: str, rate: str, sizes: list[int], coding: int, payload: bytes):
        """(flat indices of each stage, flat skips or None) of the next frame."""
        reader = self.reader
        if kind == "key":
            self._forget()
        grid = reader.width, reader.height
        if rate not in self.models:
            self.models[rate] = [Stage(*grid, s, k) for s, k in zip((16, 32, 64), sizes, strict=True)]
        models = self.models[rate]
        before = self.reference[1] if self.reference[0] == rate else [None] * 3
        skips, leaders, sent = None, None, [None] * 3
        if coding == 0:
            stages, sound = reader.fixed(sizes, payload)
            if not sound:
                raise Damaged("payload")
        else:
            if coding in (2, 4, 6, 7) and reader.tables is None:
                raise Later
            coder = Coder(payload)
            if coding >= 3:
                skips, leaders = self._read_blocks(coder, coding)
                sent = [self._sent(skips, s) for s in (1, 2, 3)]
            initial = reader.tables[rate] if coding in (2, 4, 6, 7) else [None] * 3
            parts = zip(models, before, initial, sent, strict=True)
            stages = [m.decode(coder, r, t, q) for m, r, t, q in parts]
            if coder.x != 2**23 or coder.position != len(payload):
                raise Damaged("end of a coded payload")
        if kind == "predicted":
            if reader.minor and max(sizes) <= 8192:
                for model, stage, ref, q in zip(models, stages, before, sent, strict=True):
                    model.count(stage, ref, q)
            self.reference = rate, stages
            self._count_blocks(skips, leaders)
        if leaders is not None:
            skips = [way + leader % 4 for way, leader in zip(skips, leaders, strict=True)]
        return stages, skips

    def _read_blocks(self, coder: Coder, coding: int):
        """(flat symbols of blocks, flat leaders or None)."""
        skips = self._read_skips(coder)
        return skips, self._read_leaders(coder, skips) if coding == 7 else None

    def _count_blocks(self, skips, leaders) -> None:
        if skips is not None:
            self.skips.count(self._skip_contexts(skips), skips)
        if leaders is not None:
            following = [i for i, way in enumerate(skips) if way == 3]
            self.leaders.count([self._leader_context(i) for i in following], [leaders[i] for i in following])
        self.skips_before, self.leaders_before = skips, leaders

    def _skip_contexts(self, skips: list[int]) -> list[tuple[int, ...]]:
        """Of the symbols up to the one after `skips`."""
        columns, before = -(-self.reader.width // 16), self.skips_before
        return [
            (0, self.ways if before is None else before[i], self.ways if i % columns == 0 else skips[i - 1])
            for i in range(-(-self.reader.height // 16) * columns)
            if i <= len(skips)
        ]

    def _read_skips(self, coder: Coder) -> list[int]:
        skips = []
        for _ in range(-(-self.reader.height // 16) * -(-self.reader.width // 16)):
            skips.append(
                coder.symbol(
                    self.skips.table(self._skip_contexts(skips)[-1], ([3, 1], [2, 1, 1], [2, 1, 1, 1])[self.ways - 2])
                )
            )
        return skips

    def _read_leaders(self, coder: Coder, skips: list[int]) -> list[int]:
        """For each flat place; 4 where the block follows none."""
        return [
            coder.symbol(self.leaders.table(self._leader_context(i), [1] * 4)) if way == 3 else 4
            for i, way in enumerate(skips)
        ]

    def _leader_context(self, i: int) -> tuple[int, int]:
        return (0, 4 if self.leaders_before is None else self.leaders_before[i])

    def _sent(self, skips: list[int], stage: int) -> list[bool]:
        """For each flat place of both groups."""
        rows, columns = -(-self.reader.height // 16), -(-self.reader.width // 16)
        side = 2 ** (stage - 1)
        out, moving = [], []
        for y in range(-(-rows // side)):
            for x in range(-(-columns // side)):
                covered = [
                    skips[j * columns + i]
                    for j in range(side * y, min(rows, side * (y + 1)))
                    for i in range(side * x, min(columns, side * (x + 1)))
                ]
                out.append(0 in covered)
                moving.append(any(way != 1 for way in covered))
        return (moving if stage == 2 else out) + out


class Coder:
    """Section 8.1."""

    def __init__(self, payload: bytes):
        self.payload = payload
        self.position = 4
        self.x = int.from_bytes(payload[:4], "big")
        if len(payload) < 4 or not 2**23 <= self.x < 2**31:
            raise Damaged("state")

    def symbol(self, table: list[int]) -> int:
        r = self.x % 2**16
        s = 0
        while table[s + 1] <= r:
            s += 1
        self.x = (table[s + 1] - table[s]) * (self.x // 2**16) + r - table[s]
        while self.x < 2**23:
            if self.position == len(self.payload):
                raise Damaged("coded payload too short")
            self.x = 256 * self.x + self.payload[self.position]
            self.position += 1
        return s


class Model:
    """Section 8.2; a context is a tuple of g, p and l, cut to its level."""

    def __init__(self, size: int, levels: int):
        self.size, self.levels = size, levels
        self.counts: list[dict[tuple[int, ...], list[int]]] = [{} for _ in range(levels)]

    def table(self, context: tuple[int, ...], initial: list[int]) -> list[int]:
        size = self.size
        total = sum(initial)
        q = [2**30 * t // total for t in initial]
        w = max(32, size // 2)
        for level, counts in enumerate(self.counts):
            n = counts.get(context[: level + 1], [0] * size)
            total = sum(n)
            q = [(2**30 * a + w * b) // (total + w) for a, b in zip(n, q, strict=True)]
        c, below = [], 0
        for s in range(size):
            c.append(s + below * (2**16 - size) // 2**30)
            below += q[s]
        return [*c, 2**16]

    def count(self, contexts: list[tuple[int, ...]], symbols: list[int]) -> None:
        for level, counts in enumerate(self.counts):
            for row in counts.values():
                row[:] = [n - n // 16 for n in row]
            for context, symbol in zip(contexts, symbols, strict=True):
                counts.setdefault(context[: level + 1], [0] * self.size)[symbol] += 1


class Stage:
    """Sections 8.3 to 8.5: one stage of one rate. Everything is flat: group, row, column."""

    def __init__(self, width: int, height: int, stride: int, size: int):
        self.columns = -(-width // stride)
        self.area = -(-height // stride) * self.columns
        self.size = size
        self.indices = Model(size, 3 if size <= 16 else 2 if size <= 64 else 1)
        self.hits = Model(2, 3) if size > 64 else None
        self.reference_hits = None

    def _row(self, i: int) -> int:
        return i // self.columns

    def _contexts(self, places: list[int], symbols: list[int], before, none: int) -> list[tuple[int, ...]]:
        """Of the symbols at `places`, as far as the one after `symbols`."""
        out = []
        for n, i in enumerate(places[: len(symbols) + 1]):
            first = n == 0 or self._row(places[n - 1]) != self._row(i)
            out.append((i // self.area, none if before is None else before[i], none if first else symbols[n - 1]))
        return out

    def _read(self, coder: Coder, model: Model, places: list[int], before, initial) -> list[int]:
        symbols, tables, last = [], {}, None
        for n, i in enumerate(places):
            first = n == 0 or self._row(places[n - 1]) != self._row(i)
            p = model.size if before is None else before[i]
            context = (i // self.area, p, model.size if first else last)[: model.levels]
            if context not in tables:
                tables[context] = model.table(context, initial[context[0]])
            last = coder.symbol(tables[context])
            symbols.append(last)
        return symbols

    def _places(self, sent) -> list[int]:
        return [i for i in range(2 * self.area) if sent is None or sent[i]]

    def decode(self, coder: Coder, reference, initial, sent) -> list[int]:
        initial = initial or [[1] * self.size] * 2
        places = self._places(sent)
        out = [0] * (2 * self.area) if reference is None else list(reference)
        if self.hits is None or reference is None:
            for i, symbol in zip(places, self._read(coder, self.indices, places, reference, initial), strict=True):
                out[i] = symbol
            return out
        hits = self._read(coder, self.hits, places, self.reference_hits, [[15, 1]] * 2)
        tables = [self.indices.table((g,), initial[g]) for g in (0, 1)]
        for i, hit in zip(places, hits, strict=True):
            if not hit:
                out[i] = coder.symbol(tables[i // self.area])
                if out[i] == reference[i]:
                    raise Damaged("a miss that is a hit")
        return out

    def count(self, stage: list[int], reference, sent) -> None:
        places = self._places(sent)
        if self.hits is None or reference is None:
            symbols = [stage[i] for i in places]
            self.indices.count(self._contexts(places, symbols, reference, self.size), symbols)
            self.reference_hits = None
            return
        hits = [int(a == b) for a, b in zip(stage, reference, strict=True)]
        symbols = [hits[i] for i in places]
        self.hits.count(self._contexts(places, symbols, self.reference_hits, 2), symbols)
        missed = [i for i in places if not hits[i]]
        self.indices.count([(i // self.area,) for i in missed], [stage[i] for i in missed])
        self.reference_hits = hits
