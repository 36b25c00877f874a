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

A frame sends displacements as the codewords of one codebook: the first of stage 2. `find_displacements` is how an
encoder chooses where to look.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import STAGE_STRIDES

POINTING_STAGE = 1
"""Stage whose first codebook holds displacements."""
POINTING_GROUP = 0
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
DISTANCE_COST = 2e-5
"""Mean squared error, pixels in [-1, 1], that an encoder accepts for a displacement shorter by one pixel."""
NODES = np.arange(-REACH, REACH + 1, 2)
"""Displacements of whole two pixels along one axis: those that an encoder compares first."""
POINTER_SCALE = 0.25
"""What a pixel of displacement is in a codeword: its first two numbers; the others are 0."""
SEEN_IN_HALVES = 1.5
"""Squared error of a block for what halves of its size show of it, which lack the finest detail."""
REFINEMENTS = 2
FLATNESS = 2e-4
"""Added to the squared gradients of a block: where nothing has an edge, nothing is refined."""
LEAST_WEIGHT = 1e-5
"""Added to them where they say what an error costs: it costs something everywhere."""


Interpolation = Literal["linear", "cubic"]
"""How a place between pixels is made of those around it."""
MARGIN: dict[Interpolation, int] = {"linear": 0, "cubic": 1}
"""Lines beyond the two around a place that have a weight, on each side."""
CARRIED = 0.9
"""Share of a block's error that a frame hands on where nothing new comes."""
LEAST_ERROR = 4e-3
"""Added to a block's mean squared error, pixels in [-1, 1], beside which what is new counts."""


class Wanted(NamedTuple):
    """What an encoder would have its displacements be.

    Attributes:
      displacement: (down, right) of each block, in pixels.
      weights: symmetric and positive; an error e of a block's displacement changes the picture in proportion to
        e^T weights e, and over the blocks of a picture this is |e|^2 in the mean.
      limits: what each displacement of whole two pixels changes it by at the most, in the same measure: how much more
        error is seen there, and what a pixel's is on top, since such a grid misses that. Far away e^T weights e says
        too much: a block that looks like itself a little further on is as good there.
      unit: what 1 of that measure is in squared error, pixels in [-1, 1], summed over a block.
    """

    displacement: Float[Array, "b h w 2"]
    weights: Float[Array, "b h w 2 2"]
    limits: Float[Array, "b h w 17*17"]
    unit: Float[Array, "b 1 1 1"]


