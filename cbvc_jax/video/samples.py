"""The samples of a decoded frame, in whatever arrangement FFmpeg keeps them, as plain numpy planes.

    planar      yuv420p, yuv422p10le, yuva444p, yuvj420p, gray, gbrp, ...
    semiplanar  nv12, p010le, nv24, ...   chroma interleaved in one plane
    packed      yuyv422, rgb24, bgra, ...  all interleaved in one plane

They are rearranged here and not by swscale, because its slices in several threads now and then lose some samples of a
small frame (seen in FFmpeg 8.1); only rare formats are left to it, on one thread where PyAV lets us say so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.frame import VideoFrame as AvFrame
from numpy.typing import NDArray

from cbvc_jax.errors import VideoError
from cbvc_jax.video.color import Plane, Planes

PLANAR_YUV = re.compile(r"yuv(a?)j?(?:420|422|444|440|411)p(\d+)?(?:le|be)?")
PLANAR_RGB = re.compile(r"gbr(a?)p(\d+)?(?:le|be)?")
GRAY = re.compile(r"gray(\d+)?(?:le|be)?")
# Order of U and V in the interleaved plane, bits a sample, and by how much the samples are shifted up.
SEMIPLANAR = {
    "nv12": (0, 1, 8, 0),
    "nv21": (1, 0, 8, 0),
    "nv16": (0, 1, 8, 0),
    "nv24": (0, 1, 8, 0),
    "nv42": (1, 0, 8, 0),
    "p010": (0, 1, 10, 6),
    "p210": (0, 1, 10, 6),
    "p410": (0, 1, 10, 6),
    "p012": (0, 1, 12, 4),
    "p016": (0, 1, 16, 0),
}
# Where the first Y, the U and the V stand among each four samples, bits a sample, shift.
PACKED_422 = {
    "yuyv422": (0, 1, 3, 8, 0),
    "uyvy422": (1, 0, 2, 8, 0),
    "yvyu422": (0, 3, 1, 8, 0),
    "y210": (0, 1, 3, 10, 6),
}
# Where R, G, B and, if there is any, A stand among the samples of a pixel, and bits a sample.
PACKED_RGB = {
    "rgb24": ((0, 1, 2), 3, 8),
    "bgr24": ((2, 1, 0), 3, 8),
    "rgba": ((0, 1, 2, 3), 4, 8),
    "bgra": ((2, 1, 0, 3), 4, 8),
    "argb": ((1, 2, 3, 0), 4, 8),
    "abgr": ((3, 2, 1, 0), 4, 8),
    "rgb0": ((0, 1, 2), 4, 8),
    "bgr0": ((2, 1, 0), 4, 8),
    "0rgb": ((1, 2, 3), 4, 8),
    "0bgr": ((3, 2, 1), 4, 8),
    "rgb48": ((0, 1, 2), 3, 16),
    "bgr48": ((2, 1, 0), 3, 16),
    "rgba64": ((0, 1, 2, 3), 4, 16),
    "bgra64": ((2, 1, 0, 3), 4, 16),
}


@dataclass(frozen=True, eq=False)
class Samples:
    """Planes uint8 or uint16 of `bit_depth` bits. One of `yuv`, `rgb` [H, W, 3] and `gray` [H, W] is there."""

    bit_depth: int
    yuv: Planes | None = None
    rgb: Plane | None = None
    gray: Plane | None = None
    alpha: Plane | None = None


def samples_of(frame: AvFrame) -> Samples:
    """The samples of a decoded frame, as views of its memory where that can be.

    Raises:
      VideoError: the pixel format is not supported.
    """
    samples = _yuv(frame) or _rgb(frame)
    if samples is not None:
        return samples
    name = frame.format.name
    if frame.format.is_rgb or frame.format.has_palette:
        return samples_of(_to_rgba(frame))
    raise VideoError(f"pixel format {name} is not supported; convert the video with `-pix_fmt yuv444p`")


def _yuv(frame: AvFrame) -> Samples | None:
    name = frame.format.name
    stem = name.removesuffix("le").removesuffix("be")
    if match := PLANAR_YUV.fullmatch(name):
        depth = int(match[2] or 8)
        y, u, v = (_plane(frame, index, depth) for index in range(3))
        if "411" in name:
            u, v = _twice_as_wide(u), _twice_as_wide(v)
        return Samples(depth, yuv=(y, u, v), alpha=_plane(frame, 3, depth) if match[1] else None)
    if stem in SEMIPLANAR:
        u_at, v_at, depth, shift = SEMIPLANAR[stem]
        y, uv = _plane(frame, 0, depth), _plane(frame, 1, depth, interleaved=2)
        return Samples(depth, yuv=(y >> shift, uv[..., u_at] >> shift, uv[..., v_at] >> shift))
    if stem in PACKED_422:
        y_at, u_at, v_at, depth, shift = PACKED_422[stem]
        pairs = _plane(frame, 0, depth, interleaved=2) >> shift
        return Samples(depth, yuv=_unpack_422(pairs, y_at, u_at, v_at))
    if match := GRAY.fullmatch(name):
        depth = int(match[1] or 8)
        return Samples(depth, gray=_plane(frame, 0, depth))
    return None


def _rgb(frame: AvFrame) -> Samples | None:
    name = frame.format.name
    stem = name.removesuffix("le").removesuffix("be")
    if match := PLANAR_RGB.fullmatch(name):
        depth = int(match[2] or 8)
        g, b, r = (_plane(frame, index, depth) for index in range(3))
        return Samples(depth, rgb=np.stack([r, g, b], -1), alpha=_plane(frame, 3, depth) if match[1] else None)
    if stem in PACKED_RGB:
        order, count, depth = PACKED_RGB[stem]
        pixels = _plane(frame, 0, depth, interleaved=count)
        return Samples(depth, rgb=pixels[..., order[:3]], alpha=pixels[..., order[3]] if len(order) == 4 else None)
    return None


def _plane(frame: AvFrame, index: int, depth: int, interleaved: int = 1) -> NDArray[Any]:
    """Plane [h, w], or [h, w, interleaved] where a pixel has several samples in it."""
    plane: Any = frame.planes[index]
    kind = np.dtype(np.uint8) if depth == 8 else np.dtype(">u2" if frame.format.is_big_endian else "<u2")
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
    samples = rows[:, : plane.width * interleaved * kind.itemsize].view(kind)
    # Arithmetic wants the machine's byte order.
    samples = samples.astype(kind.newbyteorder("="), copy=False)
    return samples if interleaved == 1 else samples.reshape(plane.height, plane.width, interleaved)


def _unpack_422(pairs: Plane, y_at: int, u_at: int, v_at: int) -> Planes:
    """Y [H, W], U and V [H, ceil(W/2)] of samples [H, W, 2]: luma and one chroma in a pixel, the other in the next."""
    chroma = pairs[..., 1 - y_at]
    if chroma.shape[1] % 2:
        chroma = np.concatenate([chroma, chroma[:, -1:]], axis=1)
    u, v = chroma[:, u_at // 2 :: 2], chroma[:, v_at // 2 :: 2]
    return pairs[..., y_at], u, v


def _twice_as_wide(plane: Plane) -> Plane:
    """[h, 2w] of [h, w] by interpolation, samples kept where they are; then 4:1:1 is like 4:2:2."""
    after = np.concatenate([plane[:, 1:], plane[:, -1:]], axis=1).astype(np.uint32)
    between = ((plane + after + 1) // 2).astype(plane.dtype)
    return np.stack([plane, between], -1).reshape(plane.shape[0], -1)


def _to_rgba(frame: AvFrame) -> AvFrame:
    try:
        return frame.reformat(format="rgba", threads=1)
    except TypeError:
        # PyAV before 17.1 has no such argument, and swscale did not use threads.
        return frame.reformat(format="rgba")
