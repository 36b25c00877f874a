"""Qualities and targets: the scale is monotone, and a target is held on sources of many kinds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.errors import UsageError
from cbvc_jax.presets import RATES
from cbvc_jax.rate_control import (
    FASTER,
    HIGHEST_PRICE,
    KNEE,
    LOWEST_PRICE,
    MAX_QUALITY,
    SPANS,
    RateControl,
    setting_for,
)

qualities = st.floats(0.0, 100.0)


@given(qualities, qualities)
def test_more_quality_never_makes_bits_dearer_or_the_rate_lower(a, b):
    low, high = setting_for(min(a, b)), setting_for(max(a, b))
    assert high.price <= low.price
    assert RATES.index(high.rate) <= RATES.index(low.rate)


def test_the_best_quality_sends_the_nearest_codewords_of_the_highest_rate():
    assert setting_for(MAX_QUALITY) == setting_for(100) and setting_for(100).price == 0.0
    assert setting_for(100).rate == "high" and setting_for(0).rate == "low"


def test_prices_fall_evenly_and_faster_at_the_end():
    steps = [setting_for(q).price / setting_for(q + 1).price for q in range(int(MAX_QUALITY) - 1)]
    even = (HIGHEST_PRICE / LOWEST_PRICE) ** (1 / MAX_QUALITY)
    np.testing.assert_allclose(steps[: int(KNEE)], even)
    np.testing.assert_allclose(steps[int(KNEE) :], even * FASTER ** (1 / (MAX_QUALITY - KNEE)))
    assert setting_for(0).price == HIGHEST_PRICE


@given(qualities, st.sampled_from([("high",), ("low",), ("high", "low"), ("medium", "low")]))
def test_a_model_with_fewer_rates_serves_the_whole_scale(quality, rates):
    assert setting_for(quality, rates).rate in rates


def test_a_rate_is_kept_near_the_ends_of_its_span():
    end = SPANS["low"][1]
    assert setting_for(end + 1).rate == "medium"
    assert setting_for(end + 1, last="low").rate == "low"
    assert setting_for(end + 10, last="low").rate == "medium"


@pytest.mark.parametrize("quality", [-1, 100.5, math.nan])
def test_a_quality_out_of_range_is_refused(quality):
    with pytest.raises(UsageError, match="0 to 100"):
        setting_for(quality)


@pytest.mark.parametrize("target", [0, -5, math.inf, math.nan])
def test_a_target_that_makes_no_sense_is_refused(target):
    with pytest.raises(UsageError, match="makes no sense"):
        RateControl(target, 32)


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(48, 200),
    steepness=st.floats(0.015, 0.035),
    busy=st.floats(0.5, 2.0),
    change=st.floats(0.6, 1.6),
    known=st.booleans(),
)
def test_a_target_is_held_on_sources_of_many_kinds(frames, steepness, busy, change, known):
    """A source whose bits grow exponentially with quality and whose content changes half-way."""
    target, gop = 3000.0, 32
    control = RateControl(target, gop, frames=frames if known else None)
    for n in range(frames):
        quality = control.quality
        assert control.setting().rate in RATES
        content = busy * (change if n > frames // 2 else 1.0)
        bits = 8000 if n % gop == 0 else 500 * content * math.exp(steepness * quality * 1.4)
        control.update(round(bits), n % gop == 0)
    reachable = 500 * busy * min(1, change) * math.exp(steepness * 140) > 1.3 * target
    unknown_end = not known and frames % gop
    if reachable and 0 < control.quality < 100:
        assert control.ratio == pytest.approx(1.0, abs=0.03 + (8000 / target / frames if unknown_end else 0))
