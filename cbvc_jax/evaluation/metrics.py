"""How far a reconstruction is from its frame: PSNR in RGB, PSNR in Y'CbCr 4:2:0, MS-SSIM.

PSNR is exact: squared differences are added as integers on the device, and only the last division and logarithm are
floating point, in float64. MS-SSIM is float32 and differentiable, so that training can take 1 - MS-SSIM as distortion.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Float64, Int32, Real, UInt8, UInt32

from cbvc_jax.errors import UsageError
from cbvc_jax.geometry import ceil_div

Frames = UInt8[Array, "b h w 3"] | UInt8[np.ndarray, "b h w 3"]
Images = Real[Array, "b h w c"] | Real[np.ndarray, "b h w c"]
PerFrame = Float64[np.ndarray, " b"]

PEAK = 255.0
LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}  # (Kr, Kb)
FIXED_POINT_BITS = 20

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
WINDOW_SIGMA = 1.5
K1, K2 = 0.01, 0.03
TILE = 118  # outputs of one window product: 128 inputs


class YuvPsnr(NamedTuple):
    """PSNR in dB of each plane of 4:2:0 frames, float64 [b] each; `yuv` is (6 y + u + v) / 8."""

    y: PerFrame
    u: PerFrame
    v: PerFrame
    yuv: PerFrame


class MsSsim(NamedTuple):
    """MS-SSIM of each frame, 0..1: the mean over R, G and B, and that of Y."""

    rgb: Float32[Array, " b"]
    y: Float32[Array, " b"]


def psnr_rgb(x: Frames, x_hat: Frames) -> PerFrame:
    """PSNR of each frame in dB, float64 [b]: 10 log10(255^2 / MSE), the MSE over all h w 3 samples.

    Identical frames give infinity.

    Args:
      x, x_hat: uint8 RGB frames, [b h w 3], 0..255.

    Raises:
      UsageError: the two differ in shape or are not uint8 RGB.
    """
    return psnr_from_mse(mse_rgb(x, x_hat))


def mse_rgb(x: Frames, x_hat: Frames) -> PerFrame:
    """Mean squared difference of each frame over its h w 3 samples, float64 [b]; arguments as in `psnr_rgb`."""
    _check_frames(x, x_hat)
    return _exact_mean(_squared_error(x, x_hat), samples=x[0].size)


def psnr_from_mse(mse: Float[np.ndarray, "*n"] | float) -> Float64[np.ndarray, "*n"]:
    """10 log10(255^2 / mse) in dB, a float64 array of the same shape; infinity where the MSE is 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(PEAK**2 / np.asarray(mse, np.float64)))


def psnr_yuv420(x: Frames, x_hat: Frames, matrix: str) -> YuvPsnr:
    """PSNR of each plane in dB after both sides are turned into 8-bit limited-range Y'CbCr 4:2:0; peak 255.

    The conversion of R'G'B' in 0..255, with Kr and Kb of the matrix and Kg = 1 - Kr - Kb:

        Y  =  16 + 219/255 (Kr R + Kg G + Kb B)
        Cb = 128 + 224/255 (B - (Kr R + Kg G + Kb B)) / (2 (1 - Kb))
        Cr = 128 + 224/255 (R - (Kr R + Kg G + Kb B)) / (2 (1 - Kr))

    Chroma is the mean of a 2x2 block (centred siting), taken before any rounding; a last odd row or column is
    repeated. Each sample is then rounded once, halves up. The nine coefficients are integers over 2^20, G's being the
    remainder, so that white is exactly 235, grey has chroma of exactly 128, and all implementations agree on every bit.

    Args:
      x, x_hat: uint8 RGB frames, [b h w 3], 0..255.
      matrix: "bt601", "bt709" or "bt2020" (non-constant luminance).

    Raises:
      UsageError: the matrix is unknown, or the frames differ in shape or are not uint8 RGB.
    """
    _check_frames(x, x_hat)
    mses = [_exact_mean(sums, samples) for sums, samples in _plane_errors(x, x_hat, matrix)]
    y, u, v = (psnr_from_mse(mse) for mse in mses)
    return YuvPsnr(y, u, v, (6.0 * y + u + v) / 8.0)


