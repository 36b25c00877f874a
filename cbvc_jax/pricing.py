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

from cbvc_jax.bitstream import Chances
from cbvc_jax.bitstream.frequencies import Integers
from cbvc_jax.bitstream.rans import SCALE_BITS
from cbvc_jax.geometry import STAGE_STRIDES
from cbvc_jax.modules.search import IndexCosts, Repeats

USUAL_FRAMES = 5.0
"""Frames in which the error of a block counts where a bit has its price."""


def index_costs(
    chances: Sequence[Chances], price: float, sensitivity: Float[np.ndarray, "stages groups"]
) -> list[IndexCosts]:
    """Costs of the next frame's indices, a stage each, for a batch of one.

    Args:
      chances: of each stage, from `StreamWriter.chances`.
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


def index_bits(chances: Sequence[Chances], indices: Sequence[np.ndarray]) -> list[Float[np.ndarray, "rows_s cols_s"]]:
    """Bits that both indices at each place of each stage take.

    Args:
      chances: of each stage, from `StreamWriter.chances`.
      indices: [groups, rows, columns] of each stage.
    """
    return [_bits_of(c, maps.astype(np.int64)).sum(axis=0) for c, maps in zip(chances, indices, strict=True)]


def skipped_blocks(
    gains: Float[np.ndarray, "rows cols"], costs: Sequence[Float[np.ndarray, "rows_s cols_s"]]
) -> Bool[np.ndarray, "rows cols"]:
    """Which blocks of 16x16 pixels are better skipped: those of the least error and cost together.

    An index of a coarser stage is sent if any of its four or sixteen blocks is coded, and costs the same then: so
    blocks are taken together from the finest stage up, and where they are not worth what they share, all are skipped.

    Args:
      gains: error that coding a block takes away.
      costs: of the indices of each stage, in the same unit.
    """
    worth = gains - costs[0]
    sent = [worth > 0.0]
    for cost in costs[1:]:
        positive = _padded(np.maximum(worth, 0.0), "constant")
        worth = sum(positive[i::2, j::2] for i in range(2) for j in range(2)) - cost
        sent.append(worth > 0.0)
    coded = sent.pop()
    while sent:
        finer = sent.pop()
        rows, columns = finer.shape
        coded = finer & coded.repeat(2, axis=0)[:rows].repeat(2, axis=1)[:, :columns]
    return ~coded


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
