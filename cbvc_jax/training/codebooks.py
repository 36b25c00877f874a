"""Learning and health of codebooks: moving averages, restart of dead codes, start from data, usage and perplexity.

Moving averages follow appendix A.1 of 1711.00937, restarts follow Jukebox (2005.00341): a codeword that is used less
than `restart_below` times as often as the average one is replaced by a latent of the batch.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cbvc_jax.modules.search import search_group


class CodebookAverages(NamedTuple):
    """Moving averages of one stage's codebooks.

    Attributes:
      count: how often each codeword is used a step.
      total: sum of the latents that use it.
    """

    count: Float[Array, "g k"]  # pyright: ignore[reportIncompatibleMethodOverride]
    total: Float[Array, "g k d"]


def start_averages(
    codebook: Float[Array, "g k d"], vectors: float, usage: Float[np.ndarray, "g k"] | None = None
) -> CodebookAverages:
    """Averages as if `vectors` latents a step had used the codewords, in proportion to `usage`, or equally often."""
    if usage is None:
        count = jnp.full(codebook.shape[:2], vectors / codebook.shape[1], jnp.float32)
    else:
        count = jnp.asarray(usage * (vectors / usage.sum(axis=1, keepdims=True)), jnp.float32)
    return CodebookAverages(count, codebook * count[..., None])


def batch_counts(
    indices: Int[Array, "n g"], size: int, sent: Bool[Array, "n"] | Literal[True] = True
) -> Float[Array, "g k"]:
    """How often each of `size` codewords is used in a batch, group by group, where it is sent."""
    once = jnp.broadcast_to(jnp.asarray(sent, jnp.float32), len(indices))
    return jax.vmap(lambda i: jnp.zeros(size, jnp.float32).at[i].add(once), in_axes=1)(indices)


def batch_totals(
    z: Float[Array, "n g d"], indices: Int[Array, "n g"], size: int, sent: Bool[Array, "n"] | Literal[True] = True
) -> Float[Array, "g k d"]:
    """Sum of the latents that use each codeword in a batch, group by group, where it is sent."""
    z = jnp.where(jnp.broadcast_to(jnp.asarray(sent), len(z))[:, None, None], z, 0.0)
    return jax.vmap(lambda v, i: jnp.zeros((size, v.shape[-1]), jnp.float32).at[i].add(v), in_axes=1)(z, indices)


def update_codebook(
    codebook: Float[Array, "g k d"],
    averages: CodebookAverages,
    z: Float[Array, "n g d"],
    indices: Int[Array, "n g"],
    rng: Array,
    *,
    decay: Float[Array, ""] | float,
    restart_below: float,
    learn_by_average: bool = True,
    sent: Bool[Array, "n"] | Literal[True] = True,
) -> tuple[Float[Array, "g k d"], CodebookAverages, Int[Array, ""]]:
    """One step of learning from all latents of the (global) batch.

    Args:
      codebook, averages: before the step.
      z, indices: inputs of the search and what it found.
      rng: draws the latents that replace dead codewords.
      decay: of the moving averages, in [0, 1).
      restart_below: a codeword is dead below this share of the mean usage; 0 turns restarts off.
      learn_by_average: move codewords to the averages; False leaves that to the gradient, and only restarts.
      sent: the latents that count; those of skipped blocks do not.

    Returns:
      codebook, averages, and the number of codewords restarted.
    """
    groups, size, _ = codebook.shape
    sent = jnp.broadcast_to(jnp.asarray(sent), len(z))
    n = jnp.sum(sent)
    count = decay * averages.count + (1.0 - decay) * batch_counts(indices, size, sent)
    total = decay * averages.total + (1.0 - decay) * batch_totals(z, indices, size, sent)
    learned = total / jnp.maximum(count, 1e-6)[..., None] if learn_by_average else codebook
    mean_usage = n / size
    dead = count < restart_below * mean_usage
    # The r-th dead codeword takes the r-th latent of a random order; what is beyond the batch waits for the next one.
    rank = jnp.cumsum(dead, axis=1) - 1
    restart = dead & (rank < n)
    draws = jnp.stack([jax.random.uniform(r, (len(z),)) for r in jax.random.split(rng, groups)])
    orders = jnp.argsort(jnp.where(sent, draws, 2.0), axis=1)
    chosen = jnp.take_along_axis(orders, jnp.clip(rank, 0, len(z) - 1), axis=1)
    fresh = jax.vmap(lambda v, i: v[i], in_axes=(1, 0))(z, chosen)
    codebook = jnp.where(restart[..., None], fresh, learned)
    count = jnp.where(restart, mean_usage, count)
    total = jnp.where(restart[..., None], fresh * mean_usage, total)
    return codebook, CodebookAverages(count, total), jnp.sum(restart)


def with_held_group(
    codebook: Float[Array, "g k d"], averages: CodebookAverages, before: Float[Array, "g k d"], group: int
) -> tuple[Float[Array, "g k d"], CodebookAverages]:
    """What `update_codebook` returned, but for one group, whose codewords are those before; their use is counted."""
    codebook = codebook.at[group].set(before[group])
    total = averages.total.at[group].set(before[group] * averages.count[group][:, None])
    return codebook, averages._replace(total=total)


def usage_and_perplexity(count: Float[Array, "g k"]) -> tuple[Float[Array, "g"], Float[Array, "g"]]:
    """Share of codewords used at all (at least a tenth of the mean), and 2^entropy of the usage, for each group."""
    share = count / jnp.maximum(jnp.sum(count, axis=1, keepdims=True), 1e-9)
    entropy_bits = -jnp.sum(share * jnp.log2(jnp.maximum(share, 1e-12)), axis=1)
    return jnp.mean(share > 0.1 / count.shape[1], axis=1), 2.0**entropy_bits


def kmeans(rng: Array, z: Float[Array, "n d"], size: int, iterations: int = 8) -> Float[Array, "k d"]:
    """`size` codewords from latents: drawn at random, then Lloyd's iterations; an empty cell draws again."""
    n = z.shape[0]
    first_rng, *iteration_rngs = jax.random.split(rng, iterations + 1)
    # With fewer latents than codewords some are drawn twice, told apart by a little noise.
    codebook = z[jax.random.permutation(first_rng, jnp.arange(max(size, n)) % n)[:size]]
    codebook = codebook + 1e-3 * jnp.std(z) * jax.random.normal(first_rng, codebook.shape)
    for iteration_rng in iteration_rngs:
        nearest = search_group(z, codebook)
        count = jnp.zeros(size).at[nearest].add(1.0)
        mean = jnp.zeros_like(codebook).at[nearest].add(z) / jnp.maximum(count, 1.0)[:, None]
        fresh = z[jax.random.randint(iteration_rng, (size,), 0, n)]
        codebook = jnp.where((count > 0)[:, None], mean, fresh)
    return codebook
