"""The stream header: what a reader must know before the first frame (FORMAT.md, "Header")."""

from __future__ import annotations

import dataclasses
import re
import struct
import zlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from cbvc_jax.bitstream.errors import TruncatedError, UnsupportedError
from cbvc_jax.bitstream.packing import PayloadLayout
from cbvc_jax.bitstream.source import ByteSource
from cbvc_jax.errors import BitstreamError, UsageError
from cbvc_jax.geometry import MAX_SIDE, MOVES, STAGE_STRIDES, STAYS, WAYS
from cbvc_jax.presets import KEYFRAME

MAGIC = b"\x89CBV"
VERSION = (1, 4)
"""(major, minor): a reader refuses another major version and reads any minor one."""
FIXED_VERSION = (1, 0)
"""The version of a stream whose records are all of fixed length: every reader of the major version reads it."""
ADAPTIVE_VERSION = (1, 1)
"""The version of a stream none of whose records has skipped blocks."""
SKIPPING_VERSION = (1, 2)
"""The version of a stream whose skipped blocks all stay as they were."""
MOVING_VERSION = (1, 3)
"""The version of a stream whose blocks may move, but follow no displacement alone."""

StreamCoding = Literal["fixed", "adaptive", "skipping"]
STREAM_CODINGS: dict[StreamCoding, tuple[int, int]] = {
    "fixed": FIXED_VERSION,
    "adaptive": ADAPTIVE_VERSION,
    "skipping": SKIPPING_VERSION,
}
"""What a writer does with indices, and the least version of the stream that comes of it: fixed length always; a coding
that learns from the frames before, wherever it makes a record smaller; and that with blocks that stay as they were.
Where blocks may move as well, it is `MOVING_VERSION`, and `VERSION` where the model has initial tables."""

ColorMatrix = Literal["bt601", "bt709", "bt2020", "rgb"]
ColorRange = Literal["limited", "full"]
COLOR_MATRICES: dict[ColorMatrix, int] = {"rgb": 0, "bt709": 1, "bt601": 6, "bt2020": 9}
"""Names of the source's matrix and their MatrixCoefficients code in ITU-T H.273."""
COLOR_RANGES: dict[ColorRange, int] = {"limited": 0, "full": 1}

MAX_RATES = 8
MAX_CODEBOOK = 1 << 16
MAX_U16 = (1 << 16) - 1
MAX_U32 = (1 << 32) - 1
MAX_HEADER_BYTES = MAX_U16

_PREFIX = struct.Struct(">4sBBH")
_FIXED = struct.Struct(">32sHHIIIIBBH")
_SIZES = struct.Struct(">3H")
_EXTENSION = struct.Struct(">HH")
_CRC_BYTES = 4
_RATE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class _FieldError(UsageError):
    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field


