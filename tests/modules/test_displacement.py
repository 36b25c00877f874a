"""Attention by position against weights written out pixel by pixel, and displacements that a search has to find."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.modules.displacement import CARRIED, REACH, SIDE, carried, displace, find_displacements, shares_of_nodes

from .weights import normal

run = jax.jit(displace, static_argnums=2)
search = jax.jit(find_displacements, static_argnums=2)
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


def textured(size: int) -> np.ndarray:
    """A smooth random picture [1, size, size, 3] in [-1, 1]."""
    noise = np.random.default_rng(3).standard_normal((size, size, 3))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))[..., None]
    smooth = np.fft.ifft2(np.fft.fft2(noise, axes=(0, 1)) * np.exp(-((frequency * 9) ** 2)), axes=(0, 1)).real
    return np.float32(np.clip(smooth / (2.0 * smooth.std()), -1, 1))[None]


@pytest.mark.parametrize("shift", [(0, 0), (5, -3), (-12, 9)])
def test_the_search_finds_whole_displacements(shift):
    picture = textured(256)
    reference, x = picture[:, 32:224, 32:224], np.roll(picture, (-shift[0], -shift[1]), (1, 2))[:, 32:224, 32:224]
    inside = (slice(None), slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(
        search(x, reference, 2).displacement[inside], np.broadcast_to(shift, (1, 4, 4, 2)), atol=0.25
    )
    np.testing.assert_allclose(
        search(x, reference, 8).displacement[inside], np.broadcast_to(shift, (1, 4, 4, 2)), atol=0.1
    )


def test_the_search_finds_fractions():
    large = textured(384)
    halves = large.reshape(1, 192, 2, 192, 2, 3).mean((2, 4))
    shifted = np.roll(large, -3, axis=1).reshape(1, 192, 2, 192, 2, 3).mean((2, 4))
    found = search(shifted[:, 32:160, 32:160], halves[:, 32:160, 32:160], 2).displacement
    np.testing.assert_allclose(np.median(found[:, 1:-1, 1:-1].reshape(-1, 2), axis=0), (1.5, 0.0), atol=0.25)


def test_nothing_is_found_where_nothing_has_an_edge():
    found = search(np.full((1, 64, 64, 3), 0.3, np.float32), np.full((1, 64, 64, 3), -0.2, np.float32), 2)
    np.testing.assert_array_equal(found.displacement, 0.0)
    np.testing.assert_allclose(found.weights, np.broadcast_to(np.eye(2), (1, 2, 2, 2, 2)))


def test_weights_tell_what_an_error_of_a_displacement_changes():
    picture = textured(192)
    picture[:, :, :96] = picture[:, :, :1]
    weights = search(picture, picture, 2).weights
    np.testing.assert_allclose(jnp.mean(jnp.trace(weights, axis1=-2, axis2=-1)), 2.0, rtol=1e-5)
    # On the left stripes go from side to side: to slip along them shows nothing.
    assert np.max(weights[:, :, :2, 1, 1]) < 0.01 * np.min(weights[:, :, :2, 0, 0])
    for by in ((0.5, 0.0), (0.0, 0.5), (0.3, 0.3)):
        slipped = run(picture, np.broadcast_to(np.float32(by), (1, 6, 6, 2)))
        change = np.square(np.mean(slipped - picture, axis=-1)).reshape(6, 32, 6, 32).mean(axis=(1, 3))
        expected = np.einsum("bhwij,i,j->hw", weights, by, by)
        ratio = (change / expected)[1:-1, 4]
        np.testing.assert_allclose(ratio / np.median(ratio), 1.0, atol=0.35)


def test_limits_know_where_a_block_looks_the_same_again():
    period = 8
    picture = np.tile(textured(192)[:, :, :period], (1, 1, 192 // period, 1))
    found = search(picture, picture, 2)
    np.testing.assert_array_equal(found.displacement, 0.0)
    at = shares_of_nodes(np.float32([[0, 0], [0, period], [0, period / 2], [period, 0]]))
    errors = np.einsum("hwm,km->khw", found.limits[0, 1:-1, 1:-1], at)
    of_pixel = np.trace(found.weights[0, 1:-1, 1:-1], axis1=-2, axis2=-1) / 2
    # As good as none, within the pixel that a grid of two misses; half a period on it is not.
    np.testing.assert_allclose(errors[:2], np.stack([of_pixel] * 2), rtol=1e-4)
    assert np.all(errors[2:] > 2 * errors[:2])


def test_an_error_is_carried_on_where_nothing_new_comes():
    before = textured(192)
    error = 0.1 * normal(*before.shape)
    x = np.roll(before, (3, 0), (1, 2))
    x[:, 96:160, 96:160] = textured(192)[:, :64, :64]
    moves = np.broadcast_to(np.float32([-3, 0]), (1, 6, 6, 2))
    shares = np.asarray(carried(x, before, before + error, moves))
    assert shares.shape == (1, 12, 12)
    np.testing.assert_allclose(shares[:, 1:5, 1:], CARRIED, rtol=1e-5)
    assert shares[:, 6:10, 6:10].max() < 0.2
    # The larger the error is, the less it matters what else is new.
    assert np.all(np.asarray(carried(x, before, before + 4 * error, moves)) >= shares - 1e-6)
    assert np.all(np.asarray(carried(x, before, before + error, 0 * moves))[:, 1:5] < 0.9 * CARRIED)


def test_shares_of_nodes_are_those_between_which_a_displacement_lies():
    shares = np.asarray(shares_of_nodes(np.float32([[-16, 16], [1, -0.5], [99, 0]]))).reshape(3, 17, 17)
    np.testing.assert_allclose(shares.sum((1, 2)), 1.0)
    assert shares[0, 0, 16] == 1.0 and shares[2, 16, 8] == 1.0
    np.testing.assert_allclose(shares[1, 8:10, 7:9], [[0.125, 0.375], [0.125, 0.375]])


def test_no_gradient_passes_through_the_search():
    x = jnp.asarray(textured(64))

    def of_found(x, reference):
        return sum(jnp.sum(part) for part in find_displacements(x, reference))

    total = jax.grad(of_found, argnums=(0, 1))
    for gradient in jax.jit(total)(x, 0.9 * x):
        np.testing.assert_array_equal(gradient, 0.0)


def test_gradients_reach_what_displaces():
    displacement = np.full((1, 2, 2, 2), 1.5, np.float32)
    gradients = jax.jit(jax.grad(lambda *a: jnp.sum(jnp.square(displace(*a))), argnums=(0, 1)))(
        textured(64), displacement
    )
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_gradients_are_those_of_what_was_fetched(interpolation):
    random = np.random.default_rng(5)
    picture, slope = normal(2, 64, 96, 2, seed=1), normal(2, 64, 96, 2, seed=2)
    # Away from whole pixels, where weights have a corner.
    displacement = random.integers(-12, 12, (2, 2, 3, 2)).astype(np.float32) + np.float32(0.5)
    of_picture, of_displacement = jax.jit(jax.vjp(lambda *a: displace(*a, interpolation), picture, displacement)[1])(
        slope
    )
    # In the picture it is linear, in displacements between whole pixels almost.
    other = normal(2, 64, 96, 2, seed=3)
    np.testing.assert_allclose(
        np.vdot(of_picture, other), np.vdot(slope, run(other, displacement, interpolation)), rtol=1e-3
    )
    for place in ((0, 0, 0, 0), (0, 1, 2, 1), (1, 0, 1, 0), (1, 1, 1, 1)):
        step = np.zeros_like(displacement)
        # A straight line is the same as its slope anywhere, a cubic only close by.
        step[place] = 0.25 if interpolation == "linear" else 0.02
        moved = [np.asarray(run(picture, displacement + by, interpolation), np.float64) for by in (step, -step)]
        change = np.vdot(slope, moved[0] - moved[1]) / (2 * step[place])
        np.testing.assert_allclose(of_displacement[place], change, rtol=1e-2, atol=1e-2)
