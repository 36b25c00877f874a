"""What a video is to the codec: RGB frames with timestamps, and how the source stored their colour.

The codec itself only sees RGB. `matrix` and `color_range` say how the source turned RGB into YUV, so that a decoded
video can be written back the way its source was.

When a source does not say, these rules hold (and any of them can be overridden where a video is opened):

    RGB and JPEG pictures      full range
    YUV, 720 lines or more     bt709, limited range
    YUV, fewer than 720 lines  bt601, limited range

Primaries and transfer are not converted: bt2020 here is the matrix of standard-dynamic-range video, and HDR is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cbvc_jax.errors import VideoError
from cbvc_jax.geometry import MAX_SIDE

Matrix = Literal["bt601", "bt709", "bt2020", "rgb"]
ColorRange = Literal["limited", "full"]
RGB = NDArray[np.uint8]

DEFAULT_FRAME_RATE = Fraction(25)
HD_LINES = 720
# FFmpeg keeps numerator and denominator of a time base in 32-bit integers.
MAX_TICKS = 2**31 - 1


class PipeClosedError(VideoError):
    """The program that read our output pipe has gone; a command line ends quietly on it."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before its frames are read.

    Attributes:
      width, height: size in pixels of the frames, after rotation and scaling.
      time_base: seconds a tick of `VideoFrame.timestamp`.
      frame_rate: nominal (else average) frames a second; None if unknown.
      matrix: the matrix that made the source's YUV, or "rgb" if the source holds RGB.
      color_range: "limited" (16..235 of 8 bits) or "full" (0..255) values in the source.
      frames: number of frames as the container counts it, which may be an estimate; None if unknown.
      bit_depth: bits a sample in the source; frames are handed out with 8 bits whatever it is.

    Raises:
      VideoError: a size or a rate is out of bounds.
    """

    width: int
    height: int
    time_base: Fraction
    frame_rate: Fraction | None = None
    matrix: Matrix = "bt709"
    color_range: ColorRange = "limited"
    frames: int | None = None
    bit_depth: int = 8

    def __post_init__(self) -> None:
        check_size(self.width, self.height)
        for name, value in (("time base", self.time_base), ("frame rate", self.frame_rate)):
            if value is not None and not (0 < value.numerator <= MAX_TICKS and value.denominator <= MAX_TICKS):
                raise VideoError(f"a {name} of {value} makes no sense: it must be above 0 and fit 32-bit integers")


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame: `rgb` uint8 [H, W, 3] in 0..255, and its `timestamp` in ticks of `VideoInfo.time_base`."""

    rgb: RGB
    timestamp: int


def check_size(width: int, height: int) -> None:
    """Returns nothing; raises VideoError if a size in pixels is empty or beyond what the codec takes."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise VideoError(f"a frame of {width}x{height} pixels cannot be used: each side must be 1 to {MAX_SIDE}")


def default_matrix(height: int) -> Matrix:
    """The matrix of YUV video that does not name one: bt709 from 720 lines on, bt601 below."""
    return "bt709" if height >= HD_LINES else "bt601"
