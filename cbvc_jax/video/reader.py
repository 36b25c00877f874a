"""`open_video`: any source of frames -> a stream of RGB frames with timestamps.

    file that FFmpeg reads  --- container, decoded --.
    .y4m file, "-" (stdin)  --- y4m -----------------+-- RGB --> scaled to `size` --> VideoFrame, VideoFrame, ...
    .yuv file               --- planar --------------+
    pictures                --- pictures ------------'

One frame is held at a time (and what FFmpeg's decoder threads hold), so a video of any length can be read.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from PIL import Image

from cbvc_jax.errors import VideoError
from cbvc_jax.video import decoded, pictures, y4m
from cbvc_jax.video.container import Container
from cbvc_jax.video.frames import (
    DEFAULT_FRAME_RATE,
    RGB,
    ColorRange,
    Matrix,
    VideoFrame,
    VideoInfo,
    check_size,
    default_matrix,
)
from cbvc_jax.video.planar import PlanarFormat, read_upto

STDIN = "-"
# Scalers write 1088/1089 and the like to keep a shape to the last digit; nobody sees that.
MAX_ASPECT_ERROR = 0.01
TEN_BITS = re.compile(r"10bit|10le|10-bit", re.IGNORECASE)


class VideoReader:
    """An open video: iterate once over it for its frames. A context manager; leaving it closes the source.

    Attributes:
      info: what was known before the frames were read.
      notes: sentences on what was odd about the source; complete when the iteration is over.
    """

    def __init__(self, info: VideoInfo, frames: Iterator[VideoFrame], notes: list[str], close: Callable[[], None]):
        self.info = info
        self.notes = notes
        self._frames = frames
        self._close = close

    def __iter__(self) -> Iterator[VideoFrame]:
        return self._frames

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the source; returns nothing. No frames can be read after it."""
        self._frames = iter(())
        self._close()


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
    if os.fspath(source) == STDIN:
        return _open_y4m(sys.stdin.buffer, "standard input", None, size, rate, matrix, color_range)
    path = Path(source)
    suffix = path.suffix.lower()
    if path.is_dir() or pictures.is_pattern(path) or (suffix in pictures.SUFFIXES and path.exists()):
        return _open_pictures(path, size, rate)
    if not path.exists():
        raise VideoError(f"{path} does not exist")
    if path.is_file() and path.stat().st_size == 0:
        raise VideoError(f"{path} is empty")
    if suffix == ".y4m":
        file = _open_file(path)
        length = path.stat().st_size if path.is_file() else None
        return _open_y4m(file, str(path), length, size, rate, matrix, color_range)
    if suffix == ".yuv":
        return _open_raw(path, size, rate, matrix, color_range)
    return _open_container(path, size, rate, matrix, color_range)


def _open_container(
    path: Path,
    size: tuple[int, int] | None,
    rate: Fraction | None,
    matrix: Matrix | None,
    color_range: ColorRange | None,
) -> VideoReader:
    with ExitStack() as on_error:
        container = Container(path)
        on_error.callback(container.close)
        frames = container.frames()
        first = next(frames)
        tagged_matrix, tagged_range = decoded.tagged_color(first, path)
        if tagged_matrix == "rgb":
            matrix = None
            color_range = None
        elif matrix is None and tagged_matrix is None:
            decoded.check_matrix(first, path)
        turn = decoded.display_matrix(first)
        if first.interlaced_frame:
            container.notes.append("the video is interlaced; its two fields are coded woven together, as one frame")
        aspect = container.stream.sample_aspect_ratio
        if aspect and abs(aspect - 1) > MAX_ASPECT_ERROR:
            container.notes.append(f"the pixels are not square (aspect {aspect}); they are coded as they are stored")
        siting = decoded.chroma_siting(container.stream.codec_context.name)
        own_matrix = matrix or tagged_matrix or default_matrix(first.height)
        own_range = color_range or tagged_range or "limited"
        width, height = first.width, first.height
        shown = (height, width) if turn is not None and turn[0] == 0 else (width, height)

        def timed() -> Iterator[tuple[RGB, int | None]]:
            for number, frame in enumerate(itertools.chain([first], frames), 1):
                if (frame.width, frame.height) != (width, height) and size is None:
                    raise VideoError(
                        f"{path} changes from {width}x{height} to {frame.width}x{frame.height} pixels at frame "
                        f"{number}; give a size to scale all frames to"
                    )
                rgb = decoded.frame_to_rgb(frame, own_matrix, own_range, siting)
                yield decoded.turn_upright(rgb, turn), frame.pts

        out_size = size or shown
        info = VideoInfo(
            *out_size,
            1 / rate if rate else container.time_base,
            rate or container.frame_rate,
            own_matrix,
            own_range,
            container.frame_count,
            decoded.bit_depth(first),
        )
        retimed = _retime(timed(), info, rate is not None, container.notes)
        on_error.pop_all()
        return VideoReader(info, _scaled(retimed, size), container.notes, container.close)
    raise AssertionError("unreachable")


