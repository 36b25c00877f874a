"""YUV4MPEG2 (`.y4m`): uncompressed video with a one-line header, the usual thing to send through a pipe.

    YUV4MPEG2 W352 H288 F30:1 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\\n
    FRAME\\n  <planes>  FRAME\\n  <planes>  ...

The format has no field for the matrix. The comment field `XMATRIX=bt601|bt709|bt2020` carries it between our own files;
other programs skip it. Its frame rate is constant, so a frame's timestamp is its number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from cbvc_jax.errors import VideoError
from cbvc_jax.video.color import Siting
from cbvc_jax.video.frames import DEFAULT_FRAME_RATE, MAX_TICKS, ColorRange, Matrix, check_size
from cbvc_jax.video.planar import ByteSource, Layout, PlanarFormat, read_upto

MAGIC = b"YUV4MPEG2"
MAX_HEADER_BYTES = 1024
MAX_FRAME_LINE_BYTES = 256
MATRICES: dict[str, Matrix] = {"bt601": "bt601", "bt709": "bt709", "bt2020": "bt2020"}
# Chroma tags of 8 bits; C420p10, C444p12, ... are read by rule.
CHROMA: dict[str, tuple[Layout, Siting]] = {
    "420": ("420", "center"),
    "420jpeg": ("420", "center"),
    "420mpeg2": ("420", "left"),
    "420paldv": ("420", "topleft"),
    "422": ("422", "left"),
    "444": ("444", "left"),
    "mono": ("gray", "left"),
}


@dataclass(frozen=True)
class Y4mHeader:
    """The stream header: format of a frame, and what is said of rate and colour. None means that it is not said."""

    format: PlanarFormat
    frame_rate: Fraction | None
    color_range: ColorRange | None
    matrix: Matrix | None
    notes: tuple[str, ...]
    length_bytes: int


def read_header(source: ByteSource, name: str) -> Y4mHeader:
    """The stream header at the start of `source`; `name` is for messages. Raises VideoError if it is none of ours."""
    line = _read_line(source, MAX_HEADER_BYTES)
    if not line.startswith(MAGIC + b" "):
        raise VideoError(
            f"{name} does not carry Y4M video: it starts with {line[:16]!r}; make one with "
            "`ffmpeg -i INPUT -f yuv4mpegpipe -strict -1 -`"
        )
    if not line.endswith(b"\n"):
        raise VideoError(f"the Y4M header of {name} has no end within {MAX_HEADER_BYTES} bytes")
    fields: dict[str, str] = {}
    comments: list[str] = []
    for token in line[len(MAGIC) :].decode("ascii", "replace").split():
        if token[0] == "X":
            comments.append(token[1:])
        else:
            fields[token[0]] = token[1:]
    width, height = (_integer(fields, key, name) for key in "WH")
    check_size(width, height)
    layout, siting, bit_depth = _chroma(fields.get("C", "420jpeg"), name)
    notes: list[str] = []
    if fields.get("I", "p")[:1] not in "p?":
        notes.append("the video is interlaced; its two fields are coded woven together, as one progressive frame")
    if fields.get("A", "0:0") not in ("0:0", "1:1"):
        notes.append(f"the pixels are not square (aspect {fields['A']}); they are coded as they are stored")
    color_range, matrix = _comments(comments)
    return Y4mHeader(
        PlanarFormat(width, height, layout, bit_depth, siting),
        _rate(fields.get("F", "0:0"), name),
        color_range,
        matrix,
        tuple(notes),
        len(line),
    )


def read_frames(source: ByteSource, header: Y4mHeader, name: str, notes: list[str]) -> Iterator[bytes]:
    """The bytes of each frame in turn. A last frame cut short is left out and said in `notes`.

    Raises:
      VideoError: something else stands where a frame should begin, or not one frame is whole.
    """
    count = 0
    offset = header.length_bytes
    size = header.format.frame_bytes
    while line := _read_line(source, MAX_FRAME_LINE_BYTES):
        whole = line.endswith(b"\n")
        if not (line.split()[:1] == [b"FRAME"] if whole else b"FRAME".startswith(line[:5])):
            raise VideoError(f"{name} is damaged: no frame begins at byte {offset}, after {count} whole frames")
        data = read_upto(source, size) if whole else b""
        if len(data) < size:
            notes.append(f"{name} is cut short in frame {count + 1}; the {count} whole frames before it were read")
            break
        yield data
        count += 1
        offset += len(line) + size
    if count == 0:
        raise VideoError(f"{name} has a Y4M header but not one whole frame")


def header_line(format: PlanarFormat, frame_rate: Fraction | None, matrix: Matrix, color_range: ColorRange) -> bytes:
    """The stream header for 8-bit 4:2:0 or 4:4:4 video; an unknown rate is written as 25 frames a second."""
    rate = frame_rate or DEFAULT_FRAME_RATE
    chroma = (
        "444"
        if format.layout == "444"
        else {"left": "420mpeg2", "center": "420jpeg", "topleft": "420paldv"}[format.siting]
    )
    return (
        f"YUV4MPEG2 W{format.width} H{format.height} F{rate.numerator}:{rate.denominator} Ip A1:1 C{chroma} "
        f"XCOLORRANGE={color_range.upper()} XMATRIX={matrix}\n"
    ).encode("ascii")


def _read_line(source: ByteSource, limit: int) -> bytes:
    """Bytes up to and with the next newline, at most `limit` of them; fewer without a newline where the source ends."""
    line = bytearray()
    while len(line) < limit:
        byte = source.read(1)
        line += byte
        if byte in (b"", b"\n"):
            break
    return bytes(line)


def _integer(fields: dict[str, str], key: str, name: str) -> int:
    text = fields.get(key, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise VideoError(f"the Y4M header of {name} has no usable {'width' if key == 'W' else 'height'}: {text!r}")
    return int(text)


def _chroma(tag: str, name: str) -> tuple[Layout, Siting, int]:
    if tag in CHROMA:
        return (*CHROMA[tag], 8)
    stem, _, depth = tag.replace("mono", "monop").partition("p")
    if stem in ("420", "422", "444", "mono") and depth.isdigit() and depth in ("9", "10", "12", "14", "16"):
        # High bit depths come from encoders of H.264 and its successors, whose chroma lies left.
        return CHROMA[stem][0], "left", int(depth)
    raise VideoError(
        f"{name} has Y4M chroma C{tag}, which is not supported; convert it with `-pix_fmt yuv420p` or yuv444p"
    )


def _rate(text: str, name: str) -> Fraction | None:
    numerator, _, denominator = text.partition(":")
    if not (numerator.isascii() and numerator.isdigit() and denominator.isascii() and denominator.isdigit()):
        raise VideoError(f"the Y4M header of {name} has no usable frame rate: F{text}")
    if int(numerator) == 0 or int(denominator) == 0:
        return None
    if max(int(numerator), int(denominator)) > MAX_TICKS:
        raise VideoError(f"the Y4M header of {name} has no usable frame rate: F{text}")
    return Fraction(int(numerator), int(denominator))


def _comments(comments: list[str]) -> tuple[ColorRange | None, Matrix | None]:
    color_range: ColorRange | None = None
    matrix: Matrix | None = None
    for comment in comments:
        key, _, value = comment.partition("=")
        if key == "COLORRANGE" and value.lower() in ("full", "limited"):
            color_range = "full" if value.lower() == "full" else "limited"
        if key == "MATRIX":
            matrix = MATRICES.get(value.lower()) or matrix
    return color_range, matrix
