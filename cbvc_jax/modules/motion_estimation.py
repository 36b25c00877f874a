"""Motion estimation: where each block of a picture lies in the reference, what an error of that costs, and how long an
error lasts. An encoder's affair: no decoder repeats it.

    picture, reference --all of whole two pixels, on halves of the size--> a parabola --> Lucas and Kanade
                              |                                                                 |
                              +--> limits of what an error costs         displacement, weights of errors
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cbvc_jax.modules.displacement import QUADRANT, REACH, SIDE, Interpolation, displace_in_turn, displace_macs

DISTANCE_COST = 2e-5
"""Mean squared error, pixels in [-1, 1], that an encoder accepts for a displacement shorter by one pixel."""
NODES = np.arange(-REACH, REACH + 1, 2)
"""Displacements of whole two pixels along one axis: those that an encoder compares first."""
SEEN_IN_HALVES = 1.5
"""Squared error of a block for what halves of its size show of it, which lack the finest detail."""
REFINEMENTS = 2
FLATNESS = 2e-4
"""Added to the squared gradients of a block: where nothing has an edge, nothing is refined."""
LEAST_WEIGHT = 1e-5
"""Added to them where they say what an error costs: it costs something everywhere."""
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
      interpolation: of `cbvc_jax.modules.displacement.displace`, which shows what is found.
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
      interpolation: of `cbvc_jax.modules.displacement.displace`.
    """
    x, was, ref = (jnp.mean(p, axis=-1) for p in (picture, before, reference))
    had = _block_means(jnp.square(was - ref), QUADRANT) + LEAST_ERROR
    new = _block_means(jnp.square(x - _at(was, displacement, interpolation)), QUADRANT)
    return CARRIED * had / (had + new)


def find_macs(blocks: int, interpolation: Interpolation = "linear") -> int:
    """Multiply-accumulates of `find_displacements` on so many blocks of 32x32: squares of differences are one each."""
    compared = blocks * len(NODES) ** 2 * (SIDE // 2) ** 2
    return compared + (REFINEMENTS + 1) * displace_macs(blocks, 1, interpolation)


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
    return displace_in_turn(ref[..., None], displacement, interpolation)[..., 0]


def _block_means(x: Float[Array, "b y x"], side: int) -> Float[Array, "b h w"]:
    b, height, width = x.shape
    return jnp.mean(x.reshape(b, height // side, side, width // side, side), axis=(2, 4))