def displace(
    picture: Float[Array, "b 32*h 32*w c"],
    displacement: Float[Array, "b h w 2"],
    interpolation: Interpolation = "linear",
) -> Float[Array, "b 32*h 32*w c"]:
    """Each block of 32x32 pixels from where its displacement and those of its neighbours point.

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
    down, right = (jax.lax.index_in_dim(_with_edges(displacement, 1), i, 3, keepdims=False) for i in range(2))
    y, x = _fetched_lines(down, 1, height, margin), _fetched_lines(right, 2, width, margin)
    y = y + height * jax.lax.broadcasted_iota(jnp.int32, y.shape, 0)
    places = jnp.expand_dims(y, 4) * width + jnp.expand_dims(x, 3)
    patches = jnp.take(picture.reshape(b * height * width, c), places, axis=0, mode="clip")
    patches = _between_lines(patches, down, SHARES[:, None, None], interpolation, axis=3)
    patches = _between_lines(patches, right, SHARES[:, None], interpolation, axis=4)
    blocks = _overlapped(_overlapped(patches, rows, 1, 3), columns, 2, 4)
    return blocks.reshape(b * rows, columns, SIDE, SIDE * c).swapaxes(1, 2).reshape(b, height, width, c)


def _fetched_lines(displacement: Float[Array, "b h w"], axis: int, size: int, margin: int) -> Int[Array, "b h w n"]:
    """Rows or columns that each block fetches; one more than it shows, since these may lie between, and the margin."""
    # Ranges of symbolic sizes, which exports have, are beyond a converter; this is not.
    block = jax.lax.broadcasted_iota(jnp.int32, displacement.shape, axis)
    first = jnp.floor(displacement).astype(jnp.int32) + SIDE * block - (SIDE + QUADRANT)
    lines = np.arange(-margin, PATCH + 1 + margin, dtype=np.int32)
    return jnp.clip(jnp.expand_dims(first, 3) + lines, 0, size - 1)


def _between_lines(
    patches: Array,
    displacement: Float[Array, "b h w"],
    share: Float[np.ndarray, "64 ..."],
    interpolation: Interpolation,
    axis: int,
) -> Array:
    """Lines between each line and the next one, where their displacement is no whole number, by their shares."""
    part = jnp.expand_dims(displacement - jnp.floor(displacement), (3, 4, 5))
    lines = [jax.lax.slice_in_dim(patches, i, PATCH + i, axis=axis) for i in range(2 + 2 * MARGIN[interpolation])]
    # `_weight_at` written out: it compares, which with so many axes is beyond a converter.
    if interpolation == "linear":
        weights = [1.0 - part, part]
    else:
        weights = [_far(1.0 + part), _near(part), _near(1.0 - part), _far(2.0 - part)]
    terms = [weight * line for weight, line in zip(weights, lines, strict=True)]
    return sum(terms[1:], terms[0]) * share


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


def _with_edges(x: Array, count: int) -> Array:
    """Rows and columns repeated beyond the edges."""
    for axis in (1, 2):
        last = x.shape[axis] - 1
        before, after = (jax.lax.slice_in_dim(x, at, at + 1, axis=axis) for at in (0, last))
        x = jax.lax.concatenate([*[before] * count, x, *[after] * count], axis)
    return x


def _displace_forwards(
    picture: Array, displacement: Array, interpolation: Interpolation
) -> tuple[Array, tuple[Array, Array]]:
    return displace(picture, displacement, interpolation), (picture, displacement)


def _displace_backwards(interpolation: Interpolation, inputs: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    by_products = functools.partial(_displace_by_products, interpolation=interpolation)
    return jax.vjp(by_products, *inputs)[1](slope)


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


def find_macs(blocks: int, interpolation: Interpolation = "linear") -> int:
    """Multiply-accumulates of `find_displacements` on so many blocks of 32x32: squares of differences are one each."""
    compared = blocks * len(NODES) ** 2 * (SIDE // 2) ** 2
    return compared + (REFINEMENTS + 1) * displace_macs(blocks, 1, interpolation)


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
    picture = _with_edges(picture, REACH)
    rows, columns = height // SIDE, width // SIDE
    x = picture.reshape(b, rows + 1, SIDE, (width + 2 * REACH) * c)
    x = _with_next(x, 1, 2).reshape(b * rows, 2 * SIDE, columns + 1, SIDE * c)
    x = _with_next(x, 2, 3)
    return x.swapaxes(1, 2).reshape(b * rows * columns, 2 * SIDE, 2 * SIDE, c)


def _with_next(x: Array, axis: int, along: int) -> Array:
    """Every item of an axis and the next one, joined along another: one item fewer."""
    count = x.shape[axis] - 1
    return jnp.concatenate([jax.lax.slice_in_dim(x, i, count + i, axis=axis) for i in range(2)], axis=along)


def find_displacements(
    picture: Float[Array, "b 32*h 32*w 3"],
    reference: Float[Array, "b 32*h 32*w 3"],
    refinements: int = REFINEMENTS,
    interpolation: Interpolation = "linear",
) -> Wanted:
    """Where each block of 32x32 pixels of a picture lies in the reference: for an encoder. No gradient passes through.

    All displacements of whole two pixels within REACH are compared on halves of the size, and a parabola tells what
    lies between; then steps of Lucas and Kanade (1981) refine the best one. It is 0 where that is as good.

    Args:
      picture, reference: in [-1, 1].
      refinements: steps.
      interpolation: of `displace`, which shows what is found.
    """
    at = functools.partial(_at, interpolation=interpolation)
    x, ref = jax.lax.stop_gradient((jnp.mean(picture, -1), jnp.mean(reference, -1)))
    coarse, errors = _search_halves(x, ref)
    found = coarse
    for _ in range(refinements):
        found = found + _refinement(x, at(ref, found))
        found = jnp.clip(found, coarse - 2.5, coarse + 2.5)
        found = jnp.clip(found, 1.0 - REACH, REACH - 1.0)
    shown = at(ref, found)
    moved, still = (_block_means(jnp.square(x - y), SIDE) for y in (shown, ref))
    moves = (moved < still)[..., None]
    weights = jnp.where(moves[..., None], _weights_of_errors(shown), _weights_of_errors(ref))
    wanted = jnp.where(moves, found, 0.0)
    of_pixel = jnp.trace(weights, axis1=-2, axis2=-1)[..., None] / 2.0
    share = jnp.mean(of_pixel, axis=(1, 2), keepdims=True)
    own = jnp.sum(errors * shares_of_nodes(wanted), axis=-1, keepdims=True)
    limits = SEEN_IN_HALVES * jnp.maximum(errors - own, 0.0) + of_pixel
    return Wanted(*jax.lax.stop_gradient((wanted, weights / share[..., None], limits / share, SIDE**2 * share)))


def carried(
    picture: Float[Array, "b 32*h 32*w 3"],
    before: Float[Array, "b 32*h 32*w 3"],
    reference: Float[Array, "b 32*h 32*w 3"],
    displacement: Float[Array, "b h w 2"],
    interpolation: Interpolation = "linear",
) -> Float[Array, "b 2*h 2*w"]:
    """Share of the error of each block of 16x16 pixels that its frame hands on to the next one: for an encoder.

    What a displaced picture misses of the next one has to be sent anew, and takes with it what was right or wrong
    there; the more so, the larger it is beside the error. From the frame before to this one tells of the next.

    Args:
      picture, before: what is to be coded, and was in the frame before; in [-1, 1].
      reference: what `before` became.
      displacement: of the blocks, in pixels.
      interpolation: of `displace`.
    """
    x, was, ref = (jnp.mean(p, axis=-1) for p in (picture, before, reference))
    had = _block_means(jnp.square(was - ref), QUADRANT) + LEAST_ERROR
    new = _block_means(jnp.square(x - _at(was, displacement, interpolation)), QUADRANT)
    return CARRIED * had / (had + new)


def shares_of_nodes(displacement: Float[Array, "*n 2"]) -> Float[Array, "*n 17*17"]:
    """What displacements have of each one of whole two pixels: those around them, by nearness; they sum to 1."""
    apart = jnp.abs(jnp.clip(displacement, -REACH, REACH)[..., None] - NODES) / 2.0
    down, right = jnp.unstack(jnp.maximum(1.0 - apart, 0.0), axis=-2)
    return (down[..., :, None] * right[..., None, :]).reshape(*displacement.shape[:-1], len(NODES) ** 2)


def _weights_of_errors(shown: Float[Array, "b y x"]) -> Float[Array, "b h w 2 2"]:
    """Squared error in a block of what is shown for each squared pixel of displacement, by its gradients."""
    dd, dr, rr = _squared_gradients(*_gradients(shown))
    rows = [jnp.stack([dd + LEAST_WEIGHT, dr], axis=-1), jnp.stack([dr, rr + LEAST_WEIGHT], axis=-1)]
    return jnp.stack(rows, axis=-2)


def _search_halves(
    x: Float[Array, "b y x"], ref: Float[Array, "b y x"]
) -> tuple[Float[Array, "b h w 2"], Float[Array, "b h w 17*17"]]:
    """The best displacement of whole two pixels and what a parabola adds to it, and the errors of all of them."""
    x, ref = _block_means(x, 2), _block_means(ref, 2)
    b, height, width = x.shape
    reach = REACH // 2
    around = jnp.pad(ref, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    steps = NODES // 2
    shifts = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)

    def error(shift: Array) -> Array:
        moved = jax.lax.dynamic_slice(around, (0, reach + shift[0], reach + shift[1]), (b, height, width))
        return _block_means(jnp.square(x - moved), SIDE // 2)

    errors = jax.lax.map(error, shifts, batch_size=len(steps))
    costs = errors + DISTANCE_COST * 2.0 * jnp.sum(jnp.abs(shifts), axis=-1)[:, None, None, None]
    best = jnp.argmin(costs, axis=0)
    between = [_vertex(costs, best, at) for at in (len(steps), 1)]
    return 2.0 * (shifts[best] + jnp.stack(between, axis=-1)), jnp.moveaxis(errors, 0, -1)


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
    """One step towards the displacement that makes `moved` x: least squares over a block."""
    down, right = _gradients(moved)
    dd, dr, rr = _squared_gradients(down, right)
    dd, rr = dd + FLATNESS, rr + FLATNESS
    de, re = (_block_means(gradient * (x - moved), SIDE) for gradient in (down, right))
    step = jnp.stack([rr * de - dr * re, dd * re - dr * de], axis=-1) / (dd * rr - dr * dr)[..., None]
    return jnp.clip(step, -1.5, 1.5)


def _gradients(picture: Float[Array, "b y x"]) -> tuple[Float[Array, "b y x"], Float[Array, "b y x"]]:
    """(downwards, to the right)."""
    around = jnp.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return 0.5 * (around[:, 2:, 1:-1] - around[:, :-2, 1:-1]), 0.5 * (around[:, 1:-1, 2:] - around[:, 1:-1, :-2])


def _squared_gradients(down: Float[Array, "b y x"], right: Float[Array, "b y x"]) -> tuple[Float[Array, "b h w"], ...]:
    """Means over blocks of down x down, down x right, right x right."""
    return tuple(_block_means(a * b, SIDE) for a, b in ((down, down), (down, right), (right, right)))


def _at(
    ref: Float[Array, "b y x"], displacement: Float[Array, "b h w 2"], interpolation: Interpolation
) -> Float[Array, "b y x"]:
    return displace(ref[..., None], displacement, interpolation)[..., 0]


def _block_means(x: Float[Array, "b y x"], side: int) -> Float[Array, "b h w"]:
    b, height, width = x.shape
    return jnp.mean(x.reshape(b, height // side, side, width // side, side), axis=(2, 4))
