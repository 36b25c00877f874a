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
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import POINTING_STAGE, STAGE_STRIDES
from cbvc_jax.modules.blocks import with_edges, with_next

SIDE = STAGE_STRIDES[POINTING_STAGE]
"""Pixels along a side of a block."""
REACH = 16
"""Pixels that a window of the reference has on each side: the paper's padding of two latents."""
QUADRANT = SIDE // 2
"""Pixels along a side of a quarter of a block, which has the same four neighbours everywhere: itself among them."""
SPAN = QUADRANT + 2 * REACH
"""Pixels along a side of what one quarter can attend to."""
NEIGHBOURS = 4
PATCH = 2 * SIDE
"""Pixels along a side of what shows a block's displacement: the block and half of each neighbour."""
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
    displaced: Any = _fetched(picture, displacement, interpolation)
    return displaced


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _fetched(picture: Array, displacement: Array, interpolation: Interpolation) -> Array:
    b, height, width, c = picture.shape
    margin = MARGIN[interpolation]
    rows, columns = height // SIDE, width // SIDE
    # Around the picture lie blocks that ask for what those at its edges ask for: every block has all its neighbours.
    down, right = (jax.lax.index_in_dim(with_edges(displacement, 1), i, 3, keepdims=False) for i in range(2))
    patches = _patches(picture, down, right, margin)
    patches = _between_lines(patches, down, interpolation, axis=3) * SHARES[:, None, None]
    patches = _between_lines(patches, right, interpolation, axis=4) * SHARES[:, None]
    blocks = _overlapped(_overlapped(patches, rows, 1, 3), columns, 2, 4)
    return blocks.reshape(b * rows, columns, SIDE, SIDE * c).swapaxes(1, 2).reshape(b, height, width, c)


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
    b, height, width, c = picture.shape
    margin = MARGIN[interpolation]
    where = _of_leaders(displacement, leader)
    down, right = (jax.lax.index_in_dim(where, axis, axis=-1, keepdims=False) for axis in range(2))
    patches = _patches(picture, down, right, margin, side=QUADRANT, shown=QUADRANT, before=0)
    patches = _between_lines(patches, down, interpolation, axis=3)
    patches = _between_lines(patches, right, interpolation, axis=4)
    rows, columns = height // QUADRANT, width // QUADRANT
    quarters = patches.reshape(b * rows, columns, QUADRANT, QUADRANT * c)
    return quarters.swapaxes(1, 2).reshape(b, height, width, c)


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


def _patches(
    picture: Float[Array, "b y x c"],
    down: Float[Array, "b h w"],
    right: Float[Array, "b h w"],
    margin: int,
    side: int = SIDE,
    shown: int = PATCH,
    before: int = SIDE + QUADRANT,
) -> Float[Array, "b h w n n c"]:
    """Pixels that each block fetches; one row and column more than it shows, since these may lie between, and margins.

    Blocks have `side` lines and show as many as `shown`; the first of the first one is so many `before` the picture.
    """
    b, height, width, c = picture.shape
    y = _fetched_lines(down, 1, height, margin, side, shown, before)
    x = _fetched_lines(right, 2, width, margin, side, shown, before)
    y = y + height * jax.lax.broadcasted_iota(jnp.int32, y.shape, 0)
    places = jnp.expand_dims(y, 4) * width + jnp.expand_dims(x, 3)
    return jnp.take(picture.reshape(b * height * width, c), places, axis=0, mode="clip")


def _fetched_lines(
    displacement: Float[Array, "b h w"], axis: int, size: int, margin: int, side: int, shown: int, before: int
) -> Int[Array, "b h w n"]:
    """Rows or columns of `_patches`."""
    # Ranges of symbolic sizes, which exports have, are beyond a converter; this is not.
    block = jax.lax.broadcasted_iota(jnp.int32, displacement.shape, axis)
    first = jnp.floor(displacement).astype(jnp.int32) + side * block - before
    lines = np.arange(-margin, shown + 1 + margin, dtype=np.int32)
    return jnp.clip(jnp.expand_dims(first, 3) + lines, 0, size - 1)


def _between_lines(
    patches: Array, displacement: Float[Array, "b h w"], interpolation: Interpolation, axis: int
) -> Array:
    """Lines between each line and the next one, where their displacement is no whole number."""
    part = jnp.expand_dims(displacement - jnp.floor(displacement), (3, 4, 5))
    weighed = 2 + 2 * MARGIN[interpolation]
    shown = patches.shape[axis] - weighed + 1
    lines = [jax.lax.slice_in_dim(patches, i, shown + i, axis=axis) for i in range(weighed)]
    # `_weight_at` written out: it compares, which with so many axes is beyond a converter.
    if interpolation == "linear":
        weights = [1.0 - part, part]
    else:
        weights = [_far(1.0 + part), _near(part), _near(1.0 - part), _far(2.0 - part)]
    terms = [weight * line for weight, line in zip(weights, lines, strict=True)]
    return sum(terms[1:], terms[0])


def _near(distance: Array) -> Array:
    """The cubic's weight of a line less than a pixel away."""
    return (1.5 * distance - 2.5) * distance * distance + 1.0


def _far(distance: Array) -> Array:
    """The same, one to two pixels away."""
    return ((2.5 - 0.5 * distance) * distance - 4.0) * distance + 2.0


