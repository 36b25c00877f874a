"""Rate-distortion curves: from measured points to the quality at a wanted rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from cbvc_jax.errors import UsageError


def quality_at_bpp(bpps: Sequence[float], qualities: Sequence[float], bpp: float) -> float:
    """The quality at `bpp` on the curve through the points, in the unit of `qualities`.

    The curve is the piecewise cubic Hermite interpolant of Fritsch and Butland 1984 over log rate, as in BD-rate by
    PCHIP: it meets every point and stays between neighbouring ones, so it never rises or falls where they do not.

    Args:
      bpps: rates of at least two points in bits a pixel, any order, all different and above 0.
      qualities: their qualities, finite, for example in dB.
      bpp: the wanted rate in bits a pixel.

    Raises:
      UsageError: `bpp` lies outside the measured rates, or the points do not make a curve.
    """
    if len(bpps) != len(qualities) or len(bpps) < 2:
        raise UsageError(f"a curve needs two points or more, each with a rate and a quality; got {len(bpps)}")
    if min(bpps) <= 0 or len(set(bpps)) < len(bpps) or not np.all(np.isfinite([*bpps, *qualities])):
        raise UsageError("the points of a curve need finite qualities, and rates that are above 0 and all different")
    if not min(bpps) <= bpp <= max(bpps):
        raise UsageError(
            f"{bpp:.4f} bpp lies outside the measured {min(bpps):.4f} to {max(bpps):.4f} bpp; measure a point beyond it"
        )
    order = np.argsort(bpps)
    rates = np.log(np.asarray(bpps, np.float64)[order])
    values = np.asarray(qualities, np.float64)[order]
    return _hermite(rates, values, _slopes(rates, values), float(np.log(bpp)))


def _slopes(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Slope at each point: a weighted harmonic mean of the two chords, 0 at a turn; one-sided at the ends."""
    steps, chords = np.diff(x), np.diff(y) / np.diff(x)
    if len(x) == 2:
        return np.repeat(chords, 2)
    slopes = np.zeros_like(y)
    before, after = chords[:-1], chords[1:]
    left, right = 2 * steps[1:] + steps[:-1], steps[1:] + 2 * steps[:-1]
    same_way = before * after > 0
    inner = slopes[1:-1]
    inner[same_way] = ((left + right)[same_way]) / (
        left[same_way] / before[same_way] + right[same_way] / after[same_way]
    )
    slopes[0] = _end_slope(steps[0], steps[1], chords[0], chords[1])
    slopes[-1] = _end_slope(steps[-1], steps[-2], chords[-1], chords[-2])
    return slopes


def _end_slope(step: float, next_step: float, chord: float, next_chord: float) -> float:
    """Slope of the parabola through the three outermost points, limited so that the curve does not overshoot."""
    slope = ((2 * step + next_step) * chord - step * next_chord) / (step + next_step)
    if slope * chord <= 0:
        return 0.0
    if chord * next_chord <= 0 and abs(slope) > 3 * abs(chord):
        return 3 * chord
    return slope


def _hermite(
    x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"], slopes: Float64[np.ndarray, " n"], at: float
) -> float:
    i = int(np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2))
    step = x[i + 1] - x[i]
    t = min(max((at - x[i]) / step, 0.0), 1.0)
    rise = t * t * (3 - 2 * t)
    bend = step * t * (1 - t) * ((1 - t) * slopes[i] - t * slopes[i + 1])
    return float(y[i] + rise * (y[i + 1] - y[i]) + bend)