@dataclasses.dataclass(frozen=True)
class StreamHeader:
    """What a stream says of itself; a UsageError on construction names the field that makes no sense.

    Attributes:
      model_sha256: 32 bytes, the hash of the model that decodes the stream.
      width, height: true frame size in pixels, 1 .. 16384.
      time_base: seconds a tick of the timestamps; numerator and denominator below 2**32.
      frame_rate: nominal frames a second, or None where it is unknown or varies.
      color_matrix: of the source video, a key of `COLOR_MATRICES`.
      color_range: of the source video, "limited" or "full".
      gop: most frames from one keyframe up to the next, 1 .. 65535.
      key_sizes: codebook size K of each stage for keyframes, 2 .. 65536.
      predicted_sizes: (rate name, codebook sizes) for each rate of predicted frames, 1 .. 8 of them.
      extensions: (id, value) of optional fields, 0 <= id < 65536; unknown ones are for others to read.
      version: (major, minor) of the format; from 1.1 on, records may be coded adaptively, from 1.2 on skip blocks,
        from 1.3 on blocks that move, too, and from 1.4 on blocks that follow one displacement.
    """

    model_sha256: bytes
    width: int
    height: int
    time_base: Fraction
    frame_rate: Fraction | None
    color_matrix: ColorMatrix
    color_range: ColorRange
    gop: int
    key_sizes: tuple[int, ...]
    predicted_sizes: tuple[tuple[str, tuple[int, ...]], ...]
    extensions: tuple[tuple[int, bytes], ...] = ()
    version: tuple[int, int] = VERSION

    def __post_init__(self) -> None:
        self.check()

    @property
    def rates(self) -> tuple[str, ...]:
        """Names of the rates of predicted frames, in the order of the rate table."""
        return tuple(name for name, _ in self.predicted_sizes)

    @property
    def adaptive(self) -> bool:
        """Whether records may be coded adaptively, so that a reader has to learn from each frame."""
        return self.version > FIXED_VERSION

    @property
    def skipping(self) -> bool:
        """Whether records may skip blocks."""
        return self.version > ADAPTIVE_VERSION

    @property
    def ways(self) -> int:
        """What may become of a block in a record that skips some: the first so many of `cbvc_jax.geometry`'s."""
        later = (1 + STAYS, SKIPPING_VERSION), (1 + MOVES, MOVING_VERSION)
        return next((ways for ways, version in later if self.version <= version), WAYS)

    def layouts(self) -> dict[str, PayloadLayout]:
        """Payload layout of keyframes (under "key") and of predicted frames by rate name."""
        sizes = {KEYFRAME: self.key_sizes, **dict(self.predicted_sizes)}
        return {name: PayloadLayout(self.height, self.width, k) for name, k in sizes.items()}

    def check(self) -> None:
        """Raises a UsageError that names the first field whose value makes no sense."""
        if not isinstance(self.model_sha256, bytes) or len(self.model_sha256) != 32:
            raise _FieldError("model_sha256", "a model's identity is 32 bytes of SHA-256")
        for side in ("width", "height"):
            _integer(side, getattr(self, side), 1, MAX_SIDE)
        _fraction("time_base", self.time_base)
        if self.frame_rate is not None:
            _fraction("frame_rate", self.frame_rate)
        for field, known in (("color_matrix", COLOR_MATRICES), ("color_range", COLOR_RANGES)):
            if getattr(self, field) not in known:
                raise _FieldError(field, f"{field} '{getattr(self, field)}' is unknown; known: {', '.join(known)}")
        _integer("gop", self.gop, 1, MAX_U16)
        _sizes("key_sizes", self.key_sizes)
        if not 1 <= len(self.predicted_sizes) <= MAX_RATES:
            raise _FieldError(
                "predicted_sizes", f"a stream has 1 to {MAX_RATES} rates, not {len(self.predicted_sizes)}"
            )
        for name, sizes in self.predicted_sizes:
            if not _RATE_NAME.fullmatch(name) or name == KEYFRAME:
                raise _FieldError("predicted_sizes", f"{name!r} cannot name a rate")
            _sizes("predicted_sizes", sizes)
        if len(set(self.rates)) < len(self.rates):
            raise _FieldError("predicted_sizes", "two rates have the same name")
        for field_id, value in self.extensions:
            _extension(field_id, value)
        if self.version[0] != VERSION[0] or not 0 <= self.version[1] <= 255:
            raise _FieldError("version", f"version {self.version} is not a minor version of {VERSION[0]}")
        if len(self._body()) > MAX_HEADER_BYTES - _PREFIX.size - _CRC_BYTES:
            raise _FieldError("extensions", f"the header is longer than {MAX_HEADER_BYTES} bytes")

    def pack(self) -> bytes:
        """The header's bytes, its CRC-32 last."""
        body = self._body()
        prefix = _PREFIX.pack(MAGIC, *self.version, _PREFIX.size + len(body) + _CRC_BYTES)
        return prefix + body + struct.pack(">I", zlib.crc32(prefix + body))

    def _body(self) -> bytes:
        rate = (self.frame_rate.numerator, self.frame_rate.denominator) if self.frame_rate is not None else (0, 0)
        fixed = _FIXED.pack(
            self.model_sha256,
            self.width,
            self.height,
            self.time_base.numerator,
            self.time_base.denominator,
            *rate,
            COLOR_MATRICES[self.color_matrix],
            COLOR_RANGES[self.color_range],
            self.gop,
        )
        pieces = [fixed, _pack_sizes(self.key_sizes), bytes([len(self.predicted_sizes)])]
        for name, sizes in self.predicted_sizes:
            pieces += [bytes([len(name)]), name.encode("ascii"), _pack_sizes(sizes)]
        for field_id, value in self.extensions:
            pieces += [_EXTENSION.pack(field_id, len(value)), value]
        return b"".join(pieces)


