"""What surrounds a payload: record heads, and the order in which records may follow (FORMAT.md, "Records")."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from cbvc_jax.bitstream.errors import UnsupportedError
from cbvc_jax.bitstream.header import StreamHeader
from cbvc_jax.bitstream.packing import PayloadLayout
from cbvc_jax.bitstream.source import VARINT_LIMIT, ByteSource, encode_varint
from cbvc_jax.errors import BitstreamError
from cbvc_jax.geometry import MOVES, STAYS, WAYS
from cbvc_jax.presets import KEYFRAME

KEY_MARKER = b"\xf1KEY"
END_MARKER = b"\xf1END"
MARKER_BYTES = 4
CRC_BYTES = 4

Coding = Literal[
    "fixed",
    "adaptive",
    "adaptive-tables",
    "skipping",
    "skipping-tables",
    "moving",
    "moving-tables",
    "following-tables",
]
CODINGS: tuple[Coding, ...] = get_args(Coding)
"""Index codings by their number: every index at ceil(log2 K) bits; coded with frequencies that are learned from the
frames before, from uniform ones or from the model's tables on; the same two with blocks that are skipped, and with such
blocks that may move; and, from the model's tables on alone, with such that may follow one displacement."""
TABLE_CODINGS = frozenset[Coding](("adaptive-tables", "skipping-tables", "moving-tables", "following-tables"))
SKIP_CODINGS: dict[Coding, int] = {
    "skipping": 1 + STAYS,
    "skipping-tables": 1 + STAYS,
    "moving": 1 + MOVES,
    "moving-tables": 1 + MOVES,
    "following-tables": WAYS,
}
"""Codings with skipped blocks, and what may become of a block in each: see `StreamHeader.ways`."""
PREDICTED_CODINGS = frozenset[Coding](("adaptive", *SKIP_CODINGS))
"""Codings that a keyframe cannot have: it has no frame before it to learn from, or to repeat."""

_CODING_SHIFT = 4
_CODING_MASK = 0x70
_REPEAT = 0x08
_RATE_MASK = 0x07

RecordKind = Literal["key", "predicted", "end"]


@dataclasses.dataclass(frozen=True)
class RecordHead:
    """A record up to its payload.

    Attributes:
      kind: of the record.
      rate: name of its codebooks: "key" for a keyframe, a rate for a predicted frame, "" at the end of the stream.
      number: frame number of a keyframe, number of frames at the end of the stream; None for a predicted frame.
      ticks: timestamp of a keyframe; distance from the frame before for a predicted frame, None if that repeats.
      coding: of its indices; "fixed" at the end of the stream.
      head_bytes, payload_bytes: lengths.
    """

    kind: RecordKind
    rate: str
    number: int | None
    ticks: int | None
    coding: Coding
    head_bytes: int
    payload_bytes: int

    @property
    def size_bytes(self) -> int:
        """Length of the whole record, with its checksum."""
        return self.head_bytes + self.payload_bytes + CRC_BYTES


def read_head(source: ByteSource, header: StreamHeader, layouts: dict[str, PayloadLayout]) -> RecordHead:
    """The head of the record at the start of the source's window, which stays where it is.

    Raises:
      BitstreamError: no record begins here, or (TruncatedError) the bytes end within the head.
      UnsupportedError: the indices are in a coding of a later version.
    """
    tag = source.byte(0)
    if tag < 0x80:
        coding = _coding(tag, header, source.offset)
        number = tag & _RATE_MASK
        if number >= len(header.rates):
            raise BitstreamError(f"rate {number} is not in the header's table of {len(header.rates)}", source.offset)
        rate = header.rates[number]
        ticks, at = (None, 1) if tag & _REPEAT else source.varint(1)
        payload_bytes, at = _payload_bytes(source, at, coding, layouts[rate])
        return RecordHead("predicted", rate, None, ticks, coding, at, payload_bytes)
    marker = source.peek(MARKER_BYTES)
    if marker == END_MARKER:
        count, at = source.varint(MARKER_BYTES)
        return RecordHead("end", "", count, None, "fixed", at, 0)
    if marker != KEY_MARKER:
        raise BitstreamError("no record begins here", source.offset)
    flags = source.byte(MARKER_BYTES)
    coding = _coding(flags, header, source.offset + MARKER_BYTES)
    if coding in PREDICTED_CODINGS:
        raise BitstreamError("a keyframe has no frame before it to learn from", source.offset + MARKER_BYTES)
    if flags & ~_CODING_MASK:
        raise BitstreamError("a reserved bit of a keyframe is set", source.offset + MARKER_BYTES)
    number, at = source.varint(MARKER_BYTES + 1)
    timestamp, at = source.varint(at)
    payload_bytes, at = _payload_bytes(source, at, coding, layouts[KEYFRAME])
    return RecordHead("key", KEYFRAME, number, timestamp, coding, at, payload_bytes)


def _coding(flags: int, header: StreamHeader, offset: int) -> Coding:
    number = (flags & _CODING_MASK) >> _CODING_SHIFT
    coding = CODINGS[number] if number < len(CODINGS) else None
    if coding is None or not _may_occur(coding, header):
        raise UnsupportedError(f"index coding {number} is of another format, or the record is damaged", offset)
    return coding


