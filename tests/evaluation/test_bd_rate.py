"""BD-rate: cases whose answer is known by hand, and the package `bjontegaard` on random curves."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.curve import METHODS, bd_rate, bpp_at_quality, quality_at_bpp

BPPS = [0.03, 0.05, 0.08, 0.15, 0.22, 0.4]
PSNRS = [28.6, 30.8, 32.9, 34.8, 36.0, 37.1]


@pytest.mark.parametrize("method", METHODS)
def test_a_curve_costs_nothing_against_itself(method):
    found = bd_rate(BPPS, PSNRS, BPPS[::-1], PSNRS[::-1], method)
    assert found.percent == pytest.approx(0, abs=1e-9)
    assert (found.low, found.high, found.overlap) == (28.6, 37.1, 1.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [0.5, 1.25, 3.0])
def test_a_curve_shifted_in_rate_costs_just_that(method, factor):
    found = bd_rate(BPPS, PSNRS, [factor * b for b in BPPS], PSNRS, method)
    assert found.percent == pytest.approx(100 * (factor - 1), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_straight_lines_are_integrated_exactly(method):
    """10 dB a decade, and the same 1 dB lower: at equal quality 10^0.1 times the rate."""
    bpps = np.array([0.02, 0.05, 0.1, 0.3, 0.5])
    found = bd_rate(list(bpps), list(40 + 10 * np.log10(bpps)), list(bpps), list(39 + 10 * np.log10(bpps)), method)
    assert found.percent == pytest.approx(100 * (10**0.1 - 1), abs=1e-6)
    span = 10 * np.log10(0.5 / 0.02)
    assert found.overlap == pytest.approx((span - 1) / (span + 1))


@pytest.mark.parametrize("method", METHODS)
def test_random_curves_agree_with_the_package(method):
    package = pytest.importorskip("bjontegaard")
    rng = np.random.default_rng(5)
    for _ in range(100):
        n, m = (4, 4) if method == "cubic" else rng.integers(4, 9, 2)
        curves = []
        for count in (n, m):
            rates = np.cumsum(rng.uniform(0.01, 0.08, count))
            curves += [rates, rng.uniform(27, 28) + np.cumsum(rng.uniform(0.8, 2.5, count))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = package.bd_rate(*curves, method=method, require_matching_points=False)
        assert bd_rate(*map(list, curves), method).percent == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_curves_without_a_quality_in_common_are_refused():
    with pytest.raises(UsageError, match=r"do not overlap: the anchor's qualities are 28.6 to 37.1"):
        bd_rate(BPPS, PSNRS, BPPS, [p + 10 for p in PSNRS])
    with pytest.raises(UsageError, match="do not overlap"):
        bd_rate([0.1, 0.2], [30, 31], [0.1, 0.2], [31, 32])


@pytest.mark.parametrize("psnrs", [[30, 29, 31, 32], [30, 30, 31, 32]])
def test_curves_that_do_not_rise_are_refused(psnrs):
    with pytest.raises(UsageError, match=r"the curve is not monotone: from 0\.1000 to 0\.2000 bpp"):
        bd_rate(BPPS, PSNRS, [0.1, 0.2, 0.3, 0.4], psnrs)
    with pytest.raises(UsageError, match="the anchor's curve is not monotone"):
        bd_rate([0.1, 0.2, 0.3, 0.4], psnrs, BPPS, PSNRS)


def test_the_cubic_needs_four_points():
    with pytest.raises(UsageError, match="4 points or more, not 3"):
        bd_rate(BPPS, PSNRS, BPPS[:3], PSNRS[:3], "cubic")
    with pytest.raises(UsageError, match="unknown method"):
        bd_rate(BPPS, PSNRS, BPPS, PSNRS, "spline")  # pyright: ignore[reportArgumentType]


def test_the_rate_at_a_quality_is_that_of_the_points_and_lies_between_them():
    assert bpp_at_quality(BPPS, PSNRS, 32.9) == pytest.approx(0.08)
    between = bpp_at_quality(BPPS, PSNRS, 33.5)
    assert 0.08 < between < 0.15
    assert quality_at_bpp(BPPS, PSNRS, between) == pytest.approx(33.5, abs=0.1)
    with pytest.raises(UsageError, match="outside"):
        bpp_at_quality(BPPS, PSNRS, 20)
