"""What writes frames into one kind of output each: H.264 in MP4 or Matroska, Y4M, numbered PNG pictures.

A sink has `write(rgb, timestamp)`, then either `finish()` or `abort()`; after either it holds nothing open.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame as AvFrame
from PIL import Image

from cbvc_jax.errors import VideoError
from cbvc_jax.video import y4m
from cbvc_jax.video.atomic import Staging, explain, writing
from cbvc_jax.video.color import Planes, rgb_to_yuv
from cbvc_jax.video.frames import DEFAULT_FRAME_RATE, RGB, VideoInfo
from cbvc_jax.video.pictures import NUMBER_FIELD, numbered_files
from cbvc_jax.video.planar import PlanarFormat

# ITU-T H.273 code points (matrix, primaries, transfer) written for each matrix, and those of the two ranges.
COLOR_CODES: dict[str, tuple[int, int, int]] = {"bt601": (6, 6, 6), "bt709": (1, 1, 1), "bt2020": (9, 9, 14)}
RANGE_CODES = {"limited": 1, "full": 2}


class Sink(Protocol):
    """One output being written."""

    def write(self, rgb: RGB, timestamp: int) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None: ...


def output_color(info: VideoInfo) -> VideoInfo:
    """`info` with a colour that YUV can be written in: that of the source, or bt709 limited for an RGB source."""
    if info.matrix != "rgb":
        return info
    return VideoInfo(info.width, info.height, info.time_base, info.frame_rate, "bt709", "limited")


def is_subsampled(info: VideoInfo) -> bool:
    """True if the frames are written as 4:2:0. With an odd side that is not allowed in H.264, so they stay 4:4:4."""
    return info.width % 2 == 0 and info.height % 2 == 0


class H264Sink:
    """libx264 in MP4 or Matroska. Matroska keeps time in whole milliseconds; MP4 keeps every timestamp exactly."""

    def __init__(self, staging: Staging, container_format: str, info: VideoInfo, crf: float):
        self._staging = staging
        self._info = info = output_color(info)
        self._subsampled = is_subsampled(info)
        self._pix_fmt = "yuv420p" if self._subsampled else "yuv444p"
        self._codes = COLOR_CODES[info.matrix]
        self._range = RANGE_CODES[info.color_range]
        rate = (info.frame_rate or DEFAULT_FRAME_RATE).limit_denominator(1 << 20)
        self._frame_ticks = max(1, round(1 / (rate * info.time_base)))
        options = {"movflags": "+faststart"} if container_format == "mp4" else {}
        try:
            self._container = av.open(str(staging.path), "w", format=container_format, container_options=options)
            self._stream = self._container.add_stream("libx264", rate=rate, options={"crf": f"{crf:g}"})
            self._set_up(info)
        except (FFmpegError, OSError, ValueError) as error:
            staging.discard()
            self._fail(error)

    def _set_up(self, info: VideoInfo) -> None:
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = info.width, info.height, self._pix_fmt
        context.time_base = self._stream.time_base = info.time_base
        context.colorspace, context.color_primaries, context.color_trc = self._codes
        context.color_range = self._range

    def write(self, rgb: RGB, timestamp: int) -> None:
        frame = _av_frame(rgb_to_yuv(rgb, self._info.matrix, self._info.color_range, self._subsampled), self._pix_fmt)
        frame.colorspace, frame.color_range = self._codes[0], self._range
        frame.pts, frame.time_base = timestamp, self._info.time_base
        frame.duration = self._frame_ticks
        self._encode(frame)

    def finish(self) -> None:
        self._encode(None)
        try:
            self._container.close()
        except (FFmpegError, OSError) as error:
            self._fail(error)

    def abort(self) -> None:
        # Closing writes an index for what is there; the file goes away after it, so whether that works is no matter.
        try:
            self._container.close()
        except (FFmpegError, OSError, ValueError):
            return

    def _encode(self, frame: AvFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except (FFmpegError, OSError, ValueError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        target = str(self._staging.target)
        if isinstance(error, OSError):
            explain(error, target)
        info = self._info
        raise VideoError(
            f"{target} cannot be written: FFmpeg's H.264 encoder failed on {info.width}x{info.height} pixels: {error}"
        ) from error


class Y4mSink:
    """Y4M: 4:2:0 with centred chroma, or 4:4:4 where a side is odd. The rate is constant: timestamps are not kept."""

    def __init__(self, name: str, info: VideoInfo, write: Callable[[bytes], Any], close: Callable[[], None]):
        self._name, self._write, self._close = name, write, close
        self._info = info = output_color(info)
        layout = PlanarFormat(info.width, info.height, "420" if is_subsampled(info) else "444", siting="center")
        with writing(name):
            write(y4m.header_line(layout, info.frame_rate, info.matrix, info.color_range))

    def write(self, rgb: RGB, timestamp: int) -> None:
        info = self._info
        planes = rgb_to_yuv(rgb, info.matrix, info.color_range, is_subsampled(info), "center")
        with writing(self._name):
            self._write(b"FRAME\n" + b"".join(plane.tobytes() for plane in planes))

    def finish(self) -> None:
        with writing(self._name):
            self._close()

    def abort(self) -> None:
        try:
            self._close()
        except OSError:
            return


class PngSink:
    """Numbered PNG pictures from number 1 on, lossless. An older sequence of the same name is replaced as a whole."""

    def __init__(self, pattern: Path, staging: Staging, overwrite: bool):
        """Raises VideoError if pictures of that name exist and may not be replaced."""
        self._pattern, self._staging, self._count = pattern, staging, 0
        if numbered_files(pattern) and not overwrite:
            staging.discard()
            raise VideoError(f"pictures named like {pattern} exist already; remove them or allow overwriting")

    def write(self, rgb: RGB, timestamp: int) -> None:
        self._count += 1
        with writing(str(self._pattern)):
            Image.fromarray(rgb).save(self._staging.path / self._name(self._count), compress_level=4)

    def finish(self) -> None:
        old = set(numbered_files(self._pattern))
        with writing(str(self._pattern)):
            for number in range(1, self._count + 1):
                final = self._pattern.parent / self._name(number)
                (self._staging.path / final.name).replace(final)
                old.discard(final)
            for leftover in old:
                leftover.unlink()
        self._staging.discard()

    def abort(self) -> None:
        self._staging.discard()

    def _name(self, number: int) -> str:
        return NUMBER_FIELD.sub(lambda field: f"{number:0{field[2] or 1}d}", self._pattern.name, count=1)


def _av_frame(planes: Planes, pix_fmt: str) -> AvFrame:
    height, width = planes[0].shape
    frame = AvFrame(width, height, pix_fmt)
    for plane, samples in zip(frame.planes, planes, strict=True):
        buffer: Any = plane
        memory = np.frombuffer(buffer, np.uint8).reshape(-1, plane.line_size)
        memory[: samples.shape[0], : samples.shape[1]] = samples
    return frame