def _may_occur(coding: Coding, header: StreamHeader) -> bool:
    if coding in SKIP_CODINGS:
        return header.skipping and SKIP_CODINGS[coding] == header.ways
    return coding == "fixed" or header.adaptive


def _payload_bytes(source: ByteSource, at: int, coding: Coding, layout: PayloadLayout) -> tuple[int, int]:
    """(length of the payload, position behind the field that tells it)."""
    if coding == "fixed":
        return layout.size_bytes, at
    length, behind = source.varint(at)
    if not layout.can_be_coded:
        raise BitstreamError("indices of so large a codebook cannot be coded", source.offset + at)
    if coding in SKIP_CODINGS:
        if length > layout.skipping_bytes:
            raise BitstreamError(f"a coded payload of {length} bytes is too long", source.offset + at)
    elif length >= layout.size_bytes:
        raise BitstreamError(f"a coded payload of {length} bytes is as long as a plain one", source.offset + at)
    return length, behind


def key_head(number: int, timestamp: int) -> bytes:
    """Head of the keyframe that is frame `number` of the stream (from 0), at `timestamp` ticks."""
    return KEY_MARKER + bytes([0]) + encode_varint(number) + encode_varint(timestamp)


def predicted_head(rate: int, delta: int | None) -> bytes:
    """Head of a predicted frame of the header's rate number `rate`, `delta` ticks after the frame before.

    None for `delta` repeats that of the predicted frame before.
    """
    return bytes([rate | _REPEAT]) if delta is None else bytes([rate]) + encode_varint(delta)


def coded_head(head: bytes, coding: Coding, payload_bytes: int) -> bytes:
    """The head of a record of fixed length as that of the same record with a coded payload of `payload_bytes`."""
    flags = MARKER_BYTES if head.startswith(KEY_MARKER) else 0
    marked = bytearray(head)
    marked[flags] |= CODINGS.index(coding) << _CODING_SHIFT
    return bytes(marked) + encode_varint(payload_bytes)


def end_head(count: int) -> bytes:
    """Head of the end-of-stream record of a stream of `count` frames."""
    return END_MARKER + encode_varint(count)


@dataclasses.dataclass(frozen=True)
class Progress:
    """What the records so far say about the next one: the state that writer and reader share.

    Attributes:
      header_crc: CRC-32 of the header, at which the checksums of keyframes and of the end begin.
      gop: most frames from one keyframe up to the next.
      crc: checksum of the last record, that of the header before the first.
      frames: number of the next frame; None where it is unknown, after a seek.
      timestamp: of the last frame, -1 before the first.
      delta: ticks between the last two frames of this GOP, None right after a keyframe.
      in_gop: frames since and with the last keyframe; None where only a keyframe or the end can follow.
    """

    header_crc: int
    gop: int
    crc: int
    frames: int | None = 0
    timestamp: int = -1
    delta: int | None = None
    in_gop: int | None = None

    @classmethod
    def start(cls, header: StreamHeader, header_crc: int) -> Progress:
        """The state before the first record."""
        return cls(header_crc=header_crc, gop=header.gop, crc=header_crc)

    def seed(self, kind: RecordKind) -> int:
        """The CRC-32 at which the checksum of the next record begins: a predicted frame's continues its GOP's."""
        return self.crc if kind == "predicted" else self.header_crc

    def after(self, head: RecordHead, crc: int, offset: int) -> Progress:
        """The state after a record whose checksum is `crc`; BitstreamError if the record cannot follow here.

        Args:
          offset: of the record in the stream, for the error.
        """
        if head.kind == "predicted":
            return self._after_predicted(head, crc, offset)
        if self.frames is not None and head.number != self.frames:
            raise BitstreamError(f"frame {head.number} follows where frame {self.frames} is due", offset)
        if head.kind == "end":
            return dataclasses.replace(self, frames=head.number, in_gop=None)
        assert head.number is not None and head.ticks is not None
        if head.ticks <= self.timestamp:
            raise BitstreamError(f"timestamp {head.ticks} does not follow {self.timestamp}", offset)
        next_frame = head.number + 1
        return dataclasses.replace(self, frames=next_frame, timestamp=head.ticks, delta=None, in_gop=1, crc=crc)

    def _after_predicted(self, head: RecordHead, crc: int, offset: int) -> Progress:
        if self.in_gop is None or self.frames is None:
            raise BitstreamError("a predicted frame without a keyframe before it", offset)
        if self.in_gop >= self.gop:
            raise BitstreamError(f"a keyframe is due after {self.gop} frames", offset)
        delta = self.delta if head.ticks is None else head.ticks
        if delta is None:
            raise BitstreamError("the first predicted frame after a keyframe has no timestamp", offset)
        if delta == 0 or self.timestamp + delta >= VARINT_LIMIT:
            raise BitstreamError(f"timestamp {self.timestamp} + {delta} is out of order or range", offset)
        return dataclasses.replace(
            self,
            frames=self.frames + 1,
            timestamp=self.timestamp + delta,
            delta=delta,
            in_gop=self.in_gop + 1,
            crc=crc,
        )
