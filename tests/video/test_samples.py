"""Every arrangement of samples that a decoder may hand out gives the planes it stands for, every time."""

from __future__ import annotations

import numpy as np
import pytest

from cbvc_jax.errors import VideoError
from cbvc_jax.video.samples import samples_of

from .films import av_frame

HEIGHT, WIDTH = 10, 14
CHROMA = {"420": (5, 7), "422": (10, 7), "444": (10, 14), "440": (5, 14)}


def planes(layout, bit_depth=8, count=3):
    rng = np.random.default_rng(5)
    shapes = [(HEIGHT, WIDTH), CHROMA[layout], CHROMA[layout], (HEIGHT, WIDTH)][:count]
    return [rng.integers(0, 2**bit_depth, shape).astype(np.uint8 if bit_depth == 8 else np.uint16) for shape in shapes]


def packed_422(y, u, v, places):
    first, u_at, v_at = places
    out = np.empty((HEIGHT, WIDTH // 2, 4), y.dtype)
    out[..., first], out[..., first + 2] = y[:, 0::2], y[:, 1::2]
    out[..., u_at], out[..., v_at] = u, v
    return out.reshape(HEIGHT, WIDTH, 2)


@pytest.mark.parametrize(
    ("pix_fmt", "layout", "bit_depth", "pack"),
    [
        ("yuv420p", "420", 8, lambda y, u, v: [y, u, v]),
        ("yuv422p", "422", 8, lambda y, u, v: [y, u, v]),
        ("yuv440p", "440", 8, lambda y, u, v: [y, u, v]),
        ("yuvj444p", "444", 8, lambda y, u, v: [y, u, v]),
        ("yuv422p10le", "422", 10, lambda y, u, v: [y, u, v]),
        ("yuv420p12be", "420", 12, lambda y, u, v: [p.astype(">u2") for p in (y, u, v)]),
        ("nv12", "420", 8, lambda y, u, v: [y, np.stack([u, v], -1)]),
        ("nv21", "420", 8, lambda y, u, v: [y, np.stack([v, u], -1)]),
        ("nv16", "422", 8, lambda y, u, v: [y, np.stack([u, v], -1)]),
        ("nv24", "444", 8, lambda y, u, v: [y, np.stack([u, v], -1)]),
        ("p010le", "420", 10, lambda y, u, v: [y << 6, np.stack([u, v], -1) << 6]),
        ("p210le", "422", 10, lambda y, u, v: [y << 6, np.stack([u, v], -1) << 6]),
        ("p016le", "420", 16, lambda y, u, v: [y, np.stack([u, v], -1)]),
        ("yuyv422", "422", 8, lambda y, u, v: [packed_422(y, u, v, (0, 1, 3))]),
        ("yvyu422", "422", 8, lambda y, u, v: [packed_422(y, u, v, (0, 3, 1))]),
        ("uyvy422", "422", 8, lambda y, u, v: [packed_422(y, u, v, (1, 0, 2))]),
        ("y210le", "422", 10, lambda y, u, v: [packed_422(y << 6, u << 6, v << 6, (0, 1, 3))]),
    ],
)
def test_yuv(pix_fmt, layout, bit_depth, pack):
    expected = planes(layout, bit_depth)
    samples = samples_of(av_frame(pack(*expected), pix_fmt))
    assert samples.bit_depth == bit_depth
    assert samples.alpha is None
    assert samples.yuv is not None
    for got, want in zip(samples.yuv, expected, strict=True):
        assert np.array_equal(got, want)


@pytest.mark.parametrize("pix_fmt", ["rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr"])
def test_packed_rgb(pix_fmt):
    channels = dict(zip("rgba", planes("444", 8, 4), strict=True))
    letters = pix_fmt.removesuffix("24").replace("0", "a")
    samples = samples_of(av_frame([np.stack([channels[letter] for letter in letters], -1)], pix_fmt))
    assert samples.rgb is not None
    assert np.array_equal(samples.rgb, np.stack([channels[letter] for letter in "rgb"], -1))
    if "a" in pix_fmt:
        assert samples.alpha is not None
        assert np.array_equal(samples.alpha, channels["a"])
    else:
        assert samples.alpha is None


def test_planar_rgb_gray_and_alpha():
    r, g, b, a = planes("444", 10, 4)
    samples = samples_of(av_frame([g, b, r, a], "gbrap10le"))
    assert samples.rgb is not None
    assert samples.alpha is not None
    assert np.array_equal(samples.rgb, np.stack([r, g, b], -1))
    assert np.array_equal(samples.alpha, a)
    samples = samples_of(av_frame([r.astype(">u2")], "gray10be"))
    assert samples.gray is not None
    assert np.array_equal(samples.gray, r)
    *yuv, a = planes("420", 8, 4)
    samples = samples_of(av_frame([*yuv, a], "yuva420p"))
    assert samples.alpha is not None
    assert np.array_equal(samples.alpha, a)


def test_chroma_of_411_is_interpolated():
    u = np.array([[10, 30, 50]] * 2, np.uint8)
    y = np.zeros((2, 12), np.uint8)
    samples = samples_of(av_frame([y, u, u], "yuv411p"))
    assert samples.yuv is not None
    assert samples.yuv[1].tolist() == [[10, 20, 30, 40, 50, 50]] * 2


def test_rare_formats():
    samples = samples_of(av_frame([np.full((4, 4), 0xFFFF, "<u2")], "rgb565le"))
    assert samples.rgb is not None
    assert (samples.rgb == 255).all()
    with pytest.raises(VideoError, match="monow is not supported"):
        samples_of(av_frame([np.zeros((4, 8), np.uint8)[:, :1]], "monow"))