def _open_y4m(
    file: BinaryIO,
    name: str,
    length: int | None,
    size: tuple[int, int] | None,
    rate: Fraction | None,
    matrix: Matrix | None,
    color_range: ColorRange | None,
) -> VideoReader:
    close = file.close if file is not sys.stdin.buffer else lambda: None
    with ExitStack() as on_error:
        on_error.callback(close)
        header = y4m.read_header(file, name)
        layout = header.format
        frames = (length - header.length_bytes) // (layout.frame_bytes + len(b"FRAME\n")) if length else None
        own_rate = rate or header.frame_rate or DEFAULT_FRAME_RATE
        info = VideoInfo(
            *(size or (layout.width, layout.height)),
            1 / own_rate,
            own_rate,
            matrix or header.matrix or default_matrix(layout.height),
            color_range or header.color_range or ("full" if layout.layout == "gray" else "limited"),
            frames,
            layout.bit_depth,
        )
        notes = list(header.notes)
        blocks = y4m.read_frames(file, header, name, notes)
        converted = (
            VideoFrame(layout.to_rgb(data, info.matrix, info.color_range), number) for number, data in enumerate(blocks)
        )
        on_error.pop_all()
        return VideoReader(info, _scaled(converted, size), notes, close)
    raise AssertionError("unreachable")


def _open_raw(
    path: Path,
    size: tuple[int, int] | None,
    rate: Fraction | None,
    matrix: Matrix | None,
    color_range: ColorRange | None,
) -> VideoReader:
    if size is None:
        raise VideoError(f"{path} is raw video without a header: give the size of its frames")
    layout = PlanarFormat(*size, "420", 10 if TEN_BITS.search(path.name) else 8)
    count, rest = divmod(path.stat().st_size, layout.frame_bytes)
    if rest:
        raise VideoError(
            f"{path} has {path.stat().st_size} bytes, which is not a whole number of {layout.bit_depth}-bit 4:2:0 "
            f"frames of {size[0]}x{size[1]} pixels ({layout.frame_bytes} bytes each); is the size right?"
        )
    rate = rate or DEFAULT_FRAME_RATE
    info = VideoInfo(
        *size, 1 / rate, rate, matrix or default_matrix(size[1]), color_range or "limited", count, layout.bit_depth
    )
    file = _open_file(path)

    def frames() -> Iterator[VideoFrame]:
        for number in range(count):
            data = read_upto(file, layout.frame_bytes)
            if len(data) < layout.frame_bytes:
                raise VideoError(f"{path} became shorter while it was read: frame {number + 1} is not whole")
            yield VideoFrame(layout.to_rgb(data, info.matrix, info.color_range), number)

    return VideoReader(info, frames(), [], file.close)


def _open_pictures(path: Path, size: tuple[int, int] | None, rate: Fraction | None) -> VideoReader:
    files = pictures.list_pictures(path)
    first = pictures.read_picture(files[0])
    rate = rate or DEFAULT_FRAME_RATE
    height, width = first.shape[:2]
    info = VideoInfo(*(size or (width, height)), 1 / rate, rate, "rgb", "full", len(files))
    frames = (VideoFrame(rgb, number) for number, rgb in enumerate(pictures.read_pictures(files)))
    return VideoReader(info, _scaled(frames, size), [], lambda: None)


def _open_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise VideoError(f"{path} cannot be opened: {error.strerror}") from error


def _retime(
    frames: Iterator[tuple[RGB, int | None]], info: VideoInfo, constant: bool, notes: list[str]
) -> Iterator[VideoFrame]:
    """Frames with strictly increasing timestamps: the source's, or a frame after the last where it has none usable."""
    if constant:
        yield from (VideoFrame(rgb, number) for number, (rgb, _) in enumerate(frames))
        return
    step = 1 / ((info.frame_rate or DEFAULT_FRAME_RATE) * info.time_base)
    last: int | None = None
    due = Fraction(0)
    repaired = 0
    for rgb, own_stamp in frames:
        if own_stamp is None or (last is not None and own_stamp <= last):
            repaired += 1
            stamp = round(due) if last is None else max(round(due), last + 1)
        else:
            stamp = own_stamp
            due = Fraction(stamp)
        yield VideoFrame(rgb, stamp)
        last = stamp
        due += step
    if repaired:
        notes.append(f"{repaired} frames had no usable timestamp; they are timed by the frame rate")


def _scaled(frames: Iterator[VideoFrame], size: tuple[int, int] | None) -> Iterator[VideoFrame]:
    for frame in frames:
        height, width = frame.rgb.shape[:2]
        if size is None or size == (width, height):
            yield frame
        else:
            scaled = Image.fromarray(frame.rgb).resize(size, Image.Resampling.LANCZOS)
            yield VideoFrame(np.array(scaled), frame.timestamp)
