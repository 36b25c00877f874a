"""Learning of codebooks against a slow account in numpy; restarts, k-means, usage and perplexity."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cbvc_jax.modules.search import search_group
from cbvc_jax.training.codebooks import (
    CodebookAverages,
    batch_counts,
    batch_totals,
    kmeans,
    start_averages,
    update_codebook,
    usage_and_perplexity,
    with_held_group,
)

N, GROUPS, SIZE, D = 40, 2, 8, 3


def batch(seed=0, used=SIZE):
    rng = np.random.default_rng(seed)
    codebook = rng.normal(size=(GROUPS, SIZE, D)).astype(np.float32)
    z = rng.normal(size=(N, GROUPS, D)).astype(np.float32)
    return codebook, z, rng.integers(0, used, (N, GROUPS))


def test_counts_and_totals():
    _, z, indices = batch()
    counts, totals = np.zeros((GROUPS, SIZE)), np.zeros((GROUPS, SIZE, D))
    for n in range(N):
        for g in range(GROUPS):
            counts[g, indices[n, g]] += 1
            totals[g, indices[n, g]] += z[n, g]
    np.testing.assert_array_equal(batch_counts(indices, SIZE), counts)
    np.testing.assert_allclose(batch_totals(z, indices, SIZE), totals, atol=1e-5)


def test_moving_averages_over_three_steps():
    codebook, _, _ = batch()
    averages = start_averages(codebook, N)
    count = np.full((GROUPS, SIZE), N / SIZE)
    total = codebook * N / SIZE
    for step in range(3):
        _, z, indices = batch(seed=step + 1)
        codebook, averages, restarted = update_codebook(
            codebook, averages, z, indices, jax.random.key(step), decay=0.9, restart_below=0.0
        )
        for g in range(GROUPS):
            for k in range(SIZE):
                mine = z[indices[:, g] == k, g]
                count[g, k] = 0.9 * count[g, k] + 0.1 * len(mine)
                total[g, k] = 0.9 * total[g, k] + 0.1 * mine.sum(axis=0)
        np.testing.assert_allclose(averages.count, count, rtol=1e-5)
        np.testing.assert_allclose(codebook, total / count[..., None], rtol=1e-3, atol=1e-5)
        assert restarted == 0


def test_dead_codewords_come_back_as_different_latents_of_the_batch():
    codebook, z, indices = batch(used=5)
    # No memory: what this batch does not use is dead.
    averages = start_averages(codebook, N)
    new, averages, restarted = update_codebook(
        codebook, averages, z, indices, jax.random.key(0), decay=0.0, restart_below=0.1
    )
    assert restarted == GROUPS * 3
    for g in range(GROUPS):
        rows = [np.flatnonzero((z[:, g] == new[g, k]).all(axis=1)) for k in range(5, SIZE)]
        assert all(len(row) == 1 for row in rows)
        assert len({int(row[0]) for row in rows}) == 3
        for k in range(5):
            np.testing.assert_allclose(new[g, k], z[indices[:, g] == k, g].mean(axis=0), atol=1e-5)
    # A new codeword counts as used like the average one, so it is not replaced again at once.
    np.testing.assert_allclose(averages.count[:, 5:], N / SIZE)
    np.testing.assert_allclose(averages.total[:, 5:], new[:, 5:] * N / SIZE, rtol=1e-6)


def test_latents_that_are_not_sent_do_not_count():
    codebook, z, indices = batch(used=5)
    sent = np.arange(N) % 3 == 0
    options = {"decay": 0.5, "restart_below": 0.1}
    averages = start_averages(codebook, N)
    part = update_codebook(codebook, averages, z, indices, jax.random.key(0), sent=sent, **options)
    alone = update_codebook(codebook, averages, z[sent], indices[sent], jax.random.key(0), **options)
    np.testing.assert_allclose(part[0], alone[0], atol=1e-6)
    for one, other in zip(part[1], alone[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)

    # What comes back is drawn from what was sent.
    new, _, restarted = update_codebook(
        codebook, averages, z, indices, jax.random.key(0), sent=sent, decay=0.0, restart_below=0.1
    )
    assert restarted >= GROUPS * 3
    for g in range(GROUPS):
        assert all((z[sent][:, g] == new[g, k]).all(axis=1).any() for k in range(5, SIZE))


def test_a_held_group_counts_and_stays():
    codebook, z, indices = batch()
    new, averages, _ = update_codebook(
        codebook, start_averages(codebook, N), z, indices, jax.random.key(0), decay=0.5, restart_below=0.0
    )
    held, kept = with_held_group(new, averages, codebook, 1)
    np.testing.assert_array_equal(held[0], new[0])
    np.testing.assert_array_equal(held[1], codebook[1])
    np.testing.assert_array_equal(kept.count, averages.count)
    np.testing.assert_allclose(kept.total[1], codebook[1] * averages.count[1][:, None], rtol=1e-6)


def test_more_dead_codewords_than_latents():
    codebook, z, indices = batch(used=1)
    few = 3
    averages = CodebookAverages(jnp.zeros((GROUPS, SIZE)), jnp.zeros((GROUPS, SIZE, D)))
    new, _, restarted = update_codebook(
        codebook, averages, z[:few], indices[:few], jax.random.key(0), decay=0.5, restart_below=0.5
    )
    assert restarted == GROUPS * few
    assert np.isfinite(new).all()


def test_codebooks_learned_by_gradient_are_only_restarted():
    codebook, z, indices = batch(used=5)
    averages = start_averages(codebook, N)
    new, _, _ = update_codebook(
        codebook, averages, z, indices, jax.random.key(0), decay=0.0, restart_below=0.1, learn_by_average=False
    )
    np.testing.assert_array_equal(new[:, :5], codebook[:, :5])
    assert (new[:, 5:] != codebook[:, 5:]).all()


@pytest.mark.parametrize("size", [2, 8, 512])
def test_uniform_use_has_the_perplexity_of_the_size(size):
    usage, perplexity = usage_and_perplexity(jnp.full((2, size), 3.0))
    np.testing.assert_allclose(perplexity, size, rtol=1e-4)
    np.testing.assert_array_equal(usage, 1.0)


def test_usage_of_a_collapsed_codebook():
    count = jnp.zeros((1, 8)).at[0, 2].set(7.0)
    usage, perplexity = usage_and_perplexity(count)
    assert usage[0] == 1 / 8
    np.testing.assert_allclose(perplexity, 1.0, rtol=1e-5)
    # Half of the time each: one bit.
    _, perplexity = usage_and_perplexity(count.at[0, 5].set(7.0))
    np.testing.assert_allclose(perplexity, 2.0, rtol=1e-5)


def squared_error(z, codebook):
    return float(jnp.mean(jnp.sum(jnp.square(z - codebook[search_group(z, codebook)]), axis=1)))


def test_kmeans_beats_latents_drawn_at_random():
    rng = np.random.default_rng(0)
    centres = 5 * rng.normal(size=(12, 4))
    z = jnp.asarray(centres[rng.integers(0, 12, 600)] + 0.3 * rng.normal(size=(600, 4)), jnp.float32)
    drawn = kmeans(jax.random.key(1), z, 16, iterations=0)
    learned = kmeans(jax.random.key(1), z, 16, iterations=8)
    assert squared_error(z, learned) < 0.8 * squared_error(z, drawn)


def test_kmeans_with_fewer_latents_than_codewords():
    z = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    codebook = kmeans(jax.random.key(0), z, 16, iterations=2)
    assert codebook.shape == (16, 3) and np.isfinite(codebook).all()
    assert squared_error(z, codebook) < 0.05
