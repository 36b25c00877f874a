"""`open_video`: any source of frames -> a stream of RGB frames with timestamps.

    file that FFmpeg reads  --- container, decoded --.
    .y4m file, "-" (stdin)  --- y4m -----------------+-- RGB --> scaled to `size` --> VideoFrame, VideoFrame, ...
    .yuv file               --- planar --------------+
    pictures                --- pictures ------------'

One frame is held at a time (and what FFmpeg's decoder threads hold), so a video of any length can be read.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from cbvc_jax.errors import VideoError
from cbvc_jax.video import pictures, y4m
from cbvc_jax.video.container import open_container
from cbvc_jax.video.frames import (
    DEFAULT_FRAME_RATE,
    ColorRange,
    Matrix,
    VideoFrame,
    VideoInfo,
    check_size,
    default_matrix,
)
from cbvc_jax.video.planar import PlanarFormat, read_upto
from cbvc_jax.video.stream import VideoReader, Wanted, scaled

STDIN = "-"
RAW_SUFFIX = ".yuv"
VIDEO_SUFFIXES = frozenset((RAW_SUFFIX, ".mp4", ".mkv", ".mov", ".webm", ".avi", ".y4m", ".m4v", ".mpg"))
"""What a file must end in to be taken for a video where a folder is searched."""
SIZE_IN_NAME = re.compile(r"(?<![0-9])([0-9]{2,5})x([0-9]{2,5})(?![0-9])")
TEN_BITS = re.compile(r"10bit|10le|10-bit", re.IGNORECASE)


def open_video(
    source: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    frame_rate: Fraction | int | None = None,
    matrix: Matrix | None = None,
    color_range: ColorRange | None = None,
) -> VideoReader:
    """A reader of `source`, whose first frame has been decoded already where that is needed to describe it.

    Args:
      source: a file that FFmpeg reads, a `.y4m` file, a raw 4:2:0 `.yuv` file (8 bits, or 10 little-endian if its name
        says 10bit or 10le), a folder of pictures, a numbered name such as `out_%05d.png`, one picture, or "-" for Y4M
        on standard input.
      size: (width, height) in pixels. For raw `.yuv` the size of its frames, and needed; other frames are scaled to it.
      frame_rate: frames a second. Frame i is then timed at i / frame_rate, whatever the source says. Without it the
        source's own timestamps hold; pictures and raw video are taken at 25.
      matrix, color_range: how the source's YUV is to be read, in place of its tags. Untagged YUV is bt709 from 720
        lines on and bt601 below, and limited range; untagged grey is full range. Neither changes RGB sources.

    Raises:
      VideoError: the source is missing, damaged, empty, without video, or of a kind that is not supported.
    """
    rate = Fraction(frame_rate) if frame_rate is not None else None
    if rate is not None and rate <= 0:
        raise VideoError(f"a frame rate of {rate} makes no sense: it must be above 0")
    if size is not None:
        check_size(*size)
    if matrix == "rgb":
        raise VideoError("matrix says how YUV is read: bt601, bt709 or bt2020")
    wanted = Wanted(size, rate, matrix, color_range)
    if os.fspath(source) == STDIN:
        return _open_y4m(sys.stdin.buffer, "standard input", None, wanted)
    path = Path(source)
    suffix = path.suffix.lower()
    if path.is_dir() or pictures.is_pattern(path) or (suffix in pictures.SUFFIXES and path.exists()):
        return _open_pictures(path, wanted)
    if not path.exists():
        raise VideoError(f"{path} does not exist")
    if path.is_file() and path.stat().st_size == 0:
        raise VideoError(f"{path} is empty")
    if suffix == ".y4m":
        file = _open_file(path)
        length = path.stat().st_size if path.is_file() else None
        return _open_y4m(file, str(path), length, wanted)
    if suffix == RAW_SUFFIX:
        return _open_raw(path, wanted)
    return open_container(path, wanted)


def _open_y4m(file: BinaryIO, name: str, length: int | None, wanted: Wanted) -> VideoReader:
    """A reader of Y4M from an open file or pipe; `length` in bytes if it is known."""
    close = file.close if file is not sys.stdin.buffer else lambda: None
    try:
        header = y4m.read_header(file, name)
    except BaseException:
        close()
        raise
    layout = header.format
    frames = (length - header.length_bytes) // (layout.frame_bytes + len(b"FRAME\n")) if length else None
    rate = wanted.frame_rate or header.frame_rate or DEFAULT_FRAME_RATE
    info = VideoInfo(
        *(wanted.size or (layout.width, layout.height)),
        1 / rate,
        rate,
        wanted.matrix or header.matrix or default_matrix(layout.height),
        wanted.color_range or header.color_range or ("full" if layout.layout == "gray" else "limited"),
        frames,
        layout.bit_depth,
    )
    notes = list(header.notes)
    blocks = y4m.read_frames(file, header, name, notes)
    converted = (VideoFrame(layout.to_rgb(data, info.matrix, info.color_range), i) for i, data in enumerate(blocks))
    return VideoReader(info, scaled(converted, wanted.size), notes, close)


def _open_raw(path: Path, wanted: Wanted) -> VideoReader:
    """A reader of a headerless planar 4:2:0 file, whose length must fit the wanted size."""
    size = wanted.size
    if size is None:
        raise VideoError(f"{path} is raw video without a header: give the size of its frames")
    layout = PlanarFormat(*size, "420", 10 if TEN_BITS.search(path.name) else 8)
    count, rest = divmod(path.stat().st_size, layout.frame_bytes)
    if rest:
        raise VideoError(
            f"{path} has {path.stat().st_size} bytes, which is not a whole number of {layout.bit_depth}-bit 4:2:0 "
            f"frames of {size[0]}x{size[1]} pixels ({layout.frame_bytes} bytes each); is the size right?"
        )
    rate = wanted.frame_rate or DEFAULT_FRAME_RATE
    info = VideoInfo(
        *size,
        1 / rate,
        rate,
        wanted.matrix or default_matrix(size[1]),
        wanted.color_range or "limited",
        count,
        layout.bit_depth,
    )
    file = _open_file(path)

    def frames() -> Iterator[VideoFrame]:
        for number in range(count):
            data = read_upto(file, layout.frame_bytes)
            if len(data) < layout.frame_bytes:
                raise VideoError(f"{path} became shorter while it was read: frame {number + 1} is not whole")
            yield VideoFrame(layout.to_rgb(data, info.matrix, info.color_range), number)

    return VideoReader(info, frames(), [], file.close)


def _open_pictures(path: Path, wanted: Wanted) -> VideoReader:
    """A reader of a folder of pictures, a numbered name or one picture."""
    files = pictures.list_pictures(path)
    first = pictures.read_picture(files[0])
    rate = wanted.frame_rate or DEFAULT_FRAME_RATE
    height, width = first.shape[:2]
    info = VideoInfo(*(wanted.size or (width, height)), 1 / rate, rate, "rgb", "full", len(files))
    frames = (VideoFrame(rgb, number) for number, rgb in enumerate(pictures.read_pictures(files)))
    return VideoReader(info, scaled(frames, wanted.size), [], lambda: None)


def _open_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise VideoError(f"{path} cannot be opened: {error.strerror}") from error
