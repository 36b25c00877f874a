"""From what a user asks for to a rate and a price of bits: a quality, bits a pixel, or bits a second.

    quality --> (rate, price)                              one setting for the whole stream
    target --> quality --> frame --> its bits --+          a quality that is corrected after every frame
                  ^-----------------------------+

A quality is a number from 0 to 100. Each rate of the model serves a part of that scale, and along it the price of a bit
falls.
"""

from __future__ import annotations

import dataclasses
import math

from cbvc_jax.errors import UsageError
from cbvc_jax.presets import RATES

MIN_QUALITY, MAX_QUALITY = 0.0, 100.0
HIGHEST_PRICE = 20000.0
LOWEST_PRICE = 100.0
"""Prices at the ends of the scale, if they fell exponentially all the way."""
KNEE, FASTER = 90.0, 10.0
"""Quality from which prices fall by that much more to the end of the scale, but that the best one has a price of 0."""
SPANS: dict[str, tuple[float, float]] = {"low": (0.0, 16.0), "medium": (16.0, 66.0), "high": (66.0, 100.0)}
"""Part of the scale that each rate serves, where a model has all three: that of the least error at equal bits there."""
HYSTERESIS = 8.0
"""How far beyond its part of the scale a rate goes on, since changing it costs what the index coding has learned. So
far that what two neighbours can spend meets: there is no step for a target to fall into."""
LOG_BITS_PER_QUALITY = 0.025
GAIN = 0.3
LARGEST_STEP = 6.0
HORIZON = 12
"""Frames over which bits that were saved or overspent are made up for."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """How frames are coded.

    Attributes:
      rate: codebooks of predicted frames.
      price: lambda of the search, squared 8-bit levels a bit (see `cbvc_jax.pricing`).
    """

    rate: str
    price: float


def setting_for(quality: float, rates: tuple[str, ...] = RATES, last: str | None = None) -> Setting:
    """The setting of a quality.

    Args:
      quality: 0 .. 100; larger means more bits.
      rates: that the model has.
      last: rate of the frame before, which stays near the ends of its part of the scale.

    Raises:
      UsageError: the quality is out of range.
    """
    if not MIN_QUALITY <= quality <= MAX_QUALITY:
        raise UsageError(f"a quality of {quality:g} makes no sense: it goes from 0 to 100")
    if quality == MAX_QUALITY:
        price = 0.0
    else:
        price = HIGHEST_PRICE * (LOWEST_PRICE / HIGHEST_PRICE) ** (quality / MAX_QUALITY)
        price /= FASTER ** (max(0.0, quality - KNEE) / (MAX_QUALITY - KNEE))
    if last is not None and last in rates:
        low, high = SPANS[last]
        if low - HYSTERESIS <= quality <= high + HYSTERESIS:
            return Setting(last, price)
    # Where a model lacks a rate, its nearest one serves that part too.
    wanted = next(rate for rate, (_, end) in SPANS.items() if quality < end or end == MAX_QUALITY)
    order = list(SPANS)
    nearest = min(rates, key=lambda rate: abs(order.index(rate) - order.index(wanted)))
    return Setting(nearest, price)


class RateControl:
    """Holds the bits of a stream at a target by correcting the quality after each frame.

    Args:
      frame_bits: wanted on average, all of a stream's bytes included.
      gop: frames that a keyframe's bits are spread over.
      rates: that the model has.
      frames: of the whole stream, if that is known.

    Attributes:
      quality: of the next frame, 0 .. 100.
      frames_coded, bits: so far.
    """

    def __init__(self, frame_bits: float, gop: int, rates: tuple[str, ...] = RATES, frames: int | None = None) -> None:
        if not (math.isfinite(frame_bits) and frame_bits > 0):
            raise UsageError(f"a target of {frame_bits:g} bits a frame makes no sense: it must be above zero")
        self.frame_bits, self.gop, self.rates, self.frames = frame_bits, gop, rates, frames
        self.quality = (MIN_QUALITY + MAX_QUALITY) / 2
        self.frames_coded, self.bits = 0, 0
        self._rate: str | None = None
        self._reserve = 0.0
        self._reserve_frames = 0

    @property
    def ratio(self) -> float:
        """Bits so far over those that were wanted."""
        return self.bits / (self.frame_bits * max(1, self.frames_coded))

    def setting(self) -> Setting:
        """Of the next frame."""
        setting = setting_for(self.quality, self.rates, self._rate)
        self._rate = setting.rate
        return setting

    def update(self, bits: int, keyframe: bool) -> None:
        """Takes note of what the frame took."""
        self.frames_coded += 1
        self.bits += bits
        left = None if self.frames is None else max(0, self.frames - self.frames_coded)
        if keyframe:
            # What a keyframe takes beyond the mean is paid back, a share with every frame until the next one.
            self._reserve_frames = self.gop - 1 if left is None else min(self.gop - 1, left)
            self._reserve += max(0.0, bits - self.frame_bits)
            return
        if self._reserve_frames:
            self._reserve -= self._reserve / self._reserve_frames
            self._reserve_frames -= 1
        share = self._reserve / self._reserve_frames if self._reserve_frames else 0.0
        due = self.frame_bits * self.frames_coded + self._reserve - self.bits
        horizon = HORIZON if left is None else max(1, min(HORIZON, left))
        wanted = max(self.frame_bits - share + due / horizon, 0.02 * self.frame_bits)
        step = GAIN * math.log(wanted / max(bits, 1)) / LOG_BITS_PER_QUALITY
        step = max(-LARGEST_STEP, min(LARGEST_STEP, step))
        self.quality = max(MIN_QUALITY, min(MAX_QUALITY, self.quality + step))