def ms_ssim(x: Images, x_hat: Images, *, data_range: float = PEAK, scales: int = 5) -> Float32[Array, " b"]:
    """Multi-scale structural similarity of each image, float32 [b], 0..1; 1 for identical images. Differentiable.

    Wang, Simoncelli and Bovik 2003, equation 7, as `tf.image.ssim_multiscale` computes it: 11x11 Gaussian window of
    sigma 1.5 without padding, K1 = 0.01, K2 = 0.03, scales made by 2x2 means (a last odd row or column repeated),
    negative terms clipped at 0, one value a channel and the mean over channels. `tests/evaluation` holds it to
    within 5e-6 of that definition evaluated in float64.

    A clipped term makes the value of its channel 0 and its gradient 0: a loss of 1 - MS-SSIM cannot leave that state,
    so a training run begins with another distortion.

    Args:
      x, x_hat: images, [b h w c], any real dtype, 0..data_range.
      data_range: L, the largest value that a sample can have.
      scales: how many of the five scales to use, 1..5; with fewer than five, their weights are divided by their sum.

    Raises:
      UsageError: a side is shorter than `ms_ssim_min_side(scales)`, `scales` is out of range, or the shapes differ.
    """
    return jnp.mean(_ms_ssim_channels(x, x_hat, data_range, scales), axis=1)


def ms_ssim_rgb_y(x: Frames, x_hat: Frames, matrix: str) -> MsSsim:
    """MS-SSIM of each frame over R, G and B (their mean), and of the 8-bit limited-range Y plane with L = 255.

    Args:
      x, x_hat: uint8 RGB frames, [b h w 3], 0..255, no side shorter than `ms_ssim_min_side()`.
      matrix: "bt601", "bt709" or "bt2020", that Y is made with (`rgb_to_yuv420`).

    Raises:
      UsageError: the matrix is unknown, the frames are too small, or they differ in shape or are not uint8 RGB.
    """
    _check_frames(x, x_hat)
    both = [jnp.concatenate([v, rgb_to_yuv420(v, matrix)[0][..., None]], -1) for v in map(jnp.asarray, (x, x_hat))]
    channels = _ms_ssim_channels(both[0], both[1], PEAK, len(SCALE_WEIGHTS))
    return MsSsim(jnp.mean(channels[:, :3], axis=1), channels[:, 3])


def ms_ssim_min_side(scales: int = 5) -> int:
    """The shortest side in pixels that leaves a whole window at the last of `scales` scales: 11 * 2^(scales - 1)."""
    if not 1 <= scales <= len(SCALE_WEIGHTS):
        raise UsageError(f"MS-SSIM has 1 to {len(SCALE_WEIGHTS)} scales, not {scales}")
    return WINDOW << (scales - 1)


def _check_frames(x: Frames, x_hat: Frames) -> None:
    if x.shape != x_hat.shape or x.ndim != 4 or x.shape[-1] != 3:
        raise UsageError(f"PSNR compares two batches [b h w 3] of one shape, not {x.shape} and {x_hat.shape}")
    if x.dtype != np.uint8 or x_hat.dtype != np.uint8:
        raise UsageError(f"PSNR is defined here for uint8 frames, not {x.dtype} and {x_hat.dtype}")


@jax.jit
def _squared_error(x: UInt8[Array, "b h *w"], x_hat: UInt8[Array, "b h *w"]) -> UInt32[Array, "2 b"]:
    """Sum of squared differences of each frame as (high, low) words: high * 2^16 + low.

    A row of 16384 RGB pixels stays below 2^32, and so do the two half-words added over 16384 rows.
    """
    squares = jnp.square(x.astype(jnp.int32) - x_hat.astype(jnp.int32)).astype(jnp.uint32)
    rows = jnp.sum(squares.reshape(*x.shape[:2], -1), axis=-1, dtype=jnp.uint32)
    return jnp.stack([jnp.sum(word, axis=1, dtype=jnp.uint32) for word in (rows >> 16, rows & 0xFFFF)])


def _exact_mean(words: UInt32[Array, "2 b"], samples: int) -> PerFrame:
    high, low = np.asarray(words).astype(np.uint64)
    return (high * np.uint64(1 << 16) + low).astype(np.float64) / samples


