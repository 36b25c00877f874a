"""Codebook search and look-up (equations 1 and 2).

    indices = argmin_k |z - c_k|^2 = argmax_k (z . c_k - |c_k|^2 / 2) = argmax_k ([z, 1] . [c_k, -|c_k|^2 / 2])

One matrix product a group gives all scores, a block of positions at a time: no more than `BLOCK_ELEMENTS` exist at
once, however large the frame and the codebook. `python -m cbvc_jax.benchmarks.search` measures it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BLOCK_ELEMENTS = 3 << 20
"""Scores held at once: 12 MiB in float32, 384 positions for 8192 codewords."""

RUN = 64
"""Codewords whose best score is taken before any index is looked for."""


def _search_block(z: Float[Array, "n d1"], scorer: Float[Array, "k d1"]) -> Int[Array, "n"]:
    """Index of the highest score for every position, the lowest index on a tie.

    XLA's argmax on the CPU goes through scores one by one. A maximum does not, least of all along the first axis, where
    neighbours in memory are other positions: so maxima of runs first, then the first best run and the first best in it.
    """
    # Matrix units of accelerators round float32 by default, and |c|^2 / 2 decides between near codewords.
    scores = jnp.matmul(scorer, z.T, precision=jax.lax.Precision.HIGHEST)
    size, n = scores.shape
    if size % RUN or size == RUN:
        return jnp.argmax(scores, axis=0).astype(jnp.int32)
    runs = scores.reshape(size // RUN, RUN, n)
    run = jnp.argmax(jnp.max(runs, axis=1), axis=0)
    inside = jnp.take_along_axis(runs, run[None, None, :], axis=0, mode="promise_in_bounds")[0]
    return (run * RUN + jnp.argmax(inside, axis=0)).astype(jnp.int32)


def search_group(z: Float[Array, "n d"], codebook: Float[Array, "k d"]) -> Int[Array, "n"]:
    """Index of the nearest codeword for every vector, the lowest one on a tie, without ever holding all distances."""
    n, k = z.shape[0], codebook.shape[0]
    scorer = jnp.concatenate([codebook, -0.5 * jnp.sum(jnp.square(codebook), axis=-1, keepdims=True)], axis=-1)
    z = jnp.pad(z, ((0, 0), (0, 1)), constant_values=1.0)
    rows = max(1, BLOCK_ELEMENTS // k)
    if n <= rows:
        return _search_block(z, scorer)
    blocks = -(-n // rows)
    padded = jnp.pad(z, ((0, blocks * rows - n), (0, 0))).reshape(blocks, rows, -1)
    found = jax.lax.map(lambda block: _search_block(block, scorer), padded)
    return found.reshape(-1)[:n]


def search(z: Float[Array, "b h w g d"], codebook: Float[Array, "g k d"]) -> Int[Array, "b h w g"]:
    """Equation 1 for each group with its own codebook. No gradient passes through it."""
    z, codebook = jax.lax.stop_gradient((z, codebook))
    groups = [search_group(z[..., g, :].reshape(-1, z.shape[-1]), codebook[g]) for g in range(codebook.shape[0])]
    return jnp.stack(groups, axis=-1).reshape(z.shape[:-1])


def look_up(indices: Int[Array, "b h w g"], codebook: Float[Array, "g k d"]) -> Float[Array, "b h w g d"]:
    """Equation 2: the codeword of every index."""
    return jnp.stack([codebook[g][indices[..., g]] for g in range(codebook.shape[0])], axis=-2)


def straight_through(z: Float[Array, "*s d"], codewords: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
    """The codewords, with the gradient of z: the quantiser is the identity in the backward pass (1711.00937)."""
    return z + jax.lax.stop_gradient(codewords - z)


def fill_grid(indices: Int[Array, "b h w g"], rows: int, cols: int) -> Int[Array, "b h w g"]:
    """Indices outside the first `rows` x `cols` replaced by the nearest one inside: what a decoder fills in."""
    _, h, w, _ = indices.shape
    inside = indices[:, :rows, :cols]
    return jnp.pad(inside, ((0, 0), (0, h - rows), (0, w - cols), (0, 0)), mode="edge")