def _weight_at(distance: Float[Array, "*n"], interpolation: Interpolation) -> Float[Array, "*n"]:
    """Weight of a line so many pixels, 0 or more, from the place that is asked for."""
    if interpolation == "linear":
        return jnp.maximum(1.0 - distance, 0.0)
    return jnp.where(distance < 1.0, _near(distance), jnp.where(distance < 2.0, _far(distance), 0.0))


def _overlapped(patches: Array, count: int, axis: int, lines: int) -> Array:
    """Blocks from what they and those before and after them along `axis` show there, along the axis `lines`."""

    def of(quarter: int, block: int) -> Array:
        x = jax.lax.slice_in_dim(patches, 1 + block, 1 + block + count, axis=axis)
        return jax.lax.slice_in_dim(x, QUADRANT * quarter, QUADRANT * (quarter + 1), axis=lines)

    return jnp.concatenate([of(1, 0) + of(3, -1), of(2, 0) + of(0, 1)], axis=lines)


def _displace_forwards(picture: Array, displacement: Array, interpolation: Interpolation) -> tuple[Array, Array]:
    return displace(picture, displacement, interpolation), displacement


def _displace_backwards(interpolation: Interpolation, displacement: Array, slope: Array) -> tuple[Array, Array]:
    by_products = functools.partial(_displace_by_products, displacement=displacement, interpolation=interpolation)
    (of_picture,) = jax.linear_transpose(by_products, slope)(slope)
    return of_picture, jnp.zeros_like(displacement)


_fetched.defvjp(_displace_forwards, _displace_backwards)


def _displace_by_products(
    picture: Float[Array, "b 32*h 32*w c"], displacement: Float[Array, "b h w 2"], interpolation: Interpolation
) -> Float[Array, "b 32*h 32*w c"]:
    """The same with every weight of a window written out, for the way back: a fetch's is to scatter, which takes
    several times as long as products do, and there most weights that are 0 cost little."""
    b, height, width, c = picture.shape
    rows, columns = height // SIDE, width // SIDE
    windows = _windows(picture)
    n = b * rows * columns
    quarters = []
    for i in range(2):
        for j in range(2):
            asked = _of_neighbours(displacement, i, j).reshape(n, NEIGHBOURS, 2)
            down, right = (jax.lax.index_in_dim(asked, axis, axis=-1, keepdims=False) for axis in range(2))
            down = _weights(down, i, (True, False, True, False), interpolation)
            right = _weights(right, j, (True, True, False, False), interpolation)
            part = jax.lax.slice_in_dim(windows, QUADRANT * i, QUADRANT * i + SPAN, axis=1)
            part = jax.lax.slice_in_dim(part, QUADRANT * j, QUADRANT * j + SPAN, axis=2)
            lines = jnp.matmul(down.reshape(n, NEIGHBOURS * QUADRANT, SPAN), part.reshape(n, SPAN, SPAN * c))
            lines = lines.reshape(n, NEIGHBOURS, QUADRANT, SPAN, c).swapaxes(2, 3)
            lines = lines.reshape(n, NEIGHBOURS * SPAN, QUADRANT * c)
            quarter = jnp.matmul(right.swapaxes(1, 2).reshape(n, QUADRANT, NEIGHBOURS * SPAN), lines)
            quarters.append(quarter.reshape(n, QUADRANT, QUADRANT, c).swapaxes(1, 2))
    upper, lower = (jnp.concatenate(quarters[2 * i : 2 * i + 2], axis=2) for i in range(2))
    blocks = jnp.concatenate([upper, lower], axis=1).reshape(b * rows, columns, SIDE, SIDE * c)
    return blocks.swapaxes(1, 2).reshape(b, height, width, c)


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


def _weights(
    displacement: Float[Array, "n 4"], half: int, own: tuple[bool, ...], interpolation: Interpolation
) -> Float[Array, "n 4 16 48"]:
    """Weights along one axis: of each line of the first or second half of blocks, over those that it can attend to.

    `own` are the displacements that are the block's own along this axis: together with the others they weigh 1.
    """
    line = jnp.arange(QUADRANT, dtype=jnp.float32)
    from_edge = (line + 0.5 if half == 0 else QUADRANT - 0.5 - line) / SIDE
    share = jnp.where(jnp.asarray(own)[:, None], 0.5 + from_edge, 0.5 - from_edge)
    distance = jnp.arange(SPAN, dtype=jnp.float32) - (line[:, None] + REACH) - displacement[..., None, None]
    return share[..., None] * _weight_at(jnp.abs(distance), interpolation)


def _windows(picture: Float[Array, "b y x c"]) -> Float[Array, "n 64 64 c"]:
    """Windows of 32x32 pixels with REACH around them, which is half a window: each is two neighbours joined."""
    b, height, width, c = picture.shape
    picture = with_edges(picture, REACH)
    rows, columns = height // SIDE, width // SIDE
    x = picture.reshape(b, rows + 1, SIDE, (width + 2 * REACH) * c)
    x = with_next(x, 1, 2).reshape(b * rows, 2 * SIDE, columns + 1, SIDE * c)
    x = with_next(x, 2, 3)
    return x.swapaxes(1, 2).reshape(b * rows * columns, 2 * SIDE, 2 * SIDE, c)
