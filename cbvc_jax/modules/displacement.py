"""Windowed attention by position: each block from where it lies in the reference, at the precision of pixels.

    reference [b, 8h, 8w, c] --windows of 32x32 pixels and 16 around them--+
                                                                           +--> sum of weight x pixel
    displacement [b, h, w, 2] --------------weights by row, by column------+

Each block of 8x8 pixels attends to its window of figure 3 with weights that depend on positions alone: 1 - distance
from the place that its displacement points at, along rows and along columns, and 0 from one pixel on. They are
separable, so a window is two products; none is negative and they sum to one, so that no pixel of a difference between
two references grows: what another machine rounds would be handed on, never made larger.

`find_displacements` is how an encoder would choose where to look. No model does so yet: `cbvc_jax.training.linear`
measures what there is to gain.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import LATENT_STRIDE

BLOCK = LATENT_STRIDE
WINDOW = 4
"""Blocks along a side of a query window, as in section 3.2."""
REACH = 16
"""Pixels that a window of the reference has on each side: the paper's padding of two latents."""
SPAN = BLOCK + 2 * REACH
"""Pixels along a side of what one block can attend to."""
DISTANCE_COST = 2e-5
"""Mean squared error, pixels in [-1, 1], that an encoder accepts for a displacement shorter by one pixel."""
FLATNESS = 2e-4
"""Added to the squared gradients of a block: where nothing has an edge, nothing is refined."""


def displace(
    picture: Float[Array, "b 8*h 8*w c"], displacement: Float[Array, "b h w 2"]
) -> Float[Array, "b 8*h 8*w c"]:
    """Each block of 8x8 pixels from where its displacement points.

    Args:
      picture: any channels; beyond its edges it goes on with its outermost pixels. h and w are multiples of 4.
      displacement: (down, right) in pixels, from the block to what it repeats; within [-REACH, REACH].
    """
    b, height, width, c = picture.shape
    side = WINDOW * BLOCK
    rows, columns = height // side, width // side
    windows = _windows(picture)
    down, right = (_weights(_by_window(displacement[..., axis])) for axis in range(2))
    out = []
    for i in range(WINDOW):
        strip = jax.lax.slice_in_dim(windows, BLOCK * i, BLOCK * i + SPAN, axis=1)
        weights = down[:, i].reshape(-1, WINDOW * BLOCK, SPAN)
        strip = jnp.matmul(weights, strip).reshape(-1, WINDOW, BLOCK, side + 2 * REACH, c)
        parts = []
        for j in range(WINDOW):
            part = jax.lax.slice_in_dim(strip[:, j], BLOCK * j, BLOCK * j + SPAN, axis=2)
            part = part.transpose(0, 2, 1, 3).reshape(-1, SPAN, BLOCK * c)
            parts.append(jnp.matmul(right[:, i, j], part))
        out.append(jnp.stack(parts, axis=1))
    blocks = jnp.stack(out, axis=1)  # [n, i, j, column, row * c]
    blocks = blocks.reshape(-1, WINDOW * WINDOW, BLOCK, BLOCK, c).swapaxes(2, 3)
    blocks = blocks.reshape(b * rows, columns, WINDOW, WINDOW, BLOCK, BLOCK * c)
    return blocks.transpose(0, 2, 4, 1, 3, 5).reshape(b, height, width, c)


def _windows(picture: Float[Array, "b y x c"]) -> Float[Array, "n 64 64*c"]:
    """Windows of 32x32 pixels with REACH around them, which is half a window: each is two neighbours joined."""
    b, height, width, c = picture.shape
    side = WINDOW * BLOCK
    for axis in (1, 2):
        last = picture.shape[axis] - 1
        before, after = (jax.lax.slice_in_dim(picture, at, at + 1, axis=axis) for at in (0, last))
        picture = jax.lax.concatenate([*[before] * REACH, picture, *[after] * REACH], axis)
    rows, columns = height // side, width // side
    x = picture.reshape(b, rows + 1, side, (width + 2 * REACH) * c)
    x = jnp.concatenate([x[:, :-1], x[:, 1:]], axis=2).reshape(b * rows, 2 * side, columns + 1, side * c)
    x = jnp.concatenate([x[:, :, :-1], x[:, :, 1:]], axis=3)
    return x.swapaxes(1, 2).reshape(b * rows * columns, 2 * side, 2 * side * c)


def _by_window(x: Float[Array, "b h w"]) -> Float[Array, "n 4 4"]:
    b, h, w = x.shape
    rows, columns = h // WINDOW, w // WINDOW
    x = x.reshape(b * rows, WINDOW, columns, WINDOW).transpose(0, 2, 1, 3)
    return x.reshape(b * rows * columns, WINDOW, WINDOW)


def _weights(displacement: Float[Array, "*n"]) -> Float[Array, "*n 8 40"]:
    """Weights along one axis: of each of a block's lines, over the lines that the block can attend to."""
    own = jnp.arange(BLOCK, dtype=jnp.float32)[:, None] + REACH
    distance = jnp.arange(SPAN, dtype=jnp.float32) - own - displacement[..., None, None]
    return jnp.maximum(1.0 - jnp.abs(distance), 0.0)


