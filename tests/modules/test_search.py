"""Codebook search against brute force in float64, look-up, straight-through gradients and filled grids."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.modules import search as module
from cbvc_jax.modules.search import (
    IndexCosts,
    Limits,
    Repeats,
    cost_of,
    fill_grid,
    look_up,
    rated_search,
    search,
    search_group,
    straight_through,
    weighted_search,
)

from .weights import normal


def distances(z, codebook):
    z, codebook = z.astype(np.float64), codebook.astype(np.float64)
    return ((z[:, None] - codebook[None]) ** 2).sum(-1)


jitted = jax.jit(search_group)


def assert_nearest(z, codebook, found):
    d = distances(z, codebook)
    excess = d[np.arange(len(z)), np.asarray(found)] - d.min(axis=1)
    assert excess.max() <= 1e-5 * (1 + d.min(axis=1)).max()


@pytest.mark.parametrize(("size", "d"), [(1, 16), (2, 64), (8, 16), (63, 3), (64, 1), (65, 16), (128, 1), (640, 64)])
def test_finds_the_nearest_codeword(size, d):
    z, codebook = normal(40, d), normal(size, d, seed=1)
    assert_nearest(z, codebook, jitted(z, codebook))


@pytest.mark.parametrize("n", [1, 4, 5, 8, 31])
def test_blocks_of_positions_change_nothing(monkeypatch, n):
    z, codebook = normal(n, 6), normal(256, 6, seed=1)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 4 * 256)
    found = jax.jit(lambda z: search_group(z, codebook))(z)
    assert found.shape == (n,) and found.dtype == jnp.int32
    assert_nearest(z, codebook, found)


def test_a_block_never_holds_less_than_one_position(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 1)
    z, codebook = normal(5, 4), normal(128, 4, seed=1)
    assert_nearest(z, codebook, search_group(z, codebook))


@pytest.mark.parametrize("size", [8, 64, 256])
def test_the_lowest_index_wins_a_tie(size):
    # Small integers: scores are exact, and every codeword is there many times over.
    rng = np.random.default_rng(2)
    codebook = rng.integers(-1, 2, (size, 2)).astype(np.float32)
    z = rng.integers(-2, 3, (100, 2)).astype(np.float32)
    np.testing.assert_array_equal(jitted(z, codebook), distances(z, codebook).argmin(axis=1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([64, 192]), st.floats(1e-3, 1e3))
def test_codewords_find_themselves(seed, size, scale):
    codebook = np.float32(scale) * normal(size, 8, seed=seed)
    np.testing.assert_array_equal(jitted(codebook, codebook), np.arange(size))


def test_memory_is_bounded():
    z, codebook = jax.ShapeDtypeStruct((4096, 8), jnp.float32), jax.ShapeDtypeStruct((8192, 8), jnp.float32)
    compiled = jax.jit(search_group).lower(z, codebook).compile()
    # All scores at once would take 128 MiB; a block of them takes 12.
    assert compiled.memory_analysis().temp_size_in_bytes < 20 * 2**20


def test_groups_have_their_own_codebooks():
    z, codebook = normal(2, 3, 4, 2, 5), normal(2, 128, 5, seed=1)
    indices = search(z, codebook)
    assert indices.shape == (2, 3, 4, 2)
    words = look_up(indices, codebook)
    for g in range(2):
        assert_nearest(z[..., g, :].reshape(-1, 5), codebook[g], indices[..., g].reshape(-1))
        np.testing.assert_array_equal(words[..., g, :], codebook[g][indices[..., g]])


def test_no_gradient_passes_through_the_search():
    def chosen(z, codebook):
        return jnp.sum(look_up(search(z, codebook), codebook))

    z, codebook = normal(1, 1, 2, 2, 3), normal(2, 4, 3, seed=1)
    by_z, by_codebook = jax.grad(chosen, (0, 1))(z, codebook)
    assert not by_z.any()
    assert by_codebook.sum() == 1 * 1 * 2 * 2 * 3


def test_straight_through_is_the_codeword_with_the_gradient_of_z():
    z, words, weights = normal(3, 4), normal(3, 4, seed=1), normal(3, 4, seed=2)
    np.testing.assert_allclose(straight_through(z, words), words, atol=1e-6)
    by_z, by_words = jax.grad(lambda z, c: jnp.sum(weights * straight_through(z, c)), (0, 1))(z, words)
    np.testing.assert_array_equal(by_z, weights)
    assert not by_words.any()


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
def test_outside_the_grid_the_nearest_index_is_repeated(rows, cols, more_rows, more_cols):
    h, w = rows + more_rows, cols + more_cols
    indices = np.arange(h * w * 2).reshape(1, h, w, 2)
    filled = np.asarray(jax.jit(fill_grid, static_argnums=(1, 2))(indices, rows, cols))
    for i in range(h):
        for j in range(w):
            np.testing.assert_array_equal(filled[0, i, j], indices[0, min(i, rows - 1), min(j, cols - 1)])


def total_costs(z, codebook, costs: IndexCosts, weights=None, limits: Limits | None = None):
    """|z - c_k|^2, or weighted and within limits, plus cost for every position, group and codeword, in float64."""
    error = z.astype(np.float64)[..., None, :] - codebook.astype(np.float64)
    weighted = error if weights is None else error @ weights[..., None, :, :].astype(np.float64)
    d = (weighted * error).sum(-1)
    if limits is not None:
        d = np.minimum(d, (limits.of_position.astype(np.float64) @ limits.of_codeword.T)[..., None, :])
    scale = 1.0 if costs.scale is None else costs.scale[..., None, None]
    if costs.repeats is None:
        return d + scale * costs.of_index
    plain = d + scale * (costs.of_index + costs.repeats.of_change[..., None])
    repeat = d + scale * costs.repeats.of_repeat[..., None]
    return np.where(np.arange(codebook.shape[1]) == costs.repeats.previous[..., None], np.minimum(plain, repeat), plain)


def some_costs(rng, where, size, by_position, with_previous, scaled) -> IndexCosts:
    of_index = rng.uniform(0, 20, (*where, size) if by_position else (where[-1], size)).astype(np.float32)
    maps = (
        rng.integers(0, size, where).astype(np.int32),
        rng.uniform(0, 2, where).astype(np.float32),
        rng.uniform(0, 9, where).astype(np.float32),
    )
    scale = rng.uniform(0.2, 5, where[:-1]).astype(np.float32) if scaled else None
    return IndexCosts(of_index, Repeats(*maps) if with_previous else None, scale)


@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("with_previous", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_rated_search_finds_the_least_distance_and_cost(monkeypatch, by_position, with_previous, scaled):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 4 * 128)
    rng = np.random.default_rng(3)
    z, codebook = normal(1, 3, 5, 2, 6), normal(2, 128, 6, seed=1)
    where = (1, 3, 5, 2)
    costs = some_costs(rng, where, 128, by_position, with_previous, scaled)
    found = np.asarray(jax.jit(rated_search)(z, codebook, costs))
    totals = total_costs(z, codebook, costs)
    excess = np.take_along_axis(totals, found[..., None], -1)[..., 0] - totals.min(-1)
    assert excess.max() < 1e-4
    nearest = np.asarray(search(z, codebook))
    assert (found != nearest).any()
    free = jax.tree.map(np.zeros_like, costs)._replace(repeats=None)
    np.testing.assert_array_equal(np.asarray(rated_search(z, codebook, free)), nearest)
    np.testing.assert_allclose(
        np.sum(np.square(z - look_up(found, codebook)), -1) + cost_of(found, costs), totals.min(-1), atol=1e-3
    )


@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("with_previous", [False, True])
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_weighted_search_finds_the_least_weighted_distance_and_cost(
    monkeypatch, by_position, with_previous, limited, scaled
):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 4 * 128)
    rng = np.random.default_rng(3)
    z, codebook, factor = 3 * normal(1, 3, 5, 1, 2), 3 * normal(1, 128, 2, seed=1), normal(1, 3, 5, 2, 2, seed=2)
    weights = factor @ factor.swapaxes(-1, -2)
    costs = some_costs(rng, (1, 3, 5, 1), 128, by_position, with_previous, scaled)
    run = jax.jit(weighted_search)
    free = IndexCosts(np.zeros((1, 128), np.float32))
    limits = None
    if limited:
        draw = rng.uniform(0, 4, (15 + 128) * 7).astype(np.float32)
        limits = Limits(draw[: 15 * 7].reshape(1, 3, 5, 7), draw[15 * 7 :].reshape(128, 7))
        # They make a difference, and not everywhere.
        near = total_costs(z, codebook, free, weights)
        assert 0.1 < np.mean(total_costs(z, codebook, free, weights, limits) < near) < 0.9
    searched = [(free, run(z, weights, codebook, None, limits)), (costs, run(z, weights, codebook, costs, limits))]
    for paid, found in searched:
        totals = total_costs(z, codebook, paid, weights, limits)
        excess = np.take_along_axis(totals, np.asarray(found)[..., None], -1)[..., 0] - totals.min(-1)
        assert excess.max() < 1e-3
    assert (np.asarray(run(z, weights, codebook)) != np.asarray(search(z, codebook))).any()
