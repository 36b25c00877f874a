"""A video being read: what every kind of source is turned into, and how its frames are timed and scaled on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType

import numpy as np
from PIL import Image

from cbvc_jax.video.frames import DEFAULT_FRAME_RATE, RGB, ColorRange, Matrix, VideoFrame, VideoInfo


@dataclass(frozen=True)
class Wanted:
    """What the caller of `open_video` asked for; None leaves it to the source."""

    size: tuple[int, int] | None
    frame_rate: Fraction | None
    matrix: Matrix | None
    color_range: ColorRange | None


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


def retimed(
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


def scaled(frames: Iterator[VideoFrame], size: tuple[int, int] | None) -> Iterator[VideoFrame]:
    """The frames at `size` (width, height) pixels, by Lanczos resampling; as they are if it is None."""
    for frame in frames:
        height, width = frame.rgb.shape[:2]
        if size is None or size == (width, height):
            yield frame
        else:
            resized = Image.fromarray(frame.rgb).resize(size, Image.Resampling.LANCZOS)
            yield VideoFrame(np.array(resized), frame.timestamp)
