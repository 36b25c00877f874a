"""Windowed attention by position: each block from where it lies in the reference, at the precision of pixels.

    reference [b, 32h, 32w, c] --windows of 32x32 pixels and 16 around them--+
                                                                             +--> sum of weight x pixel
    displacements [b, h, w, 2] --------------weights by row, by column-------+

Each block of 32x32 pixels attends to its window of figure 3 with weights that depend on positions alone, by the
distance from the place that a displacement points at, along rows and along columns: "linear", 1 - distance, and 0 from
one pixel on; or "cubic" (Catmull and Rom 1974, Keys 1981), 0 from two pixels on, which keeps more of what is fine from
frame to frame. The displacement is its own in the block's centre; towards the edges, those of its neighbours count as
well, half at the edge, so that blocks overlap (Orchard and Sullivan 1994). Weights sum to one. No linear one is
negative, so that no pixel of a difference between two references grows: what another machine rounds would be handed on,
never made larger. A cubic moves no frequency by more than once its amplitude. Only pixels that may have a weight are
fetched.

A frame sends displacements as the codewords of one codebook: the first of stage 2. How an encoder chooses where to look
is in `cbvc_jax.modules.motion_estimation`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import POINTING_STAGE, STAGE_STRIDES
from cbvc_jax.modules.blocks import with_edges, with_next
from cbvc_jax.modules.patches import Patches, fetch, fetch_in_turn, put_back

SIDE = STAGE_STRIDES[POINTING_STAGE]
"""Pixels along a side of a block."""
REACH = 16
"""Pixels that a window of the reference has on each side: the paper's padding of two latents."""
QUADRANT = SIDE // 2
"""Pixels along a side of a quarter of a block, which has the same four neighbours everywhere: itself among them."""
NEIGHBOURS = 4
PATCH = 2 * SIDE
"""Pixels along a side of what shows a block's displacement: the block and half of each neighbour."""
BORDER = SIDE + QUADRANT + REACH + 1
"""Pixels beyond a picture that blocks around it may fetch."""
SHARES = (1.0 - np.abs(2 * np.arange(PATCH) - (PATCH - 1)) / PATCH).astype(np.float32)
"""What a block's displacement counts along one axis of that; at every pixel, those of two blocks make 1."""
POINTER_SCALE = 0.25
"""What a pixel of displacement is in a codeword: its first two numbers; the others are 0."""
Interpolation = Literal["linear", "cubic"]
"""How a place between pixels is made of those around it."""
MARGIN: dict[Interpolation, int] = {"linear": 0, "cubic": 1}
"""Lines beyond the two around a place that have a weight, on each side."""


def displace(
    picture: Float[Array, "b 32*h 32*w c"],
    displacement: Float[Array, "b h w 2"],
    interpolation: Interpolation = "linear",
) -> Float[Array, "b 32*h 32*w c"]:
    """Each block of 32x32 pixels from where its displacement and those of its neighbours point.

    The gradient is the picture's. Displacements get none: they are codewords that were searched for.

    Args:
      picture: any channels; beyond its edges it goes on with its outermost pixels.
      displacement: (down, right) in pixels, from the block to what it repeats; within [-REACH, REACH], and one pixel
        less where interpolation is cubic.
      interpolation: between pixels.
    """
    displaced: Any = _with_gradient(picture, displacement, interpolation)
    return displaced


def displace_in_turn(
    picture: Float[Array, "b 32*h 32*w c"],
    displacement: Float[Array, "b h w 2"],
    interpolation: Interpolation = "linear",
) -> Float[Array, "b 32*h 32*w c"]:
    """`displace` without a gradient, for encoders: a CPU fetches one block after the other. Not for exports."""
    return _displaced(picture, displacement, interpolation, functools.partial(fetch_in_turn, border=BORDER))


