"""Synthetic pictures, the exact colour conversion in float64, and small video files made with PyAV, for the tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def smooth(height: int, width: int, shift: float = 0.0) -> np.ndarray:
    """A colourful picture without sharp edges, uint8 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width, 16)
    waves = [np.sin(3 * x + 2 * y + shift), np.cos(4 * y - x + shift), np.sin(5 * x * y + 1 + shift)]
    return np.rint(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


def exact_rgb(planes: Any, matrix: str, full: bool, bit_depth: int = 8) -> np.ndarray:
    """RGB in float64, 0..255 and clipped, of Y, U and V samples of 4:4:4; written from ITU-T H.273."""
    kr, kb = WEIGHTS[matrix]
    unit, top = 2 ** (bit_depth - 8), 2**bit_depth - 1
    y, u, v = (np.asarray(plane, np.float64) for plane in planes)
    ey = y / top if full else (y / unit - 16) / 219
    pb = (u - 128 * unit) / top if full else (u / unit - 128) / 224
    pr = (v - 128 * unit) / top if full else (v / unit - 128) / 224
    r = ey + 2 * (1 - kr) * pr
    b = ey + 2 * (1 - kb) * pb
    g = (ey - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack([r, g, b], -1) * 255, 0, 255)


def exact_yuv(rgb: np.ndarray, matrix: str, full: bool) -> np.ndarray:
    """8-bit YUV 4:4:4 code values in float64, [H, W, 3], of RGB."""
    kr, kb = WEIGHTS[matrix]
    r, g, b = np.moveaxis(rgb.astype(np.float64) / 255, -1, 0)
    ey = kr * r + (1 - kr - kb) * g + kb * b
    pb, pr = (b - ey) / (2 * (1 - kb)), (r - ey) / (2 * (1 - kr))
    if full:
        return np.stack([255 * ey, 255 * pb + 128, 255 * pr + 128], -1)
    return np.stack([219 * ey + 16, 224 * pb + 128, 224 * pr + 128], -1)


def av_frame(planes: list[np.ndarray], pix_fmt: str) -> av.VideoFrame:
    """A frame of PyAV with these planes, each [h, w] or, where samples are interleaved, [h, w, samples]."""
    height, width = planes[0].shape[:2]
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, samples in zip(frame.planes, planes, strict=True):
        buffer: Any = plane
        memory = np.frombuffer(buffer, np.uint8).reshape(-1, plane.line_size)
        data = np.ascontiguousarray(samples).view(np.uint8).reshape(samples.shape[0], -1)
        memory[: data.shape[0], : data.shape[1]] = data
    return frame


def write_film(
    path: Path,
    frames: list[av.VideoFrame],
    codec: str = "ffv1",
    *,
    stamps: list[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    colorspace: int = 2,
    color_range: int = 0,
    color_trc: int = 2,
    options: dict[str, str] | None = None,
) -> Path:
    """`path`, written with these frames as they are; FFV1 and QP 0 keep their samples exactly."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = frames[0].format.name
        context = stream.codec_context
        context.time_base = time_base
        context.colorspace, context.color_range, context.color_trc = colorspace, color_range, color_trc
        for number, frame in enumerate(frames):
            frame.pts = number if stamps is None else stamps[number]
            frame.time_base = time_base
            frame.colorspace, frame.color_range = colorspace, color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
