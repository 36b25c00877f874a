"""What indices cost an encoder: bits, as the index coding will charge them, at the price of a bit.

    frames sent --StreamWriter--> chances of each index --> bits --x lambda / sensitivity--> IndexCosts --> search

lambda is the squared error, in 8-bit levels, that one bit has to save; a codebook's sensitivity is the squared error
in the picture that a unit of squared distance in its search makes, both as means over R, G and B. Floating point is
free here: no decoder repeats it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from cbvc_jax.bitstream import Chances, Skip
from cbvc_jax.bitstream.frequencies import Integers
from cbvc_jax.bitstream.rans import SCALE_BITS
from cbvc_jax.bitstream.skipping import sent_places
from cbvc_jax.geometry import CODED, FOLLOWS, MOVES, POINTING_GROUP, POINTING_STAGE, STAGE_STRIDES, STAYS
from cbvc_jax.modules.search import IndexCosts, Repeats

USUAL_FRAMES = 5.0
"""Frames in which the error of a block counts where a bit has its price."""


def index_costs(
    chances: Sequence[Chances], price: float, sensitivity: Float[np.ndarray, "stages groups"]
) -> list[IndexCosts]:
    """Costs of the next frame's indices, a stage each, for a batch of one.

    Args:
      chances: of each stage, of `StreamWriter.chances`.
      price: lambda, squared 8-bit levels a bit.
      sensitivity: of each codebook, squared 8-bit levels for a unit of squared distance.
    """
    return [_stage_costs(c, price / np.maximum(s, 1e-12)) for c, s in zip(chances, sensitivity, strict=True)]


def _stage_costs(chances: Chances, price: Float[np.ndarray, "groups"]) -> IndexCosts:
    def cost(frequencies: Integers) -> np.ndarray:
        of_group = price.astype(np.float32).reshape(-1, *[1] * (frequencies.ndim - 1))
        return of_group * (SCALE_BITS - np.log2(frequencies)).astype(np.float32)

    costs = cost(chances.indices)
    of_index = jnp.asarray(_batched(costs) if costs.ndim > 2 else costs)
    if chances.hits is None or chances.previous is None:
        return IndexCosts(of_index)
    previous, repeat = chances.previous.astype(np.int32), cost(chances.hits)
    change = cost((1 << SCALE_BITS) - chances.hits)
    return IndexCosts(of_index, Repeats(*(jnp.asarray(_batched(maps)) for maps in (previous, repeat, change))))


def scale_of_price(shares: Float[np.ndarray, "rows cols"], frames: int) -> Float[np.ndarray, "rows cols"]:
    """Times which a bit of each block of 16x16 pixels costs, by the frames in which its error counts.

    Args:
      shares: of an error, below 1, that a frame hands on to the next one: `cbvc_jax.modules.motion_estimation.carried`.
      frames: from this one to the last before a keyframe; at least 1.
    """
    return (USUAL_FRAMES * (1.0 - shares) / (1.0 - shares**frames)).astype(np.float32)


def scales_of_stages(scale: Float[np.ndarray, "rows cols"]) -> list[Float[np.ndarray, "rows_s cols_s"]]:
    """The scale of a price for each stage's indices; at coarser stages, that of the mean of four blocks' frames."""
    scales = [scale]
    for _ in STAGE_STRIDES[1:]:
        frames = _padded(1.0 / scales[-1], "edge")
        scales.append(1.0 / np.mean([frames[i::2, j::2] for i in range(2) for j in range(2)], axis=0))
    return scales


def scaled_costs(costs: Sequence[IndexCosts], scale: Float[np.ndarray, "rows cols"]) -> list[IndexCosts]:
    """Costs of all stages at the scale of their blocks."""
    scales = scales_of_stages(scale)
    return [cost._replace(scale=jnp.asarray(s)[None]) for cost, s in zip(costs, scales, strict=True)]


def index_bits(chances: Sequence[Chances], indices: Sequence[np.ndarray]) -> list[Float[np.ndarray, "g rows_s cols_s"]]:
    """Bits that each index of each stage takes.

    Args:
      chances: of each stage, of `StreamWriter.chances`.
      indices: [groups, rows, columns] of each stage.
    """
    return [_bits_of(c, maps.astype(np.int64)) for c, maps in zip(chances, indices, strict=True)]


def block_bits(chances: Integers) -> Float[np.ndarray, "n rows cols"]:
    """Bits that it takes to say what becomes of each block: `FrameChances.blocks`, [rows, columns, n]."""
    return np.moveaxis(SCALE_BITS - np.log2(chances), -1, 0)


def skipped_blocks(
    coded: Float[np.ndarray, "rows cols"],
    idle: Float[np.ndarray, "n rows cols"],
    flags: Float[np.ndarray, "n_plus_1 rows cols"],
    costs: Sequence[Float[np.ndarray, "g rows_s cols_s"]],
) -> Skip:
    """What becomes of each block of 16x16 pixels: what has the least error and cost in all.

    An index of a coarser stage is sent if any of its four or sixteen blocks is coded, and costs the same then, and a
    displacement if any moves, too: so blocks are taken together from the finest stage up.

    Args:
      coded: errors of each block as it is coded.
      idle: in each way without a residual, as far as there are: as it was, and as displacements move it.
      flags: what it costs to say of a block what becomes of it, in the same unit.
      costs: of the indices of each stage, in the same unit.
    """
    fine, middle, coarse = costs
    coded, ways = coded + flags[CODED], idle + flags[STAYS:]
    stays, idle, may_move = ways[0], ways.min(axis=0), len(ways) > 1
    pointing = middle[POINTING_GROUP] if may_move else np.zeros_like(middle[0])
    with_residual = coded + fine.sum(axis=0)
    # For blocks of 32x32 pixels: all stay; some move, and none is coded; some are coded, and some may stay or move.
    still = _fours(stays)
    moving = _fours(idle) + pointing
    residual = _fours(np.minimum(with_residual, idle)) + middle.sum(axis=0)
    without = np.minimum(still, moving) if may_move else still
    any_coded = _fours(np.minimum(residual, without)) + coarse.sum(axis=0) < _fours(without)
    is_coded = (residual < without) & _spread(any_coded, without.shape)
    is_still = ~is_coded & (still <= without)
    skip = np.where(_spread(is_coded, stays.shape) & (with_residual < idle), CODED, STAYS + ways.argmin(axis=0))
    skip = np.where(_spread(is_still, stays.shape), STAYS, skip)
    if len(ways) > FOLLOWS - STAYS:
        # A displacement that is not sent leads nowhere.
        own = np.array([MOVES, FOLLOWS])[ways[[MOVES - STAYS, FOLLOWS - STAYS]].argmin(axis=0)]
        sent = sent_places(skip, [cost.shape for cost in costs])[POINTING_STAGE][POINTING_GROUP]
        skip = np.where((skip > FOLLOWS) & ~_is_led(skip, sent), own, skip)
    return skip.astype(np.uint8)


def _is_led(skip: Integers, sent: Bool[np.ndarray, "rows_2 cols_2"]) -> Bool[np.ndarray, "rows cols"]:
    """Where the displacement that a block follows is among those that are `sent`."""
    rows, columns = skip.shape
    sent = np.pad(sent, 1, mode="edge")
    row, column = np.arange(rows)[:, None], np.arange(columns)
    own, nearest = (row // 2 + 1, column // 2 + 1), (row // 2 + 2 * (row % 2), column // 2 + 2 * (column % 2))
    leaders = sent[own], sent[nearest[0], own[1]], sent[own[0], nearest[1]], sent[nearest]
    return np.choose(np.maximum(skip - FOLLOWS, 0), leaders)


def _fours(maps: Float[np.ndarray, "rows cols"]) -> Float[np.ndarray, "rows_2 cols_2"]:
    """Sums of two by two; maps go on with 0."""
    padded = _padded(maps, "constant")
    return sum((padded[i::2, j::2] for i in range(2) for j in range(2)), np.zeros(()))


def _spread(maps: Bool[np.ndarray, "rows_2 cols_2"], shape: tuple[int, ...]) -> Bool[np.ndarray, "rows cols"]:
    """Maps of half the shape with each entry for two by two."""
    return maps.repeat(2, axis=0)[: shape[0]].repeat(2, axis=1)[:, : shape[1]]


def _padded(maps: np.ndarray, mode: Literal["edge", "constant"]) -> np.ndarray:
    """Maps with even sides."""
    rows, columns = maps.shape
    return np.pad(maps, ((0, rows % 2), (0, columns % 2)), mode=mode)


def _bits_of(chances: Chances, maps: Integers) -> np.ndarray:
    """Bits of each index [groups, rows, columns]."""
    if chances.indices.ndim > 2:
        frequencies = np.take_along_axis(chances.indices, maps[..., None], axis=-1)[..., 0]
    else:
        frequencies = np.take_along_axis(chances.indices, maps.reshape(len(maps), -1), axis=1).reshape(maps.shape)
    bits = SCALE_BITS - np.log2(frequencies)
    if chances.hits is None:
        return bits
    hit = SCALE_BITS - np.log2(chances.hits)
    missed = SCALE_BITS - np.log2((1 << SCALE_BITS) - chances.hits)
    return np.where(maps == chances.previous, hit, missed + bits)


def _batched(maps: np.ndarray) -> np.ndarray:
    """[groups, rows, columns, ...] as [1, rows, columns, groups, ...]."""
    return np.moveaxis(maps, 0, 2)[None]
