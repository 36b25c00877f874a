"""Attention by position against weights written out pixel by pixel, and displacements that a search has to find."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.modules.displacement import BLOCK, REACH, SPAN, displace, find_displacements

from .weights import normal

run = jax.jit(displace)
search = jax.jit(find_displacements)


def written_out(picture, displacement):
    """Every pixel by itself, in float64, on a picture that goes on beyond its edges."""
    picture = np.pad(picture.astype(np.float64), ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
    b, h, w, _ = displacement.shape
    out = np.zeros((b, BLOCK * h, BLOCK * w, picture.shape[-1]))
    for n, y, x in np.ndindex(out.shape[:3]):
        i, j = y // BLOCK, x // BLOCK
        top, left = BLOCK * i, BLOCK * j  # of what the block can attend to, which begins REACH before it
        rows, columns = (
            np.maximum(
                1 - np.abs(np.arange(SPAN) - REACH - place % BLOCK - displacement[n, i, j, axis].astype(np.float64)), 0
            )
            for axis, place in enumerate((y, x))
        )
        window = picture[n, top : top + SPAN, left : left + SPAN]
        out[n, y, x] = np.einsum("i,j,ijc->c", rows, columns, window)
    return out


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 2), st.integers(1, 2), st.integers(1, 2), st.integers(1, 3), st.integers(0, 99))
def test_against_weights_written_out(b, rows, columns, c, seed):
    h, w = 4 * rows, 4 * columns
    random = np.random.default_rng(seed)
    picture = normal(b, BLOCK * h, BLOCK * w, c, seed=seed)
    displacement = random.uniform(-REACH, REACH, (b, h, w, 2)).astype(np.float32)
    np.testing.assert_allclose(run(picture, displacement), written_out(picture, displacement), atol=1e-4)


def test_whole_pixels_are_fetched_from_where_a_displacement_points():
    picture = normal(1, 64, 64, 3)
    still = np.zeros((1, 8, 8, 2), np.float32)
    np.testing.assert_allclose(run(picture, still), picture, atol=1e-6)
    moved = run(picture, still + np.float32([3, -2]))
    np.testing.assert_allclose(moved[:, :-3, 2:], picture[:, 3:, :-2], atol=1e-6)
    # Beyond the edges the outermost pixels go on.
    np.testing.assert_allclose(moved[:, -3:, 2:], np.repeat(picture[:, -1:, :-2], 3, axis=1), atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999))
def test_no_difference_between_references_grows(seed):
    random = np.random.default_rng(seed)
    displacement = random.uniform(-REACH, REACH, (1, 4, 4, 2)).astype(np.float32)
    one, other = normal(1, 32, 32, 1, seed=seed), normal(1, 32, 32, 1, seed=seed + 1)
    apart = np.abs(run(one, displacement) - run(other, displacement)).max()
    assert apart <= np.abs(one - other).max() * (1 + 1e-5)


def textured(size: int) -> np.ndarray:
    """A smooth random picture [1, size, size, 3] in [-1, 1]."""
    noise = np.random.default_rng(3).standard_normal((size, size, 3))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))[..., None]
    smooth = np.fft.ifft2(np.fft.fft2(noise, axes=(0, 1)) * np.exp(-((frequency * 9) ** 2)), axes=(0, 1)).real
    return np.float32(np.clip(smooth / (2.0 * smooth.std()), -1, 1))[None]


@pytest.mark.parametrize("shift", [(0, 0), (5, -3), (-12, 9)])
def test_the_search_finds_whole_displacements(shift):
    picture = textured(192)
    reference, x = picture[:, 32:160, 32:160], np.roll(picture, (-shift[0], -shift[1]), (1, 2))[:, 32:160, 32:160]
    found, gain = search(x, reference)
    inside = (slice(None), slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(np.median(found[inside].reshape(-1, 2), axis=0), shift, atol=0.25)
    refined, _ = jax.jit(find_displacements, static_argnums=2)(x, reference, 8)
    np.testing.assert_allclose(np.median(refined[inside].reshape(-1, 2), axis=0), shift, atol=0.1)
    assert np.mean(np.abs(found[inside] - np.float32(shift)).max(-1) < 0.5) > 0.9
    assert (gain >= 0).all()
    assert (np.mean(gain[inside]) > 1e-3) == (shift != (0, 0))


def test_the_search_finds_fractions():
    large = textured(384)
    halves = large.reshape(1, 192, 2, 192, 2, 3).mean((2, 4))
    shifted = np.roll(large, -3, axis=1).reshape(1, 192, 2, 192, 2, 3).mean((2, 4))
    found, _ = search(shifted[:, 32:160, 32:160], halves[:, 32:160, 32:160])
    np.testing.assert_allclose(np.median(found[:, 2:-2, 2:-2].reshape(-1, 2), axis=0), (1.5, 0.0), atol=0.25)


def test_nothing_is_found_where_nothing_has_an_edge():
    found, gain = search(np.full((1, 64, 64, 3), 0.3, np.float32), np.full((1, 64, 64, 3), -0.2, np.float32))
    np.testing.assert_array_equal(found, 0.0)
    np.testing.assert_allclose(gain, 0.0, atol=1e-5)


def test_no_gradient_passes_through_the_search():
    x = jnp.asarray(textured(64))

    def total(x, reference):
        found, gain = find_displacements(x, reference)
        return jnp.sum(found) + jnp.sum(gain)

    for gradient in jax.jit(jax.grad(total, argnums=(0, 1)))(x, 0.9 * x):
        np.testing.assert_array_equal(gradient, 0.0)


def test_gradients_reach_what_displaces():
    displacement = np.full((1, 8, 8, 2), 1.5, np.float32)
    gradients = jax.jit(jax.grad(lambda *a: jnp.sum(jnp.square(displace(*a))), argnums=(0, 1)))(
        textured(64), displacement
    )
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