def follow(
    picture: Float[Array, "b 32*h 32*w c"],
    displacement: Float[Array, "b h w 2"],
    leader: Int[Array, "b 2*h 2*w"],
    interpolation: Interpolation = "linear",
) -> Float[Array, "b 32*h 32*w c"]:
    """Each quarter of a block, 16x16 pixels, from where one displacement points, not overlapped with others.

    Args:
      picture, displacement, interpolation: as of `displace`.
      leader: below `LEADERS` of `cbvc_jax.geometry`, which displacement: the block's own, of the block above or below,
        of the one beside, of the one across; of those that touch the quarter. At the edges of the picture, its own.
    """
    where = _of_leaders(displacement, leader)
    first = _first_lines(where, interpolation, QUADRANT, 0)
    patches = fetch(picture, first, QUADRANT + _taps(interpolation) - 1)
    patches = _between_lines(patches, where, 0, interpolation)
    return _joined(_between_lines(patches, where, 1, interpolation), picture.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _with_gradient(picture: Array, displacement: Array, interpolation: Interpolation) -> Array:
    return _displaced(picture, displacement, interpolation, fetch)


def _displaced(picture: Array, displacement: Array, interpolation: Interpolation, fetch: Callable[..., Array]) -> Array:
    _, height, width, c = picture.shape
    around, first = _with_blocks_around(displacement, interpolation)
    patches = fetch(picture, first, PATCH + _taps(interpolation) - 1)
    step = c // patches.shape[-1]
    patches = _between_lines(patches, around, 0, interpolation) * _shares(0)
    patches = _between_lines(patches, around, 1, interpolation, step) * _shares(1, step)
    blocks = _overlapped(_overlapped(patches, height // SIDE, 0), width // SIDE, 1, step)
    return _joined(blocks, c)


def _forwards(picture: Array, displacement: Array, interpolation: Interpolation) -> tuple[Array, Array]:
    return displace_in_turn(picture, displacement, interpolation), displacement


def _backwards(interpolation: Interpolation, displacement: Array, slope: Array) -> tuple[Array, Array]:
    """`_displaced` the other way, step by step. What XLA makes of that by itself takes several times as long."""
    shape: Any = slope.shape
    c, more = shape[-1], _taps(interpolation) - 1
    around, first = _with_blocks_around(displacement, interpolation)
    patches = _shown(slope) * (_shares(0) * _shares(1, c))
    # Beyond a patch nothing was shown.
    patches = jnp.pad(patches, [(0, 0)] * 3 + [(more, more), (more * c, more * c), (0, 0)])
    patches = _between_lines(patches, around, 0, interpolation, backwards=True)
    patches = _between_lines(patches, around, 1, interpolation, c, backwards=True)
    return put_back(patches, first, shape, BORDER), jnp.zeros_like(displacement)


_with_gradient.defvjp(_forwards, _backwards)


def _of_leaders(displacement: Float[Array, "b h w 2"], leader: Int[Array, "b 2*h 2*w"]) -> Float[Array, "b 2*h 2*w 2"]:
    """The displacement that each quarter follows."""
    b, h, w, _ = displacement.shape
    chosen = leader.reshape(b, h, 2, w, 2)
    lines = []
    for i in range(2):
        quarters = []
        for j in range(2):
            asked = _of_neighbours(displacement, i, j)
            of_quarter = chosen[:, :, i, :, j][..., None]
            where = asked[..., 0, :]
            for k in range(1, NEIGHBOURS):
                where = jnp.where(of_quarter == k, asked[..., k, :], where)
            quarters.append(where)
        lines.append(jnp.stack(quarters, axis=3))
    return jnp.stack(lines, axis=2).reshape(b, 2 * h, 2 * w, 2)


def _with_blocks_around(
    displacement: Float[Array, "b h w 2"], interpolation: Interpolation
) -> tuple[Float[Array, "b h+2 w+2 2"], Int[Array, "b h+2 w+2 2"]]:
    """Displacements and the first lines of patches. Around the picture lie blocks that ask for what those at its edges
    ask for: every block has all its neighbours."""
    around = with_edges(displacement, 1)
    return around, _first_lines(around, interpolation, SIDE, SIDE + QUADRANT)


def _first_lines(
    displacement: Float[Array, "b h w 2"], interpolation: Interpolation, side: int, before: int
) -> Int[Array, "b h w 2"]:
    """The first row and column that each block fetches. Blocks have `side` lines, and what the first one shows begins
    so many `before` the picture."""
    block = [jax.lax.broadcasted_iota(jnp.int32, displacement.shape[:3], axis) for axis in (1, 2)]
    return jnp.floor(displacement).astype(jnp.int32) + side * jnp.stack(block, axis=-1) - before - MARGIN[interpolation]


def _taps(interpolation: Interpolation) -> int:
    """Lines that a place between lines is made of."""
    return 2 + 2 * MARGIN[interpolation]


def _between_lines(
    patches: Patches,
    displacement: Float[Array, "b h w 2"],
    along: int,
    interpolation: Interpolation,
    step: int = 1,
    backwards: bool = False,
) -> Patches:
    """Rows (along 0) or columns (1), `step` numbers each, between each and the next where a displacement is no whole
    number; or what that does the other way."""
    apart = jax.lax.index_in_dim(displacement, along, axis=-1, keepdims=False)
    part = jnp.expand_dims(apart - jnp.floor(apart), (3, 4, 5))
    if interpolation == "linear":
        weights = [1.0 - part, part]
    else:
        weights = [_far(1.0 + part), _near(part), _near(1.0 - part), _far(2.0 - part)]
    if backwards:
        weights = weights[::-1]
    axis = 3 + along
    shown = patches.shape[axis] - step * (len(weights) - 1)
    lines = [jax.lax.slice_in_dim(patches, step * i, step * i + shown, axis=axis) for i in range(len(weights))]
    terms = [weight * line for weight, line in zip(weights, lines, strict=True)]
    return sum(terms[1:], terms[0])


def _near(distance: Array) -> Array:
    """The cubic's weight of a line less than a pixel away."""
    return (1.5 * distance - 2.5) * distance * distance + 1.0


def _far(distance: Array) -> Array:
    """The same, one to two pixels away."""
    return ((2.5 - 0.5 * distance) * distance - 4.0) * distance + 2.0


def _shares(along: int, step: int = 1) -> np.ndarray:
    """SHARES of rows (along 0) or of columns (1), `step` numbers each."""
    return np.repeat(SHARES, step)[:, None] if along else SHARES[:, None, None]


def _overlapped(patches: Patches, count: int, along: int, step: int = 1) -> Patches:
    """Blocks from what they and those before and after them, along rows (0) or columns (1), show there."""
    axis, lines, quarter = 1 + along, 3 + along, QUADRANT * step

    def of(part: int, block: int) -> Array:
        x = jax.lax.slice_in_dim(patches, 1 + block, 1 + block + count, axis=axis)
        return jax.lax.slice_in_dim(x, quarter * part, quarter * (part + 1), axis=lines)

    return jnp.concatenate([of(1, 0) + of(3, -1), of(2, 0) + of(0, 1)], axis=lines)


def _shown(slope: Float[Array, "b 32*h 32*w c"]) -> Float[Array, "b h+2 w+2 64 64*c 1"]:
    """What patches show of it: 0 beyond its edges. Each is two blocks by two, half a block from where blocks lie."""
    b, height, width, c = slope.shape
    beyond = SIDE + QUADRANT
    x = jnp.pad(slope, ((0, 0), (beyond, beyond), (beyond, beyond), (0, 0)))
    rows, columns = height // SIDE + 3, width // SIDE + 3
    x = with_next(x.reshape(b, rows, SIDE, columns * SIDE * c), 1, 2)
    x = with_next(x.reshape(b * (rows - 1), PATCH, columns, SIDE * c), 2, 3)
    return x.swapaxes(1, 2).reshape(b, rows - 1, columns - 1, PATCH, PATCH * c, 1)


def _joined(blocks: Patches, c: int) -> Float[Array, "b h*side w*side c"]:
    """Pictures of blocks."""
    b, rows, columns, side = blocks.shape[:4]
    lines = blocks.reshape(b * rows, columns, side, side * c).swapaxes(1, 2)
    return lines.reshape(b, rows * side, columns * side, c)


def displace_macs(blocks: int, channels: int, interpolation: Interpolation = "linear") -> int:
    """Multiply-accumulates of `displace` on so many blocks of 32x32: those of a line, and its share; then four sums."""
    lines, margin = 3 + 2 * MARGIN[interpolation], MARGIN[interpolation]
    return blocks * channels * (lines * PATCH * (PATCH + 1 + 2 * margin) + lines * PATCH**2)


def _of_neighbours(displacement: Float[Array, "b h w 2"], i: int, j: int) -> Float[Array, "b h w 4 2"]:
    """For quarter (i, j) of each block: its own displacement, the one above or below, the one beside it, and across."""

    def beside(x: Array, axis: int, after: int) -> Array:
        count = x.shape[axis]
        edge = jax.lax.slice_in_dim(x, after * (count - 1), after * (count - 1) + 1, axis=axis)
        rest = jax.lax.slice_in_dim(x, after, count - 1 + after, axis=axis)
        return jax.lax.concatenate([rest, edge] if after else [edge, rest], axis)

    vertical = beside(displacement, 1, i)
    return jnp.stack([displacement, vertical, beside(displacement, 2, j), beside(vertical, 2, j)], axis=-2)
