"""Displacements that a search has to find, and what errors of them cost."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cbvc_jax.modules.displacement import displace
from cbvc_jax.modules.motion_estimation import CARRIED, carried, find_displacements, shares_of_nodes

from .weights import normal, textured

run = jax.jit(displace, static_argnums=2)
search = jax.jit(find_displacements, static_argnums=2)


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
