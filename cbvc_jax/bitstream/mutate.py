"""Damaged streams for tests and fuzzing: small valid streams, and the ways in which each can go wrong."""

from __future__ import annotations

import functools
import io
import itertools
import random
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from cbvc_jax.bitstream.framing import CRC_BYTES, END_MARKER, KEY_MARKER
from cbvc_jax.bitstream.header import (
    ADAPTIVE_VERSION,
    COLOR_MATRICES,
    COLOR_RANGES,
    FIXED_VERSION,
    MOVING_VERSION,
    SKIPPING_VERSION,
    VERSION,
    StreamHeader,
)
from cbvc_jax.bitstream.reader import StreamReader
from cbvc_jax.bitstream.skipping import fill_skipped
from cbvc_jax.bitstream.tables import IndexTables
from cbvc_jax.bitstream.writer import StreamWriter
from cbvc_jax.geometry import CODED, GROUPS, MOVES, STAYS, stage_grids
from cbvc_jax.presets import KEYFRAME

Parts = list[bytes]
"""A stream without its checksums: the header, then one piece a record."""

_MAX_HEIGHT, _MAX_WIDTH = 48, 80
_CODEBOOKS = (2, 3, 8, 17, 64, 100, 512, 2048, 8192, 65536)
_SIZES_OFFSET = 40
_EDGES = (0x00, 0x01, 0x07, 0x08, 0x10, 0x7F, 0x80, 0xF1, 0xFF)


def random_stream(rng: random.Random, *, tables: bool = False) -> bytes:
    """A valid stream of 1 to 6 small frames, with a header, rates and indices drawn from `rng`.

    Args:
      tables: write it with `falling_tables`, which a reader then needs too.
    """
    header = random_header(rng)
    file = io.BytesIO()
    timestamp = rng.randrange(1 << 20)
    with StreamWriter(file, header, falling_tables(header) if tables else None) as writer:
        since_key = header.gop
        rate, indices = "", ()
        for _ in range(rng.randint(1, 6)):
            key = since_key >= header.gop or rng.random() < 0.15
            since_key = 1 if key else since_key + 1
            before = rate, indices
            if not key and rate in header.rates and rng.random() < 0.5:
                sizes = dict(header.predicted_sizes)[rate]
            else:
                rate, sizes = ("key", header.key_sizes) if key else rng.choice(header.predicted_sizes)
            indices = random_indices(rng, header, sizes)
            if before[0] == rate:
                kept = rng.choice((0, 3, 15))
                indices = tuple(np.where(i % 16 < kept, old, i) for i, old in zip(indices, before[1], strict=True))
            skip = None
            chances = writer.chances(rate)
            if chances is not None and chances.blocks is not None and rng.random() < 0.7:
                skip = random_skip(rng, header)
                indices = fill_skipped(indices, skip, before[1] if before[0] == rate else None)
            writer.write("key" if key else "predicted", rate, timestamp, indices, skip)
            timestamp += rng.choice((1, 1, 1, 3003, 1 << 40))
    return file.getvalue()


def falling_tables(header: StreamHeader) -> IndexTables:
    """Initial tables for the codebooks of `header` in which low indices are frequent."""
    sizes = {KEYFRAME: header.key_sizes, **dict(header.predicted_sizes)}
    return {rate: [[_falling_table(k)] * GROUPS for k in stages] for rate, stages in sizes.items()}