def read_header(source: ByteSource) -> tuple[StreamHeader, int, int]:
    """(header, its CRC-32, its length in bytes); the source is left behind it.

    Raises:
      BitstreamError: not a stream, of another major version (UnsupportedError), cut short (TruncatedError), or damaged.
    """
    try:
        magic, major, minor, length = _PREFIX.unpack(source.peek(_PREFIX.size))
    except TruncatedError as cut:
        raise TruncatedError("too short to be a stream", cut.offset) from None
    if magic != MAGIC:
        raise BitstreamError("not a stream: the first bytes are not those of the format", 0)
    if major != VERSION[0]:
        raise UnsupportedError(f"format version {major}.{minor}; this reader knows version {VERSION[0]}", 4)
    if length < _PREFIX.size + _FIXED.size + _SIZES.size + 1 + _CRC_BYTES:
        raise BitstreamError(f"a header of {length} bytes is too short", 6)
    try:
        data = source.peek(length)
    except TruncatedError as cut:
        raise TruncatedError("the stream is cut short in its header", cut.offset) from None
    body, (crc,) = data[:-_CRC_BYTES], struct.unpack(">I", data[-_CRC_BYTES:])
    if zlib.crc32(body) != crc:
        raise BitstreamError("the header is damaged: its checksum does not match", length - _CRC_BYTES)
    header = _parse(body, (major, minor))
    source.drop(length)
    return header, crc, length


def _parse(data: bytes, version: tuple[int, int]) -> StreamHeader:
    """The header whose bytes up to the checksum are `data`; BitstreamError at the field that makes no sense."""
    places = {"version": 4} | {name: _PREFIX.size + at for name, at in _FIXED_PLACES.items()}
    fields = _FIXED.unpack_from(data, _PREFIX.size)
    model, width, height, tick, ticks, rate, rate_base, matrix, color_range, gop = fields
    cursor = _Cursor(data, _PREFIX.size + _FIXED.size)
    places["key_sizes"] = cursor.at
    key_sizes = cursor.sizes()
    places["predicted_sizes"] = cursor.at
    predicted = []
    for _ in range(cursor.take(1)[0]):
        name = cursor.take(cursor.take(1)[0]).decode("latin-1")
        predicted.append((name, cursor.sizes()))
    places["extensions"] = cursor.at
    extensions = []
    while cursor.at < len(data):
        field_id, length = _EXTENSION.unpack(cursor.take(_EXTENSION.size))
        extensions.append((field_id, cursor.take(length)))
    if ticks == 0 or (rate_base == 0) != (rate == 0):
        raise BitstreamError("a fraction in the header is zero or has no value", places["time_base"])
    try:
        return StreamHeader(
            model_sha256=model,
            width=width,
            height=height,
            time_base=Fraction(tick, ticks),
            frame_rate=Fraction(rate, rate_base) if rate else None,
            color_matrix=_name_of(COLOR_MATRICES, matrix),
            color_range=_name_of(COLOR_RANGES, color_range),
            gop=gop,
            key_sizes=key_sizes,
            predicted_sizes=tuple(predicted),
            extensions=tuple(extensions),
            version=version,
        )
    except _FieldError as error:
        raise BitstreamError(str(error), places[error.field]) from None


_FIXED_PLACES = {
    "model_sha256": 0,
    "width": 32,
    "height": 34,
    "time_base": 36,
    "frame_rate": 44,
    "color_matrix": 52,
    "color_range": 53,
    "gop": 54,
}


class _Cursor:
    """Takes bytes off the header in order; BitstreamError where they would run over its end."""

    def __init__(self, data: bytes, at: int):
        self._data = data
        self.at = at

    def take(self, count: int) -> bytes:
        if self.at + count > len(self._data):
            raise BitstreamError("a field runs over the end of the header", self.at)
        self.at += count
        return self._data[self.at - count : self.at]

    def sizes(self) -> tuple[int, ...]:
        return tuple(size + 1 for size in _SIZES.unpack(self.take(_SIZES.size)))


def _name_of(names: Mapping[Any, int], code: int) -> Any:
    """The name of `code`, or words that the check of the header refuses."""
    return next((name for name, value in names.items() if value == code), f"code {code}")


def _pack_sizes(sizes: tuple[int, ...]) -> bytes:
    return _SIZES.pack(*(size - 1 for size in sizes))


def _integer(field: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise _FieldError(field, f"{field} is {value}; it must be an integer in {low} .. {high}")


def _fraction(field: str, value: Fraction) -> None:
    if not isinstance(value, Fraction) or not 0 < value.numerator <= MAX_U32 or value.denominator > MAX_U32:
        raise _FieldError(field, f"{field} is {value}; it must be a positive Fraction of 32-bit integers")


def _sizes(field: str, sizes: tuple[int, ...]) -> None:
    if len(sizes) != len(STAGE_STRIDES):
        raise _FieldError(field, f"{len(STAGE_STRIDES)} codebook sizes are needed, not {len(sizes)}")
    for size in sizes:
        _integer(field, size, 2, MAX_CODEBOOK)


def _extension(field_id: int, value: bytes) -> None:
    _integer("extensions", field_id, 0, MAX_U16)
    if not isinstance(value, bytes) or len(value) > MAX_U16:
        raise _FieldError("extensions", f"the value of an extension field is at most {MAX_U16} bytes")
