"""Rate-distortion curves: the quality at a wanted rate, and the difference in rate between two curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from numpy.polynomial import Polynomial
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from cbvc_jax.errors import UsageError

Method = Literal["pchip", "akima", "cubic"]
METHODS: tuple[Method, ...] = ("pchip", "akima", "cubic")
CUBIC_POINTS = 4
Values = Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class BDRate:
    """Mean difference in rate of a curve from its anchor at equal quality (Bjontegaard 2001, VCEG-M33).

    Attributes:
      percent: above 0 where the curve takes more bits than the anchor, below where it saves bits.
      low, high: qualities between which both curves were measured, in the metric's unit.
      overlap: (high - low) over the range of all qualities of the two, in (0, 1]: how much the figure rests on.
    """

    percent: float
    low: float
    high: float
    overlap: float


def bd_rate(
    anchor_bpps: Sequence[float],
    anchor_qualities: Sequence[float],
    bpps: Sequence[float],
    qualities: Sequence[float],
    method: Method = "pchip",
) -> BDRate:
    """The BD-rate of a curve against its anchor, from log10 of the rate as a function of quality.

    Args:
      anchor_bpps, bpps: rates of two points or more in bits a pixel, any order, all different and above 0.
      anchor_qualities, qualities: theirs, finite; higher is better (give distances such as LPIPS negated).
      method: "pchip" and "akima" meet every point; "cubic" fits one cubic to each curve (least squares beyond four
        points), as the original paper does.

    Raises:
      UsageError: the points do not make curves, quality does not rise with rate, the two curves have no quality in
        common, or "cubic" gets fewer than four points.
    """
    anchor = _rising(anchor_bpps, anchor_qualities, "the anchor's curve")
    curve = _rising(bpps, qualities, "the curve")
    low, high = max(anchor[1][0], curve[1][0]), min(anchor[1][-1], curve[1][-1])
    if low >= high:
        raise UsageError(
            f"the curves do not overlap: the anchor's qualities are {anchor[1][0]:.4g} to {anchor[1][-1]:.4g}, "
            f"the curve's {curve[1][0]:.4g} to {curve[1][-1]:.4g}"
        )
    whole = max(anchor[1][-1], curve[1][-1]) - min(anchor[1][0], curve[1][0])
    areas = [_area(np.log10(rates), values, float(low), float(high), method) for rates, values in (anchor, curve)]
    percent = 100 * (10 ** ((areas[1] - areas[0]) / (high - low)) - 1)
    return BDRate(float(percent), float(low), float(high), float((high - low) / whole))


def quality_at_bpp(bpps: Sequence[float], qualities: Sequence[float], bpp: float) -> float:
    """The quality at `bpp` on the curve through the points, in the unit of `qualities`.

    The curve is the piecewise cubic Hermite interpolant (PCHIP) over log rate: it meets every point and stays between
    neighbouring ones, so it never rises or falls where they do not.

    Args:
      bpps: rates of at least two points in bits a pixel, any order, all different and above 0.
      qualities: their qualities, finite, for example in dB.
      bpp: the wanted rate in bits a pixel.

    Raises:
      UsageError: `bpp` lies outside the measured rates, or the points do not make a curve.
    """
    rates, values = _points(bpps, qualities)
    if not rates[0] <= bpp <= rates[-1]:
        raise UsageError(
            f"{bpp:.4f} bpp lies outside the measured {rates[0]:.4f} to {rates[-1]:.4f} bpp; measure a point beyond it"
        )
    return float(PchipInterpolator(np.log(rates), values)(np.log(bpp)))


def bpp_at_quality(bpps: Sequence[float], qualities: Sequence[float], quality: float) -> float:
    """The rate in bits a pixel at which the curve reaches `quality`: `quality_at_bpp` the other way round.

    Raises:
      UsageError: `quality` lies outside the measured ones, quality does not rise with rate, or there is no curve.
    """
    rates, values = _rising(bpps, qualities, "the curve")
    if not values[0] <= quality <= values[-1]:
        raise UsageError(f"a quality of {quality:.4g} lies outside the measured {values[0]:.4g} to {values[-1]:.4g}")
    return float(np.exp(PchipInterpolator(values, np.log(rates))(quality)))


def _points(bpps: Sequence[float], qualities: Sequence[float]) -> tuple[Values, Values]:
    """(rates, qualities) in the order of rates; UsageError if they do not make a curve."""
    if len(bpps) != len(qualities) or len(bpps) < 2:
        raise UsageError(f"a curve needs two points or more, each with a rate and a quality; got {len(bpps)}")
    if min(bpps) <= 0 or len(set(bpps)) < len(bpps) or not np.all(np.isfinite([*bpps, *qualities])):
        raise UsageError("the points of a curve need finite qualities, and rates that are above 0 and all different")
    order = np.argsort(bpps)
    return np.asarray(bpps, np.float64)[order], np.asarray(qualities, np.float64)[order]


def _rising(bpps: Sequence[float], qualities: Sequence[float], name: str) -> tuple[Values, Values]:
    rates, values = _points(bpps, qualities)
    for (rate, value), (next_rate, next_value) in pairwise(zip(rates, values, strict=True)):
        if next_value <= value:
            raise UsageError(
                f"{name} is not monotone: from {rate:.4f} to {next_rate:.4f} bpp its quality goes from {value:.4g} to "
                f"{next_value:.4g}"
            )
    return rates, values


def _area(log_rates: Values, values: Values, low: float, high: float, method: Method) -> float:
    """The integral of log rate over quality from low to high."""
    if method == "cubic":
        if len(values) < CUBIC_POINTS:
            raise UsageError(f"the cubic fit takes {CUBIC_POINTS} points or more, not {len(values)}")
        integral = Polynomial.fit(values, log_rates, 3).integ()
        return float(integral(high) - integral(low))
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
    # Akima's slopes take three points; two make a straight line in either.
    interpolate: Any = Akima1DInterpolator if method == "akima" and len(values) > 2 else PchipInterpolator
    return float(interpolate(values, log_rates).integrate(low, high))