@functools.lru_cache(maxsize=16)
def _falling_table(size: int) -> np.ndarray:
    return (1 + 60000 // np.arange(1, size + 1)).astype(np.uint16)


def random_header(rng: random.Random) -> StreamHeader:
    """A valid header of a frame of 1x1 to 80x48 pixels."""
    rates = rng.randint(1, 8)
    return StreamHeader(
        model_sha256=rng.randbytes(32),
        width=rng.randint(1, _MAX_WIDTH),
        height=rng.randint(1, _MAX_HEIGHT),
        time_base=Fraction(1, rng.choice((1, 30, 90000))),
        frame_rate=rng.choice((None, Fraction(25), Fraction(30000, 1001))),
        color_matrix=rng.choice(list(COLOR_MATRICES)),
        color_range=rng.choice(list(COLOR_RANGES)),
        gop=rng.choice((1, 2, 3, 32)),
        key_sizes=_random_sizes(rng),
        predicted_sizes=tuple((f"rate{i}", _random_sizes(rng)) for i in range(rates)),
        version=rng.choice((FIXED_VERSION, ADAPTIVE_VERSION, SKIPPING_VERSION, MOVING_VERSION, VERSION, VERSION)),
        extensions=tuple((rng.randrange(1 << 16), rng.randbytes(rng.randrange(9))) for _ in range(rng.randrange(3))),
    )


def random_indices(rng: random.Random, header: StreamHeader, sizes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Indices [groups=2, rows, columns] of each stage for codebooks of the given sizes, all alike or low ones more."""
    draw = np.random.default_rng(rng.getrandbits(32))
    power = rng.choice((1, 2, 8))
    shapes = [(GROUPS, *grid) for grid in stage_grids(header.height, header.width)]
    return tuple((k * draw.random(shape) ** power).astype(int) for k, shape in zip(sizes, shapes, strict=True))


def random_skip(rng: random.Random, header: StreamHeader) -> np.ndarray:
    """What becomes of blocks, uint8 [rows, columns] of the first stage: none of them is skipped, all are, or some."""
    draw = np.random.default_rng(rng.getrandbits(32))
    grid = stage_grids(header.height, header.width)[0]
    skipped = draw.random(grid) < rng.choice((0.0, 0.3, 0.9, 1.0))
    moves = draw.random(grid) < (rng.choice((0.0, 0.5, 1.0)) if header.ways > MOVES else 0.0)
    ways = draw.integers(MOVES, header.ways, grid) if header.ways > MOVES else STAYS
    return np.where(skipped, np.where(moves, ways, STAYS), CODED).astype(np.uint8)


def _random_sizes(rng: random.Random) -> tuple[int, ...]:
    return tuple(rng.choice(_CODEBOOKS) for _ in range(3))


def split(stream: bytes) -> Parts:
    """The parts of a valid stream."""
    reader = StreamReader(io.BytesIO(stream))
    cuts = [0, reader.header_bytes]
    while (record := reader.next_record(unpack=False)) is not None:
        cuts.append(record.offset + record.size_bytes)
    cuts.append(len(stream))
    return [stream[a : b - CRC_BYTES] for a, b in itertools.pairwise(cuts)]


def join(parts: Parts) -> bytes:
    """The stream of these parts with checksums that match, whatever the parts hold."""
    header_crc = crc = zlib.crc32(parts[0])
    out = [parts[0], struct.pack(">I", crc)]
    for part in parts[1:]:
        crc = zlib.crc32(part, crc if part[:1] < b"\x80" else header_crc)
        out += [part, struct.pack(">I", crc)]
    return b"".join(out)


def mutate(rng: random.Random, corpus: list[Parts]) -> bytes:
    """A damaged stream: one of `corpus` after one to three kinds of damage.

    About half of the results have sound checksums, so that the damage reaches what lies behind them.
    """
    parts = list(rng.choice(corpus))
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 2)):
            rng.choice(_DEEP)(rng, parts, rng.choice(corpus))
        stream = join(parts)
        if rng.random() < 0.8:
            return stream
    else:
        stream = join(parts)
    # Most damage spares the header: whatever strikes it ends the reading before the first record.
    spared = len(parts[0]) + CRC_BYTES if rng.random() < 0.9 else 0
    head, tail = stream[:spared], stream[spared:]
    for _ in range(rng.randint(1, 3)):
        tail = rng.choice(_SHALLOW)(rng, tail, corpus)
    return head + tail


def _flip(rng: random.Random, stream: bytes, _corpus: list[Parts]) -> bytes:
    out = bytearray(stream)
    for _ in range(rng.choice((1, 1, 1, 2, 8)) if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _set(rng: random.Random, stream: bytes, _corpus: list[Parts]) -> bytes:
    if not stream:
        return stream
    at = rng.randrange(len(stream))
    return stream[:at] + bytes([rng.choice(_EDGES)]) + stream[at + 1 :]


def _cut(rng: random.Random, stream: bytes, _corpus: list[Parts]) -> bytes:
    return stream[: rng.randint(0, len(stream))]


def _insert(rng: random.Random, stream: bytes, _corpus: list[Parts]) -> bytes:
    at = rng.randint(0, len(stream))
    piece = rng.choice((KEY_MARKER, END_MARKER, rng.randbytes(rng.randint(1, 40)), bytes(rng.randint(1, 40))))
    return stream[:at] + piece + stream[at:]


def _delete(rng: random.Random, stream: bytes, _corpus: list[Parts]) -> bytes:
    at = rng.randint(0, len(stream))
    return stream[:at] + stream[at + rng.randint(1, 60) :]


def _splice(rng: random.Random, stream: bytes, corpus: list[Parts]) -> bytes:
    other = join(rng.choice(corpus))
    return stream[: rng.randint(0, len(stream))] + other[rng.randint(0, len(other)) :]


def _repeat(rng: random.Random, stream: bytes, _corpus: list[Parts]) -> bytes:
    at = rng.randint(0, len(stream))
    return stream[:at] + stream[rng.randint(0, at) :]


def _header_byte(rng: random.Random, parts: Parts, _other: Parts) -> None:
    header = bytearray(parts[0])
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(0 if rng.random() < 0.3 else min(_SIZES_OFFSET, len(header) - 1), len(header))
        header[at] = rng.choice(_EDGES) if rng.random() < 0.5 else rng.randrange(256)
    parts[0] = bytes(header)


def _header_size(rng: random.Random, parts: Parts, _other: Parts) -> None:
    sides = struct.pack(">HH", *(rng.choice((0, 1, 16, 17, 64, 65, 1080, 16384, 16385, 65535)) for _ in range(2)))
    parts[0] = parts[0][:_SIZES_OFFSET] + sides + parts[0][_SIZES_OFFSET + len(sides) :]


def _header_length(rng: random.Random, parts: Parts, _other: Parts) -> None:
    body = parts[0][8:]
    body = body + rng.randbytes(rng.randint(1, 12)) if rng.random() < 0.5 else body[: rng.randint(0, len(body))]
    parts[0] = parts[0][:6] + struct.pack(">H", 8 + len(body) + CRC_BYTES) + body


def _record_bytes(rng: random.Random, parts: Parts, _other: Parts) -> None:
    at = rng.randrange(1, len(parts))
    record = bytearray(parts[at])
    for _ in range(rng.randint(1, 3) if record else 0):
        place = rng.randrange(min(len(record), 12)) if rng.random() < 0.7 else rng.randrange(len(record))
        record[place] = rng.choice(_EDGES) if rng.random() < 0.5 else rng.randrange(256)
    parts[at] = bytes(record)


def _record_length(rng: random.Random, parts: Parts, _other: Parts) -> None:
    at = rng.randrange(1, len(parts))
    place = rng.randint(0, len(parts[at]))
    piece = rng.randbytes(rng.randint(1, 9)) if rng.random() < 0.5 else b"\xff" * rng.randint(1, 10)
    parts[at] = parts[at][:place] + piece + parts[at][place + rng.randint(0, 4) :]


def _records_moved(rng: random.Random, parts: Parts, other: Parts) -> None:
    at = rng.randrange(1, len(parts))
    source = other if rng.random() < 0.3 else parts
    piece = source[rng.randrange(1, len(source))]
    kept = parts[at + rng.randint(0, 1) :]
    parts[at:] = [piece, *kept] if rng.random() < 0.6 or not kept else kept


_SHALLOW: tuple[Callable[[random.Random, bytes, list[Parts]], bytes], ...] = (
    _flip,
    _set,
    _cut,
    _insert,
    _delete,
    _splice,
    _repeat,
)
_DEEP: tuple[Callable[[random.Random, Parts, Parts], None], ...] = (
    _header_byte,
    _header_size,
    _header_length,
    *(_record_bytes,) * 6,
    *(_record_length,) * 2,
    *(_records_moved,) * 4,
)
