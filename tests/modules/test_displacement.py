"""Attention by position against weights written out pixel by pixel."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.geometry import LEADERS
from cbvc_jax.modules.displacement import QUADRANT, REACH, SIDE, displace, follow

from .weights import normal

run = jax.jit(displace, static_argnums=2)
INTERPOLATIONS = ("linear", "cubic")


def weight(distance, interpolation):
    """What a line counts whose distance is so many pixels: Keys 1981, a = -1/2."""
    d = abs(distance)
    if interpolation == "linear":
        return max(1 - d, 0)
    return 1.5 * d**3 - 2.5 * d**2 + 1 if d < 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0


def between(picture, y, x, interpolation):
    """The picture at any place, in float64: between pixels by distance, beyond its edges as on them."""
    top, left = int(np.floor(y)) - 1, int(np.floor(x)) - 1
    value = 0.0
    for row, column in np.ndindex(4, 4):
        share = weight(y - top - row, interpolation) * weight(x - left - column, interpolation)
        at = np.clip((top + row, left + column), 0, np.array(picture.shape[:2]) - 1)
        value = value + share * picture[tuple(at)].astype(np.float64)
    return value


def asked(place, count):
    """(block, weight) of the two blocks along an axis whose displacements a pixel asks, the one it lies in first."""
    own, off = place // SIDE, (place % SIDE + 0.5 - SIDE / 2) / SIDE
    other = min(max(own + (1 if off > 0 else -1), 0), count - 1)
    return ((own, 1 - abs(off)), (other, abs(off)))


def written_out(picture, displacement, interpolation, n, y, x):
    """One pixel."""
    _, rows, columns, _ = displacement.shape
    value = 0.0
    for i, down in asked(y, rows):
        for j, right in asked(x, columns):
            by = displacement[n, i, j].astype(np.float64)
            value = value + down * right * between(picture[n], y + by[0], x + by[1], interpolation)
    return value


@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 99),
    st.sampled_from(INTERPOLATIONS),
)
def test_against_weights_written_out(b, rows, columns, c, seed, interpolation):
    random = np.random.default_rng(seed)
    picture = normal(b, SIDE * rows, SIDE * columns, c, seed=seed)
    displacement = random.uniform(-REACH, REACH, (b, rows, columns, 2)).astype(np.float32)
    out = run(picture, displacement, interpolation)
    for _ in range(100):
        place = [random.integers(size) for size in picture.shape[:3]]
        np.testing.assert_allclose(
            out[tuple(place)], written_out(picture, displacement, interpolation, *place), atol=1e-4
        )


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_whole_pixels_are_fetched_from_where_a_displacement_points(interpolation):
    picture = normal(1, 64, 64, 3)
    still = np.zeros((1, 2, 2, 2), np.float32)
    np.testing.assert_allclose(run(picture, still, interpolation), picture, atol=1e-6)
    moved = run(picture, still + np.float32([3, -2]), interpolation)
    np.testing.assert_allclose(moved[:, :-3, 2:], picture[:, 3:, :-2], atol=1e-6)
    # Beyond the edges the outermost pixels go on.
    np.testing.assert_allclose(moved[:, -3:, 2:], np.repeat(picture[:, -1:, :-2], 3, axis=1), atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999))
def test_no_difference_between_references_grows(seed):
    random = np.random.default_rng(seed)
    displacement = random.uniform(-REACH, REACH, (1, 2, 1, 2)).astype(np.float32)
    one, other = normal(1, 64, 32, 1, seed=seed), normal(1, 64, 32, 1, seed=seed + 1)
    apart = np.abs(run(one, displacement) - run(other, displacement)).max()
    assert apart <= np.abs(one - other).max() * (1 + 1e-5)


@pytest.mark.parametrize("part", [0.1, 0.25, 0.5, 0.8])
def test_a_cubic_keeps_more_of_what_is_fine_and_no_frequency_grows(part):
    lines = np.arange(64)
    displacement = np.full((1, 2, 2, 2), [part, 0.0], np.float32)
    for period in (3, 4, 6, 16):
        wave = np.exp(2j * np.pi * lines / period)
        sides = [
            np.broadcast_to(w[None, :, None, None], (1, 64, 64, 1)).astype(np.float32) for w in (wave.real, wave.imag)
        ]
        kept = {}
        for interpolation in INTERPOLATIONS:
            moved = [np.asarray(run(side, displacement, interpolation))[0, 8:-8, 8, 0] for side in sides]
            kept[interpolation] = np.abs(moved[0] + 1j * moved[1]).mean()
        assert kept["linear"] < kept["cubic"] <= 1 + 1e-5


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_gradient_is_the_picture_s_alone(interpolation):
    random = np.random.default_rng(5)
    picture, slope = normal(2, 64, 96, 2, seed=1), normal(2, 64, 96, 2, seed=2)
    displacement = random.uniform(-12, 12, (2, 2, 3, 2)).astype(np.float32)
    of_picture, of_displacement = jax.jit(jax.vjp(lambda *a: displace(*a, interpolation), picture, displacement)[1])(
        slope
    )
    # It is linear in the picture: the gradient is the same of any other.
    other = normal(2, 64, 96, 2, seed=3)
    np.testing.assert_allclose(
        np.vdot(of_picture, other), np.vdot(slope, run(other, displacement, interpolation)), rtol=1e-3
    )
    assert not np.any(of_displacement)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_quarter_follows_the_leader_that_is_asked_for(interpolation):
    random, (b, rows, columns) = np.random.default_rng(0), (2, 2, 3)
    picture = normal(b, SIDE * rows, SIDE * columns, 2, seed=1)
    displacement = random.uniform(-REACH + 1, REACH - 1, (b, rows, columns, 2)).astype(np.float32)
    leader = random.integers(0, LEADERS, (b, 2 * rows, 2 * columns))
    out = follow(picture, displacement, leader, interpolation)
    for n, i, j in np.ndindex(*leader.shape):
        own = i // 2, j // 2
        other = [min(max(k // 2 + (1 if k % 2 else -1), 0), size - 1) for k, size in ((i, rows), (j, columns))]
        place = [own, (other[0], own[1]), (own[0], other[1]), tuple(other)][leader[n, i, j]]
        by = displacement[n][place].astype(np.float64)
        for row, column in ((0, 0), (7, 3), (QUADRANT - 1, QUADRANT - 1)):
            y, x = QUADRANT * i + row, QUADRANT * j + column
            expected = between(picture[n], y + by[0], x + by[1], interpolation)
            np.testing.assert_allclose(out[n, y, x], expected, atol=2e-5)
