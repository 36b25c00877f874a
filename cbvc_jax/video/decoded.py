"""Frames as FFmpeg decodes them -> upright RGB, by their colour tags, pixel format and display matrix."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame as AvFrame
from numpy.typing import NDArray

from cbvc_jax.errors import VideoError
from cbvc_jax.video.color import Siting, gray_to_rgb, yuv_to_rgb
from cbvc_jax.video.frames import RGB, ColorRange, Matrix
from cbvc_jax.video.samples import samples_of

# Code points of ITU-T H.273, which FFmpeg uses as they are.
MATRIX_CODES: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
MATRIX_UNSPECIFIED = (2, 3)
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
RANGE_CODES: dict[int, ColorRange] = {1: "limited", 2: "full"}
# Codecs whose 4:2:0 chroma lies in the middle of its four pixels; that of later ones lies left.
CENTERED_CODECS = frozenset({"mjpeg", "mpeg1video"})


@dataclass(frozen=True)
class FrameColor:
    """How the samples of a video's frames are to be read."""

    matrix: Matrix
    color_range: ColorRange
    siting: Siting


def tagged_color(frame: AvFrame) -> tuple[Matrix | None, ColorRange | None]:
    """(matrix, range) as the frame's tags and pixel format say, None where they do not or are not supported."""
    name = frame.format.name
    if frame.format.is_rgb or frame.format.has_palette:
        return "rgb", "full"
    color_range = RANGE_CODES.get(frame.color_range)
    # Pixel formats that are full range by definition, and grey, which FFmpeg too takes for full unless it is tagged.
    if name.startswith("yuvj") or (name.startswith("gray") and color_range is None):
        color_range = "full"
    return MATRIX_CODES.get(frame.colorspace), color_range


def check_transfer(code: int, path: Path) -> None:
    """Returns nothing; raises VideoError if a stream's transfer characteristics are those of HDR."""
    if code in HDR_TRANSFERS:
        raise VideoError(
            f"{path} is HDR video ({HDR_TRANSFERS[code]} transfer), which frames of 8 bits cannot hold; convert it to "
            "SDR first, for example with FFmpeg's zscale and tonemap filters"
        )


def check_matrix(frame: AvFrame, path: Path) -> None:
    """Returns nothing; raises VideoError if YUV is tagged with a matrix that is not supported."""
    if frame.colorspace not in MATRIX_CODES and frame.colorspace not in MATRIX_UNSPECIFIED:
        raise VideoError(
            f"{path} uses YUV matrix number {frame.colorspace} of ITU-T H.273, which is not supported; name the matrix "
            "to use instead (bt601, bt709 or bt2020), or convert the video first"
        )


def bit_depth(frame: AvFrame) -> int:
    """Bits a sample of the frame's first component."""
    return frame.format.components[0].bits


def chroma_siting(codec: str) -> Siting:
    """Where 4:2:0 chroma lies in video of FFmpeg's codec `codec`, by the codec's convention."""
    return "center" if codec in CENTERED_CODECS else "left"


def frame_to_rgb(frame: AvFrame, color: FrameColor) -> RGB:
    """RGB uint8 [H, W, 3] of a decoded frame as it is stored, not yet turned upright; transparency is laid over black.

    Raises:
      VideoError: the pixel format is not supported.
    """
    samples = samples_of(frame)
    depth = samples.bit_depth
    if samples.yuv is not None:
        rgb = yuv_to_rgb(samples.yuv, color.matrix, color.color_range, depth, color.siting)
    elif samples.gray is not None:
        rgb = gray_to_rgb(samples.gray, color.color_range, depth)
    else:
        assert samples.rgb is not None
        rgb = _to_8_bits(samples.rgb, depth)
    if samples.alpha is not None:
        rgb = _over_black(rgb, samples.alpha, (1 << depth) - 1)
    return rgb


def display_matrix(frame: AvFrame, path: Path) -> tuple[int, int, int, int] | None:
    """(a, b, c, d) of the display matrix in the signs -1, 0, 1; None if the frame is shown as stored.

    A pixel at (x, y) is shown at (a x + c y, b x + d y), with y down.

    Raises:
      VideoError: the matrix turns by other than a multiple of 90 degrees.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    # Nine 32-bit integers in native order: a b u, c d v, x y w.
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    signs = int(np.sign(a)), int(np.sign(b)), int(np.sign(c)), int(np.sign(d))
    if (a, b, c, d) == (0, 0, 0, 0) or signs == (1, 0, 0, 1):
        return None
    if not ((a and d and not b and not c) or (b and c and not a and not d)):
        raise VideoError(
            f"{path} is to be shown turned by an angle that is no multiple of 90 degrees, which is not supported"
        )
    return signs


def turn_upright(rgb: RGB, matrix: tuple[int, int, int, int] | None) -> RGB:
    """`rgb` [H, W, 3] as a `display_matrix` wants it shown; height and width change places for a quarter turn."""
    if matrix is None:
        return rgb
    a, b, c, d = matrix
    if a == 0:
        # Shown x comes from stored y and the other way around.
        rgb, a, d = np.swapaxes(rgb, 0, 1), c, b
    return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _to_8_bits(rgb: NDArray[Any], depth: int) -> RGB:
    if depth == 8:
        return np.ascontiguousarray(rgb)
    scaled = rgb * np.float32(255 / ((1 << depth) - 1))
    scaled += np.float32(0.5)
    return scaled.astype(np.uint8)


def _over_black(rgb: RGB, alpha: NDArray[Any], opaque: int) -> RGB:
    if alpha.min() == opaque:
        return rgb
    weighted = rgb * (alpha.astype(np.float32) / opaque)[..., None]
    return (weighted + np.float32(0.5)).astype(np.uint8)