def find_displacements(
    picture: Float[Array, "b 8*h 8*w 3"], reference: Float[Array, "b 8*h 8*w 3"], refinements: int = 2
) -> tuple[Float[Array, "b h w 2"], Float[Array, "b h w 1"]]:
    """Where each block of 8x8 pixels of a picture lies in the reference: for an encoder. No gradient passes through.

    All displacements of whole two pixels within REACH are compared on halves of the size, over blocks with their
    neighbours, and a parabola tells what lies between; then steps of Lucas and Kanade (1981) refine the best one.

    Args:
      picture, reference: in [-1, 1]; h and w are multiples of 4.
      refinements: steps.

    Returns:
      displacements (down, right), in pixels, and by how much they lower the mean squared error of a block.
    """
    x, ref = jax.lax.stop_gradient((jnp.mean(picture, -1), jnp.mean(reference, -1)))
    coarse, still = _search_halves(x, ref)
    found = coarse
    for _ in range(refinements):
        found = found + _refinement(x, _at(ref, found))
        found = jnp.clip(found, coarse - 2.5, coarse + 2.5)
        found = jnp.clip(found, 1.0 - REACH, REACH - 1.0)
    left = _with_neighbours(_block_means(jnp.square(x - _at(ref, found)), BLOCK))
    return jax.lax.stop_gradient((found, jnp.maximum(still - left, 0.0)[..., None]))


def _search_halves(
    x: Float[Array, "b y x"], ref: Float[Array, "b y x"]
) -> tuple[Float[Array, "b h w 2"], Float[Array, "b h w"]]:
    """The best displacement of whole two pixels, and the squared error without one."""
    x, ref = _block_means(x, 2), _block_means(ref, 2)
    b, height, width = x.shape
    reach = REACH // 2
    around = jnp.pad(ref, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    steps = jnp.arange(-reach, reach + 1)
    shifts = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)

    def cost(shift: Array) -> Array:
        moved = jax.lax.dynamic_slice(around, (0, reach + shift[0], reach + shift[1]), (b, height, width))
        error = _with_neighbours(_block_means(jnp.square(x - moved), BLOCK // 2))
        return error + DISTANCE_COST * 2.0 * jnp.sum(jnp.abs(shift))

    costs = jax.lax.map(cost, shifts, batch_size=len(steps))
    best = jnp.argmin(costs, axis=0)
    between = [_vertex(costs, best, at) for at in (len(steps), 1)]
    return 2.0 * (shifts[best] + jnp.stack(between, axis=-1)), costs[len(shifts) // 2]


def _vertex(costs: Float[Array, "n b h w"], best: Int[Array, "b h w"], step: int) -> Float[Array, "b h w"]:
    """Where a parabola through the best cost and its two neighbours is lowest, from the best one, in [-1/2, 1/2].

    What the first and the last displacement along an axis have for one of their neighbours means nothing, and moves
    them by half a step at the most.
    """
    before, at, after = (
        jnp.take_along_axis(costs, jnp.clip(best + by, 0, len(costs) - 1)[None], axis=0)[0] for by in (-step, 0, step)
    )
    bend = before - 2.0 * at + after
    return jnp.clip(0.5 * (before - after) / jnp.maximum(bend, 1e-12), -0.5, 0.5)


def _refinement(x: Float[Array, "b y x"], moved: Float[Array, "b y x"]) -> Float[Array, "b h w 2"]:
    """One step towards the displacement that makes `moved` x: least squares over a block with its neighbours."""
    around = jnp.pad(moved, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down = 0.5 * (around[:, 2:, 1:-1] - around[:, :-2, 1:-1])
    right = 0.5 * (around[:, 1:-1, 2:] - around[:, 1:-1, :-2])

    def over_blocks(a: Array, b: Array) -> Array:
        return _with_neighbours(_block_means(a * b, BLOCK))

    dd, rr = over_blocks(down, down) + FLATNESS, over_blocks(right, right) + FLATNESS
    dr, de, re = over_blocks(down, right), over_blocks(down, x - moved), over_blocks(right, x - moved)
    step = jnp.stack([rr * de - dr * re, dd * re - dr * de], axis=-1) / (dd * rr - dr * dr)[..., None]
    return jnp.clip(step, -1.5, 1.5)


def _at(ref: Float[Array, "b y x"], displacement: Float[Array, "b h w 2"]) -> Float[Array, "b y x"]:
    return displace(ref[..., None], displacement)[..., 0]


def _block_means(x: Float[Array, "b y x"], side: int) -> Float[Array, "b h w"]:
    b, height, width = x.shape
    return jnp.mean(x.reshape(b, height // side, side, width // side, side), axis=(2, 4))


def _with_neighbours(x: Float[Array, "b h w"]) -> Float[Array, "b h w"]:
    """Each block's value with those around it: a binomial mean of 3x3."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
    x = 0.25 * x[:, :-2] + 0.5 * x[:, 1:-1] + 0.25 * x[:, 2:]
    return 0.25 * x[:, :, :-2] + 0.5 * x[:, :, 1:-1] + 0.25 * x[:, :, 2:]
