"""Rate is arithmetic: the bits and bpp of the family's rates, and sizes that do not divide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbvc_jax.geometry import frame_bits, gop_bpp, index_bits, padded_size, stage_grids
from cbvc_jax.presets import PRESETS, RATES

KEY = (8192, 2048, 512)
RATE_SIZES = {"high": KEY, "medium": (64, 2048, 512), "low": (8, 2048, 512)}


@pytest.mark.parametrize(("rate", "bits"), [("high", 250_560), ("medium", 143_040), ("low", 96_960)])
def test_bits_a_frame(rate, bits):
    assert frame_bits(1024, 1920, RATE_SIZES[rate]) == bits


@pytest.mark.parametrize(
    ("rate", "bpp"),
    [
        ("high", (0.1274, 0.1274, 0.1274, 0.1274, 0.1274, 0.1274, 0.1274)),
        ("medium", (0.0728, 0.0806, 0.0773, 0.0750, 0.0745, 0.0739, 0.0733)),
        ("low", (0.0493, 0.0605, 0.0558, 0.0526, 0.0518, 0.0509, 0.0501)),
    ],
)
def test_bpp_by_gop(rate, bpp):
    one_frame, *by_gop = bpp
    sizes = RATE_SIZES[rate]
    assert round(frame_bits(1024, 1920, sizes) / (1024 * 1920), 4) == one_frame
    assert [round(gop_bpp(1024, 1920, KEY, sizes, gop), 4) for gop in (7, 12, 24, 32, 48, 96)] == by_gop


def test_grids_of_the_paper():
    assert stage_grids(1024, 1920) == ((64, 120), (32, 60), (16, 30))


def test_the_whole_family_has_these_rates():
    for preset in PRESETS.values():
        assert preset.rates == RATES
        assert preset.key_sizes == KEY
        assert {rate: preset.codebook_sizes(rate) for rate in preset.rates} == RATE_SIZES


@pytest.mark.parametrize(("size", "bits"), [(1, 0), (2, 1), (3, 2), (8, 3), (9, 4), (512, 9), (8192, 13)])
def test_index_bits(size, bits):
    assert index_bits(size) == bits


@given(st.integers(1, 16384), st.integers(1, 16384))
def test_padding_and_grids_cover_the_frame(height, width):
    h, w = padded_size(height, width)
    assert h % 64 == w % 64 == 0
    assert height <= h < height + 64 and width <= w < width + 64
    for (rows, cols), stride in zip(stage_grids(height, width), (16, 32, 64), strict=True):
        assert (rows - 1) * stride < height <= rows * stride <= h
        assert (cols - 1) * stride < width <= cols * stride <= w


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 100))
def test_a_gop_costs_its_frames(height, width, gop):
    low = RATE_SIZES["low"]
    bits = frame_bits(height, width, KEY) + (gop - 1) * frame_bits(height, width, low)
    assert gop_bpp(height, width, KEY, low, gop) * gop * height * width == pytest.approx(bits)
