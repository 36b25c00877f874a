"""Codebook search and look-up (equations 1 and 2).

    indices = argmin_k |z - c_k|^2 = argmax_k (z . c_k - |c_k|^2 / 2) = argmax_k ([z, 1] . [c_k, -|c_k|^2 / 2])

One matrix product a group gives all scores, a block of positions at a time: no more than `BLOCK_ELEMENTS` exist at
once, however large the frame and the codebook. `python -m cbvc_jax.benchmarks.search` measures it.

An encoder that counts bits adds what each index costs to its distance, and so may training: `rated_search`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

BLOCK_ELEMENTS = 3 << 20
"""Scores held at once: 12 MiB in float32, 384 positions for 8192 codewords."""

RUN = 64
"""Codewords whose best score is taken before any index is looked for."""


class Repeats(NamedTuple):
    """Indices that were sent in the frame before, and cost something else therefore.

    Attributes:
      previous: the index at each position.
      of_repeat: what that one costs there.
      of_change: what any other costs on top.
    """

    previous: Int[Array, "b h w g"]
    of_repeat: Float[Array, "b h w g"]
    of_change: Float[Array, "b h w g"]


class IndexCosts(NamedTuple):
    """What the indices of a stage cost, in squared distance: bits times the price of a bit.

    Attributes:
      of_index: of each index, at each position where it depends on that ("b h w g k"), or everywhere ("g k").
      repeats: where the frame before is referred to.
      scale: times which all of it counts at each position; None: once.
    """

    of_index: Float[Array, "*b g k"]
    repeats: Repeats | None = None
    scale: Float[Array, "b h w"] | None = None


class Limits(NamedTuple):
    """What the error of a codeword is at the most, whatever its distance: of_position . of_codeword."""

    of_position: Float[Array, "*n m"]
    of_codeword: Float[Array, "k m"]


class Product(NamedTuple):
    """Scores of codewords at positions: known . scorer."""

    known: Float[Array, "n d1"]
    scorer: Float[Array, "k d1"]


def _search_block(products: Sequence[Product], costs: Float[Array, "n k"] | None = None) -> Int[Array, "n"]:
    """Index of the highest score, that of the best product, for every position; the lowest index on a tie.

    XLA's argmax on the CPU goes through scores one by one. A maximum does not, least of all along the first axis, where
    neighbours in memory are other positions: so maxima of runs first, then the first best run and the first best in it.
    """
    # Matrix units of accelerators round float32 by default, and |c|^2 / 2 decides between near codewords.
    each = [jnp.matmul(scorer, known.T, precision=jax.lax.Precision.HIGHEST) for known, scorer in products]
    scores = functools.reduce(jnp.maximum, each)
    if costs is not None:
        scores -= 0.5 * costs.T
    size, n = scores.shape
    if size % RUN or size == RUN:
        return jnp.argmax(scores, axis=0).astype(jnp.int32)
    runs = scores.reshape(size // RUN, RUN, n)
    run = jnp.argmax(jnp.max(runs, axis=1), axis=0)
    inside = jnp.take_along_axis(runs, run[None, None, :], axis=0, mode="promise_in_bounds")[0]
    return (run * RUN + jnp.argmax(inside, axis=0)).astype(jnp.int32)


def search_group(
    z: Float[Array, "n d"],
    codebook: Float[Array, "k d"],
    costs: Float[Array, "*n k"] | None = None,
    scale: Float[Array, "n"] | None = None,
) -> Int[Array, "n"]:
    """Index of the nearest codeword for every vector, the lowest one on a tie, without ever holding all distances.

    `costs` are added to the squared distances: one for each codeword, or for each vector and codeword; `scale` times,
    where there is one for each vector.
    """
    return _search_blocks([Product(z, codebook)], jnp.sum(jnp.square(codebook), axis=-1), costs, scale)


def _search_blocks(
    products: Sequence[Product],
    offset: Float[Array, "k"] | float,
    costs: Float[Array, "*n k"] | None,
    scale: Float[Array, "n"] | None = None,
) -> Int[Array, "n"]:
    """Index of the highest known . scorer - (offset + scale x costs) / 2, that of the best product; of as many
    positions at a time as there may be scores."""
    n, size = len(products[0].known), len(products[0].scorer)
    of_position, of_codeword = [jnp.ones(n)], [jnp.broadcast_to(offset, size)]
    if costs is not None and costs.ndim == 1:
        of_position.append(jnp.ones(n) if scale is None else scale)
        of_codeword.append(costs)
        costs = None
    elif costs is not None and scale is not None:
        costs = scale[:, None] * costs
    known = [jnp.concatenate([p.known, jnp.stack(of_position, -1)], axis=-1) for p in products]
    scorers = [jnp.concatenate([p.scorer, -0.5 * jnp.stack(of_codeword, -1)], axis=-1) for p in products]

    def search_block(costs: Array | None, *known: Array) -> Int[Array, "n"]:
        return _search_block([Product(*pair) for pair in zip(known, scorers, strict=True)], costs)

    rows = max(1, BLOCK_ELEMENTS // size)
    if n <= rows:
        return search_block(costs, *known)
    blocks = -(-n // rows)

    def in_blocks(a: Array) -> Array:
        return jnp.pad(a, ((0, blocks * rows - n), (0, 0))).reshape(blocks, rows, -1)

    parts = (costs if costs is None else in_blocks(costs), *map(in_blocks, known))
    found = jax.lax.map(lambda part: search_block(*part), parts)
    return found.reshape(-1)[:n]


def search(z: Float[Array, "b h w g d"], codebook: Float[Array, "g k d"]) -> Int[Array, "b h w g"]:
    """Equation 1 for each group with its own codebook. No gradient passes through it."""
    z, codebook = jax.lax.stop_gradient((z, codebook))
    groups = [search_group(z[..., g, :].reshape(-1, z.shape[-1]), codebook[g]) for g in range(codebook.shape[0])]
    return jnp.stack(groups, axis=-1).reshape(z.shape[:-1])


def rated_search(
    z: Float[Array, "b h w g d"], codebook: Float[Array, "g k d"], costs: IndexCosts
) -> Int[Array, "b h w g"]:
    """Indices of the least |z - c_k|^2 plus cost, for each group with its own codebook. No gradient passes through."""
    z, codebook, costs = jax.lax.stop_gradient((z, codebook, costs))
    flat = [
        search_group(
            z[..., g, :].reshape(-1, z.shape[-1]),
            codebook[g],
            _of_group(costs, g),
            _flat_scale(costs),
        )
        for g in range(codebook.shape[0])
    ]
    best = jnp.stack(flat, axis=-1).reshape(z.shape[:-1])
    return _or_repeated(best, lambda indices: jnp.sum(jnp.square(z - look_up(indices, codebook)), axis=-1), costs)


def weighted_search(
    z: Float[Array, "b h w 1 d"],
    weights: Float[Array, "b h w d d"],
    codebook: Float[Array, "1 k d"],
    costs: IndexCosts | None = None,
    limits: Limits | None = None,
) -> Int[Array, "b h w 1"]:
    """Indices of the least (z - c_k)^T weights (z - c_k), plus cost, for one group. No gradient passes through it.

    `weights` are symmetric: the score z^T W c_k - c_k^T W c_k / 2 is a product of what is known of a position and of a
    codeword, as in `search`. Where there are `limits`, of_position [b, h, w, m], the error is the lesser of both.
    """
    z, weights, codebook, costs, limits = jax.lax.stop_gradient((z, weights, codebook, costs, limits))
    (book,), d = codebook, z.shape[-1]
    weighted = jnp.squeeze(weights @ z.swapaxes(-1, -2), -1)
    known = jnp.concatenate([weighted.reshape(-1, d), weights.reshape(-1, d * d)], axis=-1)
    scorer = jnp.concatenate([book, -0.5 * (book[:, :, None] * book[:, None]).reshape(-1, d * d)], axis=-1)
    products = [Product(known, scorer)]
    if limits is not None:
        # Scores lack z^T W z, which is the same for all codewords.
        own = jnp.sum(weighted * jnp.squeeze(z, -2), axis=-1).reshape(-1, 1)
        at_most = jnp.concatenate([own, limits.of_position.reshape(len(own), -1)], axis=-1)
        products.append(Product(at_most, 0.5 * jnp.pad(-limits.of_codeword, ((0, 0), (1, 0)), constant_values=1.0)))
    priced = (None, None) if costs is None else (_of_group(costs, 0), _flat_scale(costs))
    best = _search_blocks(products, 0.0, *priced).reshape(z.shape[:-1])

    def distance(indices: Array) -> Array:
        error = z - look_up(indices, codebook)
        near = jnp.sum(error @ weights * error, axis=-1)
        if limits is None:
            return near
        return jnp.minimum(near, jnp.sum(limits.of_position[..., None, :] * limits.of_codeword[indices], axis=-1))

    return best if costs is None else _or_repeated(best, distance, costs)


def _of_group(costs: IndexCosts, group: int) -> Float[Array, "*n k"]:
    """What each index of a group costs: everywhere, or by position."""
    of_group = costs.of_index[..., group, :]
    return of_group if of_group.ndim == 1 else of_group.reshape(-1, of_group.shape[-1])


def _flat_scale(costs: IndexCosts) -> Float[Array, "n"] | None:
    return None if costs.scale is None else costs.scale.reshape(-1)


def _or_repeated(
    best: Int[Array, "b h w g"],
    distance: Callable[[Int[Array, "b h w g"]], Float[Array, "b h w g"]],
    costs: IndexCosts,
) -> Int[Array, "b h w g"]:
    """The best indices, or those of the frame before where these cost less, with their distance."""
    if costs.repeats is None:
        return best
    previous, of_repeat, of_change = costs.repeats
    changed = distance(best) + _scaled(_index_costs(best, costs.of_index) + of_change, costs)
    repeat = distance(previous) + _scaled(of_repeat, costs) <= changed
    return jnp.where(repeat, previous, best)


def cost_of(indices: Int[Array, "b h w g"], costs: IndexCosts) -> Float[Array, "b h w g"]:
    """What indices cost."""
    cost = _index_costs(indices, costs.of_index)
    if costs.repeats is not None:
        previous, of_repeat, of_change = costs.repeats
        cost = jnp.where(indices == previous, of_repeat, cost + of_change)
    return _scaled(cost, costs)


def _scaled(cost: Float[Array, "b h w g"], costs: IndexCosts) -> Float[Array, "b h w g"]:
    return cost if costs.scale is None else costs.scale[..., None] * cost


def costs_of_groups(costs: IndexCosts, groups: slice) -> IndexCosts:
    """The costs of some groups alone."""
    repeats = costs.repeats and Repeats(*(c[..., groups] for c in costs.repeats))
    return IndexCosts(costs.of_index[..., groups, :], repeats, costs.scale)


def _index_costs(indices: Int[Array, "b h w g"], of_index: Float[Array, "*b g k"]) -> Float[Array, "b h w g"]:
    if of_index.ndim == 2:
        return look_up(indices, of_index[..., None])[..., 0]
    return jnp.take_along_axis(of_index, indices[..., None], axis=-1)[..., 0]


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
