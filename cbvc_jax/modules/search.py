"""Codebook search and look-up (equations 1 and 2).

    indices = argmin_k |z - c_k|^2 = argmax_k (z . c_k - |c_k|^2 / 2)

The product is one matrix multiplication a group. It is done a block of positions at a time, so that no more than
`BLOCK_ELEMENTS` scores exist at once, however large the frame and the codebook.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BLOCK_ELEMENTS = 1 << 21
"""Scores held at once: 8 MiB in float32."""


def _search_block(z: Float[Array, "n d"], codebook: Float[Array, "k d"], half: Float[Array, "k"]) -> Int[Array, "n"]:
    return jnp.argmax(z @ codebook.T - half, axis=-1).astype(jnp.int32)


def search_group(z: Float[Array, "n d"], codebook: Float[Array, "k d"]) -> Int[Array, "n"]:
    """Index of the nearest codeword for every vector, the lowest one on a tie, without ever holding all distances."""
    n, k = z.shape[0], codebook.shape[0]
    half = 0.5 * jnp.sum(jnp.square(codebook), axis=-1)
    rows = max(1, BLOCK_ELEMENTS // k)
    if n <= rows:
        return _search_block(z, codebook, half)
    blocks = -(-n // rows)
    padded = jnp.pad(z, ((0, blocks * rows - n), (0, 0))).reshape(blocks, rows, -1)
    found = jax.lax.map(lambda block: _search_block(block, codebook, half), padded)
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
