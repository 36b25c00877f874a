"""Raw YUV of test sets, whose size and rate stand in the file's name.

UVG       Beauty_1920x1080_120fps_420_8bit_YUV.yuv     HEVC      BasketballDrive_1920x1080_50.yuv
MCL-JCV   videoSRC01_1920x1080_30.yuv                  10 bits   ..._10bit.yuv
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from cbvc_jax.errors import VideoError
from cbvc_jax.video import VideoReader, open_video
from cbvc_jax.video.reader import SIZE_IN_NAME

RATE_AFTER_SIZE = re.compile(r"p?_([0-9]{2,3})(?:fps)?(?![0-9])")


def parse_name(file: str | Path) -> tuple[tuple[int, int], Fraction | None]:
    """((width, height), frames a second if the name says it); VideoError for a name without a size."""
    name = Path(file).name
    size = SIZE_IN_NAME.search(name)
    if not size:
        raise VideoError(f"'{file}': the name of raw video must hold its size, as in Beauty_1920x1080_120fps.yuv")
    rate = RATE_AFTER_SIZE.match(name, size.end())
    return (int(size[1]), int(size[2])), Fraction(rate[1]) if rate else None


def open_raw(file: str | Path) -> VideoReader:
    """A reader of raw 4:2:0 video, 8 or 10 bits, by its name; VideoError where name and length do not fit."""
    size, rate = parse_name(file)
    return open_video(file, size=size, frame_rate=rate)