def _plane_errors(x: Frames, x_hat: Frames, matrix: str) -> list[tuple[UInt32[Array, "2 b"], int]]:
    planes, planes_hat = rgb_to_yuv420(jnp.asarray(x), matrix), rgb_to_yuv420(jnp.asarray(x_hat), matrix)
    return [(_squared_error(p, q), p[0].size) for p, q in zip(planes, planes_hat, strict=True)]


@partial(jax.jit, static_argnums=1)
def rgb_to_yuv420(
    x: UInt8[Array, "b h w 3"], matrix: str
) -> tuple[UInt8[Array, "b h w"], UInt8[Array, "b hc wc"], UInt8[Array, "b hc wc"]]:
    """Planes Y, Cb, Cr of 8-bit limited-range 4:2:0, uint8, hc = ceil(h / 2), wc = ceil(w / 2); see `psnr_yuv420`."""
    luma, blue, red = fixed_point_coefficients(matrix)
    samples = x.astype(jnp.int32)
    even = jnp.pad(samples, [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)], mode="edge")
    b, h, w, _ = even.shape
    blocks = jnp.sum(even.reshape(b, h // 2, 2, w // 2, 2, 3), axis=(2, 4))
    y = _fixed_point(samples, luma, 16, FIXED_POINT_BITS)
    # A block is the sum of four pixels: two more bits to shift away.
    cb, cr = (_fixed_point(blocks, c, 128, FIXED_POINT_BITS + 2) for c in (blue, red))
    return y, cb, cr


def fixed_point_coefficients(matrix: str) -> tuple[tuple[int, int, int], ...]:
    """Coefficients of (R, G, B) for Y, Cb and Cr, times 2^20; raises UsageError for an unknown matrix."""
    if matrix not in LUMA_WEIGHTS:
        raise UsageError(f"unknown colour matrix {matrix!r}; known are {', '.join(LUMA_WEIGHTS)}")
    kr, kb = LUMA_WEIGHTS[matrix]
    luma, chroma = 219 / 255 * 2**FIXED_POINT_BITS, 112 / 255 * 2**FIXED_POINT_BITS
    y_r, y_b = round(luma * kr), round(luma * kb)
    cb_r, cb_b = round(-chroma * kr / (1 - kb)), round(chroma)
    cr_r, cr_b = round(chroma), round(-chroma * kb / (1 - kr))
    return (y_r, round(luma) - y_r - y_b, y_b), (cb_r, -cb_r - cb_b, cb_b), (cr_r, -cr_r - cr_b, cr_b)


def _fixed_point(
    rgb: Int32[Array, "b h w 3"], coefficients: tuple[int, int, int], offset: int, bits: int
) -> UInt8[Array, "b h w"]:
    r, g, b = coefficients
    total = rgb[..., 0] * r + rgb[..., 1] * g + rgb[..., 2] * b
    return (((total + (1 << (bits - 1))) >> bits) + offset).astype(jnp.uint8)


def _ms_ssim_channels(x: Images, x_hat: Images, data_range: float, scales: int) -> Float32[Array, "b c"]:
    if x.shape != x_hat.shape or x.ndim != 4:
        raise UsageError(f"MS-SSIM compares two batches [b h w c] of one shape, not {x.shape} and {x_hat.shape}")
    smallest = ms_ssim_min_side(scales)
    if min(x.shape[1:3]) < smallest:
        raise UsageError(
            f"MS-SSIM with {scales} scales needs sides of at least {smallest} pixels, not {x.shape[2]}x{x.shape[1]}"
        )
    return _ms_ssim(x, x_hat, float(data_range), scales)


@partial(jax.jit, static_argnums=(2, 3))
def _ms_ssim(x: Images, x_hat: Images, data_range: float, scales: int) -> Float32[Array, "b c"]:
    # All five are used as published, although they add up to 1.0001.
    weights = SCALE_WEIGHTS if scales == 5 else [w / sum(SCALE_WEIGHTS[:scales]) for w in SCALE_WEIGHTS[:scales]]
    # Planar, so that both directions of the window run over whole vectors; centred on 0, where float32 is finest.
    half = data_range / 2
    planes, planes_hat = (jnp.moveaxis(jnp.asarray(v, jnp.float32) - half, -1, 1) for v in (x, x_hat))
    value = jnp.ones(planes.shape[:2], jnp.float32)
    for scale, weight in enumerate(weights):
        if scale:
            planes, planes_hat = _halve(planes), _halve(planes_hat)
        term = _ssim_term(planes, planes_hat, data_range, with_luminance=scale == scales - 1)
        value *= _clipped_power(term, weight)
    return value


def _ssim_term(
    x: Float32[Array, "b c h w"], x_hat: Float32[Array, "b c h w"], data_range: float, with_luminance: bool
) -> Float32[Array, "b c"]:
    """Mean over the image of the contrast-structure term, times the luminance term at the coarsest scale.

    Both are computed as what is missing to 1, which float32 keeps well where the images are alike:

        1 - cs = Var(x - x_hat) / (Var(x) + Var(x_hat) + C2)      1 - l = (mu - mu_hat)^2 / (mu^2 + mu_hat^2 + C1)
    """
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean, mean_hat = _blur(x), _blur(x_hat)
    gap = jnp.square(mean - mean_hat)
    energy = _blur(jnp.square(x) + jnp.square(x_hat)) - jnp.square(mean) - jnp.square(mean_hat)
    missing = (_blur(jnp.square(x - x_hat)) - gap) / (energy + c2)
    if with_luminance:
        half = data_range / 2  # the planes are centred, the luminance term is not
        missing_luminance = gap / (jnp.square(mean + half) + jnp.square(mean_hat + half) + c1)
        missing = missing + missing_luminance - missing * missing_luminance
    # Rows first: a single running float32 sum over millions of pixels would lose the last digits.
    return 1.0 - jnp.mean(jnp.mean(missing, axis=-1), axis=-1)


def _blur(x: Float32[Array, "b c h w"]) -> Float32[Array, "b c h-10 w-10"]:
    """Gaussian window means, without padding."""
    return _blur_axis(_blur_axis(x, 2), 3)


def _blur_axis(x: Float32[Array, "b c h w"], axis: int) -> Float32[Array, "b c h2 w2"]:
    """Window means along one axis, which gets `WINDOW - 1` shorter: every tile times one banded matrix.

    Matrix products are fast everywhere, forward and backward. On the CPU, grouped convolutions and sums of shifted
    slices are slower, and the latter take long to compile.
    """
    length = x.shape[axis] - WINDOW + 1
    size = min(length, TILE)
    count = ceil_div(length, size)
    padding = [(0, 0)] * 4
    padding[axis] = (0, count * size - length)
    padded = jnp.pad(x, padding)
    tiles = [lax.slice_in_dim(padded, i * size, (i + 1) * size + WINDOW - 1, axis=axis) for i in range(count)]
    product = {2: "bcnhw,hk->bcnkw", 3: "bchnw,wk->bchnk"}[axis]
    # Full float32 precision: accelerators would otherwise round the factors to fewer bits.
    means = jnp.einsum(product, jnp.stack(tiles, axis), _window_matrix(size), precision=lax.Precision.HIGHEST)
    merged = means.reshape(*x.shape[:axis], count * size, *x.shape[axis + 1 :])
    return lax.slice_in_dim(merged, 0, length, axis=axis)


def _window_matrix(outputs: int) -> Float32[np.ndarray, "{outputs}+10 {outputs}"]:
    """Column k holds the Gaussian window that starts at row k."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    taps = np.exp(-0.5 * np.square(offsets / WINDOW_SIGMA))
    matrix = np.zeros((outputs + WINDOW - 1, outputs), np.float32)
    for k in range(outputs):
        matrix[k : k + WINDOW, k] = taps / taps.sum()
    return matrix


def _halve(x: Float32[Array, "b c h w"]) -> Float32[Array, "b c hc wc"]:
    """Means of 2x2 blocks; a last odd row or column is repeated."""
    x = jnp.pad(x, [(0, 0), (0, 0), (0, x.shape[2] % 2), (0, x.shape[3] % 2)], mode="edge")
    rows = x[:, :, ::2] + x[:, :, 1::2]
    return 0.25 * (rows[..., ::2] + rows[..., 1::2])


def _clipped_power(base: Float32[Array, "b c"], exponent: float) -> Float32[Array, "b c"]:
    """max(base, 0)^exponent whose gradient is 0, not NaN, where the base is clipped."""
    positive = base > 0
    return jnp.where(positive, jnp.where(positive, base, 1.0) ** exponent, 0.0)
