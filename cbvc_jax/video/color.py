"""YUV planes <-> RGB frames, at every bit depth, chroma layout and chroma position that the readers meet.

Done here in float32 rather than by FFmpeg's swscale: results are the nearest 8-bit values of the exact matrix, the same
on every FFmpeg version, and colours outside the RGB cube clip (swscale wraps around on some 4:4:4 ones).

    Y  [H, W]     --------------------------.
    U  [h, w]  -- upsample (bilinear) ------+-- matrix, clip, round --> RGB uint8 [H, W, 3]
    V  [h, w]  -- upsample (bilinear) ------'

Frames are worked on in bands of rows, so that the float temporaries stay in the cache and memory stays bounded.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cbvc_jax.video.frames import RGB, ColorRange, Matrix

Plane = NDArray[Any]
Planes = tuple[Plane, Plane, Plane]
F32 = NDArray[np.float32]
# Where a chroma sample of 4:2:0 lies among its luma samples: "left" is that of MPEG-2, H.264 and H.265, "center" that
# of JPEG and MPEG-1, "topleft" that of much UHD video.
Siting = Literal["left", "center", "topleft"]

BAND_ROWS = 32
# Kr and Kb of ITU-R BT.601, BT.709 and BT.2020.
LUMA_WEIGHTS: dict[str, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}


def yuv_to_rgb(
    planes: Planes, matrix: Matrix, color_range: ColorRange, bit_depth: int = 8, siting: Siting = "left"
) -> RGB:
    """RGB of one frame, uint8 [H, W, 3]: the exact conversion, rounded to nearest and clipped to 0..255.

    Args:
      planes: Y [H, W] and U, V [h, w], uint8 or uint16, where h is H or ceil(H/2), and w is W or ceil(W/2).
      matrix: any but "rgb".
      color_range: meaning of the samples, see `VideoInfo`.
      bit_depth: bits in use of each sample, 8 to 16.
      siting: where subsampled chroma lies; bilinear interpolation takes it from there.
    """
    y, u, v = planes
    height, width = y.shape
    kr, kb = LUMA_WEIGHTS[matrix]
    kg = 1 - kr - kb
    y_offset, y_range, c_offset, c_range = _levels(color_range, bit_depth)
    y_gain = np.float32(255 / y_range)
    # The 0.5 makes the truncation at the end a rounding.
    y_bias = np.float32(0.5 - y_offset * 255 / y_range)
    c_gain = 255 / c_range
    red_v, blue_u = np.float32(2 * (1 - kr) * c_gain), np.float32(2 * (1 - kb) * c_gain)
    green_u, green_v = np.float32(-blue_u * kb / kg), np.float32(-red_v * kr / kg)
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND_ROWS):
        rows = slice(top, min(top + BAND_ROWS, height))
        luma = y[rows].astype(np.float32)
        luma *= y_gain
        luma += y_bias
        cb = _upsample_band(u, rows, y.shape, siting, c_offset)
        cr = _upsample_band(v, rows, y.shape, siting, c_offset)
        out = rgb[rows]
        _store(out, 0, np.add(luma, cr * red_v, dtype=np.float32))
        _store(out, 2, np.add(luma, cb * blue_u, dtype=np.float32))
        cb *= green_u
        cr *= green_v
        luma += cb
        luma += cr
        _store(out, 1, luma)
    return rgb


def gray_to_rgb(y: Plane, color_range: ColorRange, bit_depth: int = 8) -> RGB:
    """RGB of one grey frame, uint8 [H, W, 3], from its luma [H, W], uint8 or uint16 of `bit_depth` bits."""
    y_offset, y_range, _, _ = _levels(color_range, bit_depth)
    gray = (y.astype(np.float32) - np.float32(y_offset)) * np.float32(255 / y_range) + np.float32(0.5)
    return np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def rgb_to_yuv(
    rgb: RGB, matrix: Matrix, color_range: ColorRange, subsampled: bool = True, siting: Siting = "left"
) -> Planes:
    """8-bit planes Y [H, W] and U, V [h, w] of one frame, uint8, rounded to nearest.

    Args:
      rgb: uint8 [H, W, 3].
      matrix: any but "rgb".
      color_range: range to write.
      subsampled: True gives 4:2:0, h = ceil(H/2) and w = ceil(W/2); False gives 4:4:4.
      siting: where 4:2:0 chroma is to lie: pairs of pixels are averaged there, or three weighted 1:2:1 around it.
    """
    height, width = rgb.shape[:2]
    shape = ((height + 1) // 2, (width + 1) // 2) if subsampled else (height, width)
    y, u, v = np.empty((height, width), np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    kr, kb = LUMA_WEIGHTS[matrix]
    y_offset, y_range, c_offset, c_range = _levels(color_range, 8)
    scale = np.array([kr, 1 - kr - kb, kb]) * (y_range / 255)
    luma_weights = scale.astype(np.float32)
    kg = 1 - kr - kb
    u_weights = (np.array([-kr, -kg, 1 - kb]) * (c_range / 255 / (2 * (1 - kb)))).astype(np.float32)
    v_weights = (np.array([1 - kr, -kg, -kb]) * (c_range / 255 / (2 * (1 - kr)))).astype(np.float32)
    for top in range(0, height, BAND_ROWS):
        bottom = min(top + BAND_ROWS, height)
        channels = [rgb[top:bottom, :, c].astype(np.float32) for c in range(3)]
        y[top:bottom] = _weigh(channels, luma_weights, y_offset)
        chroma_rows = slice(top, bottom)
        if subsampled:
            chroma_rows = slice(top // 2, (bottom + 1) // 2)
            channels = [_downsample_band(rgb, c, top, bottom, siting) for c in range(3)]
        u[chroma_rows] = _weigh(channels, u_weights, c_offset)
        v[chroma_rows] = _weigh(channels, v_weights, c_offset)
    return y, u, v


def _levels(color_range: ColorRange, bit_depth: int) -> tuple[float, float, float, float]:
    """(black, black to white, zero of chroma, chroma's whole swing) in code values, of ITU-T H.273."""
    unit = 1 << (bit_depth - 8)
    if color_range == "limited":
        return 16.0 * unit, 219.0 * unit, 128.0 * unit, 224.0 * unit
    top = float((1 << bit_depth) - 1)
    return 0.0, top, 128.0 * unit, top


def _store(out: RGB, channel: int, values: F32) -> None:
    out[..., channel] = np.clip(values, 0, 255, out=values).astype(np.uint8)


def _weigh(channels: list[F32], weights: F32, offset: float) -> RGB:
    r, g, b = channels
    total = r * weights[0]
    total += g * weights[1]
    total += b * weights[2]
    total += np.float32(offset + 0.5)
    return np.clip(total, 0, 255, out=total).astype(np.uint8)


def _upsample_band(plane: Plane, rows: slice, shape: tuple[int, ...], siting: Siting, offset: float) -> F32:
    """Chroma about zero, float32 [rows, W], for the luma rows `rows`, from a plane of full or half height and width."""
    height, width = shape
    if plane.shape[0] == height:
        band = plane[rows].astype(np.float32)
    else:
        index = np.arange(rows.start, rows.stop)
        near = index // 2
        odd = index % 2
        step = odd if siting == "topleft" else 2 * odd - 1
        far = np.clip(near + step, 0, plane.shape[0] - 1)
        weight = np.float32(0.5 if siting == "topleft" else 0.25)
        band = plane[near].astype(np.float32)
        band += (plane[far].astype(np.float32) - band) * weight
    band -= np.float32(offset)
    if plane.shape[1] == width:
        return band
    padded = np.concatenate([band[:, :1], band, band[:, -1:]], axis=1)
    before, after = padded[:, :-2], padded[:, 2:]
    wide = np.empty((band.shape[0], 2 * band.shape[1]), np.float32)
    if siting == "center":
        three = band * np.float32(0.75)
        wide[:, 0::2] = three + before * np.float32(0.25)
        wide[:, 1::2] = three + after * np.float32(0.25)
    else:
        wide[:, 0::2] = band
        wide[:, 1::2] = (band + after) * np.float32(0.5)
    return wide[:, :width]


def _downsample_band(rgb: RGB, channel: int, top: int, bottom: int, siting: Siting) -> F32:
    """One channel at half height and width, float32 [ceil(rows/2), ceil(W/2)]; edges repeat the outermost pixel."""
    height, width = rgb.shape[:2]
    first = np.arange(top, bottom, 2)
    tall: Plane
    upper = rgb[first, :, channel].astype(np.float32)
    lower = rgb[np.minimum(first + 1, height - 1), :, channel].astype(np.float32)
    if siting == "topleft":
        above = rgb[np.maximum(first - 1, 0), :, channel].astype(np.float32)
        tall = upper * np.float32(0.5) + (above + lower) * np.float32(0.25)
    else:
        tall = (upper + lower) * np.float32(0.5)
    if width % 2:
        tall = np.concatenate([tall, tall[:, -1:]], axis=1)
    even, odd = tall[:, 0::2], tall[:, 1::2]
    if siting == "center":
        return (even + odd) * np.float32(0.5)
    before = np.concatenate([tall[:, :1], odd[:, :-1]], axis=1)
    return even * np.float32(0.5) + (before + odd) * np.float32(0.25)
