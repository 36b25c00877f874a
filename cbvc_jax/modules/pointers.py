"""Displacements as codewords: which indices an encoder sends for what it would have them be.

    wanted --least weighted error and cost, each block by itself--> indices --settled with their neighbours--> indices

Blocks overlap: what one shows half a block beyond its edge depends on its neighbours' displacements as on its own. A
single block's search knows nothing of them, nor that what suits its neighbour may suit it, too.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import POINTING_GROUP, POINTING_STAGE
from cbvc_jax.modules.displacement import POINTER_SCALE, QUADRANT, Interpolation, displace_in_turn
from cbvc_jax.modules.motion_estimation import Wanted, shares_of_nodes
from cbvc_jax.modules.quantizer import STAGES, Codebooks, Grids, StageCode, stage_code
from cbvc_jax.modules.search import IndexCosts, Limits, cost_of, costs_of_groups, fill_grid, weighted_search

_OWN = slice(POINTING_GROUP, POINTING_GROUP + 1)


def search_pointers(
    z: Float[Array, "b h w 1 d"],
    wanted: Wanted,
    codebooks: Codebooks,
    grids: Grids | None = None,
    quantised_stages: int | Int[Array, ""] = STAGES,
    costs: list[IndexCosts] | None = None,
) -> StageCode:
    """Displacements as the codewords of their group: those of the least error, weighted as `wanted` says.

    Its limits count where bits have a price; the nearest codeword is within them. `z` is what the codewords should be,
    and the other arguments are those of `VectorQuantizer.encode`.
    """
    codebook = codebooks[POINTING_STAGE][_OWN]
    of_group = limits = None
    if costs is not None:
        of_group = costs_of_groups(costs[POINTING_STAGE], _OWN)
        shares = shares_of_nodes(codebook[0, :, :2] / POINTER_SCALE)
        limits = Limits(POINTER_SCALE**2 * wanted.limits, shares)
    indices = weighted_search(z[..., :2], wanted.weights, codebook[..., :2], of_group, limits)
    return stage_code(z, indices, POINTING_STAGE, codebook, grids, quantised_stages)


def settle_pointers(
    pointers: StageCode,
    wanted: Wanted,
    picture: Float[Array, "b 32*h 32*w 3"],
    reference: Float[Array, "b 32*h 32*w 3"],
    codebooks: Codebooks,
    grids: Grids | None,
    costs: list[IndexCosts],
    interpolation: Interpolation = "linear",
) -> StageCode:
    """Displacements of less error and cost together, by what overlapped blocks show: for an encoder.

    Each block tries what its neighbours have, the frame before had there, stands still, or is nearest to what it wants,
    and keeps what is best in it and half a block around it. A quarter of the blocks, every second row and column, at a
    time: around these, no two meet.

    Args:
      pointers: from `search_pointers` with the same costs.
      wanted: from `find_displacements(picture, reference)`.
      interpolation: of `cbvc_jax.modules.displacement.displace`.
    """
    codebook, own = codebooks[POINTING_STAGE][_OWN], costs_of_groups(costs[POINTING_STAGE], _OWN)
    where = codebook[0, :, :2] / POINTER_SCALE
    x, ref = (jnp.mean(p, axis=-1, keepdims=True) for p in (picture, reference))
    nearest = weighted_search(pointers.z[..., :2], wanted.weights, codebook[..., :2])
    still = jnp.full_like(nearest, jnp.argmin(jnp.sum(jnp.square(where), axis=-1)))
    fixed = [nearest, still] if own.repeats is None else [nearest, still, own.repeats.previous.astype(jnp.int32)]
    _, rows, columns, _ = nearest.shape
    row, column = jnp.arange(rows)[:, None, None], jnp.arange(columns)[:, None]

    def total(indices: Int[Array, "b h w 1"]) -> Float[Array, "b h w 1"]:
        sent = indices if grids is None else fill_grid(indices, *grids[POINTING_STAGE])
        error = jnp.square(x - displace_in_turn(ref, where[sent[..., 0]], interpolation))
        return POINTER_SCALE**2 / wanted.unit * _tiles(error) + cost_of(indices, own)

    def settle(now: Int[Array, "b h w 1"], quarter: Int[Array, "2"]) -> tuple[Int[Array, "b h w 1"], None]:
        due = (row % 2 == quarter[0]) & (column % 2 == quarter[1])
        options = jnp.stack([now, *(jnp.where(due, option, now) for option in (*fixed, *_beside(now)))])
        best = jnp.argmin(jax.lax.map(total, options), axis=0)
        return jnp.where(due, jnp.take_along_axis(options, best[None], axis=0)[0], now), None

    quarters = jnp.asarray(list(itertools.product(range(2), repeat=2)))
    indices, _ = jax.lax.scan(settle, pointers.indices, quarters)
    return stage_code(pointers.z, indices, POINTING_STAGE, codebook, grids)


def _tiles(error: Float[Array, "b 32*h 32*w 1"]) -> Float[Array, "b h w 1"]:
    """Sums over each block and half a block around it."""
    b, height, width, _ = error.shape
    quadrants = error.reshape(b, height // QUADRANT, QUADRANT, width // QUADRANT, QUADRANT).sum(axis=(2, 4))
    padding = (0, 0), (1, 1), (1, 1)
    return jax.lax.reduce_window(quadrants, 0.0, jax.lax.add, (1, 4, 4), (1, 2, 2), padding)[..., None]


def _beside(indices: Int[Array, "b h w 1"]) -> list[Int[Array, "b h w 1"]]:
    """The indices of the blocks above, below, and on both sides; at the edges the block's own."""
    padded = jnp.pad(indices, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return [padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]]
