from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.curve import quality_at_bpp

RATES = st.lists(st.integers(1, 10_000), min_size=2, max_size=8, unique=True).map(lambda r: [n / 1000 for n in r])


@st.composite
def curves(draw):
    bpps = draw(RATES)
    return bpps, draw(st.lists(st.floats(10, 60), min_size=len(bpps), max_size=len(bpps)))


@given(curves())
def test_curve_meets_its_points(curve):
    for bpp, quality in zip(*curve, strict=True):
        assert quality_at_bpp(*curve, bpp) == pytest.approx(quality, abs=1e-6)


@given(curves(), st.floats(0, 1))
def test_curve_stays_between_neighbouring_points(curve, part):
    points = sorted(zip(*curve, strict=True))
    for (rate, quality), (next_rate, next_quality) in pairwise(points):
        between = quality_at_bpp(*curve, min(next_rate, rate + part * (next_rate - rate)))
        assert min(quality, next_quality) - 1e-9 <= between <= max(quality, next_quality) + 1e-9


@given(RATES, st.floats(0, 1))
def test_logarithmic_curves_are_met_everywhere(bpps, part):
    wanted = min(max(bpps), min(bpps) + part * (max(bpps) - min(bpps)))
    qualities = [30 + 5 * np.log(bpp) for bpp in bpps]
    assert quality_at_bpp(bpps, qualities, wanted) == pytest.approx(30 + 5 * np.log(wanted), abs=1e-6)


def test_values_agree_with_the_reference_interpolant():
    # scipy.interpolate.PchipInterpolator(log(bpps), qualities) of scipy 1.17.1.
    bpps = [0.03, 0.05, 0.08, 0.15, 0.4]
    rising = {0.031: 28.742039079826903, 0.06: 31.603044795488298, 0.1: 33.62420393219156, 0.39: 35.998082341317016}
    turning = {0.031: 28.845928602837557, 0.06: 30.465310941762077, 0.1: 29.8, 0.39: 35.743376043298575}
    for bpp, quality in rising.items():
        assert quality_at_bpp(bpps, [28.6, 30.8, 32.8, 34.8, 36.0], bpp) == pytest.approx(quality, abs=1e-9)
    for bpp, quality in turning.items():
        assert quality_at_bpp(bpps, [28.6, 30.8, 29.8, 29.8, 36.0], bpp) == pytest.approx(quality, abs=1e-9)


@pytest.mark.parametrize("bpp", [0.0999, 0.4001, -1.0, float("nan")])
def test_extrapolation_is_refused(bpp):
    with pytest.raises(UsageError, match="outside"):
        quality_at_bpp([0.1, 0.4], [30, 35], bpp)


@pytest.mark.parametrize(("bpps", "qualities"), [
    ([0.1], [30]), ([0.1, 0.2], [30]), ([0.1, 0.1], [30, 31]), ([0, 0.2], [30, 31]), ([0.1, 0.2], [30, float("inf")]),
])  # fmt: skip
def test_points_that_make_no_curve_are_refused(bpps, qualities):
    with pytest.raises(UsageError):
        quality_at_bpp(bpps, qualities, 0.1)
