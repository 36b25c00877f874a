"""The colour conversion against the exact one in float64: matrices, ranges, depths, layouts, positions of chroma."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.video.color import gray_to_rgb, rgb_to_yuv, yuv_to_rgb

from .films import WEIGHTS, exact_rgb, exact_yuv, smooth

CASES = list(itertools.product(WEIGHTS, ("limited", "full")))


def all_samples(bit_depth: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kind = np.uint8 if bit_depth == 8 else np.uint16
    rng = np.random.default_rng(seed)
    y, u, v = rng.integers(0, 2**bit_depth, (3, 70, 53)).astype(kind)
    return y, u, v


@pytest.mark.parametrize("bit_depth", [8, 10, 12, 16])
@pytest.mark.parametrize(("matrix", "color_range"), CASES)
def test_444_is_the_nearest_value_even_for_samples_out_of_range(matrix, color_range, bit_depth):
    planes = all_samples(bit_depth, seed=1)
    rgb = yuv_to_rgb(planes, matrix, color_range, bit_depth)
    assert np.abs(rgb - exact_rgb(planes, matrix, color_range == "full", bit_depth)).max() <= 0.501


@pytest.mark.parametrize(("matrix", "color_range"), CASES)
def test_rgb_to_444_is_the_nearest_value(matrix, color_range):
    rgb = np.random.default_rng(2).integers(0, 256, (70, 53, 3)).astype(np.uint8)
    planes = np.stack(rgb_to_yuv(rgb, matrix, color_range, subsampled=False), -1)
    # Full-range chroma of the purest colours is 255.5, just off the scale.
    exact = np.minimum(exact_yuv(rgb, matrix, color_range == "full"), 255)
    assert np.abs(planes - exact).max() <= 0.501


@pytest.mark.parametrize(("matrix", "color_range"), CASES)
def test_gray_ramp_stays_gray_and_primaries_are_themselves(matrix, color_range):
    corners = np.array(list(itertools.product((0, 255), repeat=3)), np.uint8)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    rgb = np.concatenate([corners, ramp])[:, None, :]
    back = yuv_to_rgb(rgb_to_yuv(rgb, matrix, color_range, subsampled=False), matrix, color_range)
    assert np.abs(back.astype(int) - rgb).max() <= (1 if color_range == "full" else 2)
    gray = back[8:]
    assert np.ptp(gray, axis=-1).max() == 0


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 47), (1, 1), (2, 3), (65, 2)])
def test_smooth_picture_survives_420(height, width, siting):
    rgb = smooth(height, width)
    y, u, v = rgb_to_yuv(rgb, "bt709", "limited", siting=siting)
    assert u.shape == v.shape == ((height + 1) // 2, (width + 1) // 2)
    back = yuv_to_rgb((y, u, v), "bt709", "limited", siting=siting)
    inner = np.s_[2:-2, 2:-2] if min(height, width) > 8 else np.s_[:0]
    error = np.abs(back.astype(int) - rgb)
    assert error[inner].max(initial=0) <= 4
    assert error.mean() < 6
    again = yuv_to_rgb(rgb_to_yuv(back, "bt709", "limited", siting=siting), "bt709", "limited", siting=siting)
    assert np.abs(again.astype(int) - back)[inner].max(initial=0) <= 2


@pytest.mark.parametrize(("siting", "dy", "dx"), [("left", 0.5, 0.0), ("center", 0.5, 0.5), ("topleft", 0.0, 0.0)])
def test_chroma_is_taken_from_where_it_lies(siting, dy, dx):
    """A ramp of chroma sampled at the stated positions comes back as the ramp at the positions of luma."""
    rows, columns = np.mgrid[0:40, 0:30]
    coarse = np.rint(30 + 2.0 * (2 * rows[:20, :15] + dy) + 3.0 * (2 * columns[:20, :15] + dx)).astype(np.uint8)
    fine = 30 + 2.0 * rows + 3.0 * columns
    luma = np.full((40, 30), 120, np.uint8)
    flat = np.full_like(coarse, 128)
    rgb = yuv_to_rgb((luma, coarse, flat), "bt601", "full", siting=siting)
    exact = exact_rgb((luma, fine, np.full((40, 30), 128.0)), "bt601", True)
    assert np.abs(rgb - exact)[2:-2, 2:-2].max() <= 1.6


def test_bands_do_not_show():
    """The rows are worked on in bands: a picture of many bands equals the same picture cut elsewhere."""
    y, u, v = (np.random.default_rng(3).integers(16, 236, s).astype(np.uint8) for s in ((100, 20), (50, 10), (50, 10)))
    whole = yuv_to_rgb((y, u, v), "bt709", "limited")
    lower = yuv_to_rgb((y[20:], u[10:], v[10:]), "bt709", "limited")
    assert np.array_equal(whole[21:], lower[1:])


@pytest.mark.parametrize(("color_range", "samples"), [("limited", (64, 502, 940)), ("full", (0, 513, 1023))])
def test_ten_bit_gray(color_range, samples):
    rgb = gray_to_rgb(np.array([samples], np.uint16), color_range, 10)
    assert rgb[0, :, 0].tolist() == [0, 128, 255]
    assert np.ptp(rgb, axis=-1).max() == 0


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(CASES),
    st.booleans(),
    st.sampled_from(["left", "center", "topleft"]),
)
def test_flat_colour_of_any_size_is_kept(height, width, case, subsampled, siting):
    rgb = np.broadcast_to(np.array([200, 90, 30], np.uint8), (height, width, 3))
    matrix, color_range = case
    back = yuv_to_rgb(rgb_to_yuv(rgb, matrix, color_range, subsampled, siting), matrix, color_range, siting=siting)
    assert back.shape == rgb.shape
    assert np.abs(back.astype(int) - rgb).max() <= 2
