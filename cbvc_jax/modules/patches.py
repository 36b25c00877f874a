"""Patches of pictures: squares fetched from anywhere, and what the gradient of that puts back there.

A gather, and a scatter for the way back, is what accelerators and converters of programs are good at. XLA's CPU
backend computes an address for each number, and takes with it into the gather whatever made the picture, once more for
each weight that a pixel has; and a scatter takes it longer still. There patches are copied one after the other.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cbvc_jax.modules.blocks import with_edges

Patches = Float[Array, "b h w side side*k n"]
"""Channels are the last axis, of n, or part of columns, k numbers each: k n is their number."""


def fetch(picture: Float[Array, "b y x c"], first: Int[Array, "b h w 2"], side: int) -> Patches:
    """Patches [b, h, w, side, side, c] of `side` lines, from those in `first`, (row, column), on; beyond its edges a
    picture goes on with its outermost pixels."""
    b, height, width, c = picture.shape
    rows, columns = (
        jnp.clip(jnp.expand_dims(jax.lax.index_in_dim(first, i, -1, False), 3) + np.arange(side, dtype=np.int32), 0, n)
        for i, n in enumerate((height - 1, width - 1))
    )
    # Ranges of symbolic sizes, which exports have, are beyond a converter; this is not.
    rows = rows + height * jax.lax.broadcasted_iota(jnp.int32, rows.shape, 0)
    places = jnp.expand_dims(rows, 4) * width + jnp.expand_dims(columns, 3)
    return jnp.take(picture.reshape(b * height * width, c), places, axis=0, mode="clip")


def fetch_in_turn(picture: Float[Array, "b y x c"], first: Int[Array, "b h w 2"], side: int, border: int) -> Patches:
    """The same, [b, h, w, side, side c, 1]; on CPUs, one after the other. Not for exports.

    No patch may reach further than `border` pixels beyond the picture.
    """

    def gathered(picture: Array, first: Array) -> Array:
        patches = fetch(picture, first, side)
        return patches.reshape(*patches.shape[:4], -1, 1)

    return jax.lax.platform_dependent(
        picture, first, cpu=functools.partial(_fetch_in_turn, side=side, border=border), default=gathered
    )


def put_back(
    patches: Patches, first: Int[Array, "b h w 2"], shape: tuple[int, int, int, int], border: int
) -> Float[Array, "b y x c"]:
    """What `fetch` of a picture of this shape does, the other way: the transpose of a linear function.

    No patch may reach further than `border` pixels beyond the picture.
    """
    side, c = patches.shape[3], shape[-1]

    def scattered(patches: Array, first: Array) -> Array:
        patches = patches.reshape(*patches.shape[:4], side, c)
        of_picture = functools.partial(fetch, first=first, side=side)
        (picture,) = jax.linear_transpose(of_picture, jax.ShapeDtypeStruct(shape, patches.dtype))(patches)
        return picture

    in_turn = functools.partial(_put_back_in_turn, shape=shape, border=border)
    return jax.lax.platform_dependent(patches, first, cpu=in_turn, default=scattered)


def _fetch_in_turn(picture: Array, first: Array, side: int, border: int) -> Array:
    c = picture.shape[-1]
    canvas = with_edges(picture, border)
    starts = _starts(first, canvas.shape, border)
    canvas = canvas.reshape(-1, canvas.shape[2] * c)

    def copy(i: Array, patches: Array) -> Array:
        patch = jax.lax.dynamic_slice(canvas, [start[i] for start in starts], (side, side * c))
        return jax.lax.dynamic_update_index_in_dim(patches, patch, i, axis=0)

    count = len(starts[0])
    # Begun as numbers of its own: those shared with other loops, as zeros are, XLA copies for each.
    patches = jnp.broadcast_to(canvas[starts[0][0], starts[1][0]], (count, side, side * c))
    patches = jax.lax.fori_loop(0, count, copy, patches)
    return patches.reshape(*first.shape[:3], side, side * c, 1)


def _put_back_in_turn(patches: Array, first: Array, shape: tuple[int, int, int, int], border: int) -> Array:
    b, height, width, c = shape
    size = (b, height + 2 * border, width + 2 * border, c)

    def add(canvas: Array, placed: tuple[Any, Array]) -> tuple[Array, None]:
        start, patch = placed
        there = jax.lax.dynamic_slice(canvas, start, patch.shape)
        return jax.lax.dynamic_update_slice(canvas, there + patch, start), None

    side, starts = patches.shape[3], _starts(first, size, border)
    # Zeros of its own, as there: XLA knows nothing of what they are made of.
    empty = jnp.broadcast_to(0.0 * patches.reshape(-1)[0], (size[0] * size[1], size[2] * c))
    canvas, _ = jax.lax.scan(add, empty, (starts, patches.reshape(-1, side, side * c)))
    return _edges_folded(canvas.reshape(size), border)


def _starts(first: Array, size: tuple[int, ...], border: int) -> tuple[Int[Array, "n"], Int[Array, "n"]]:
    """Where patches begin on pictures of `size`, borders with them, that lie one below the other, flat along a row."""
    _, height, _, c = size
    rows, columns = (first[..., i] + border for i in range(2))
    rows = rows + height * np.arange(size[0], dtype=np.int32)[:, None, None]
    return rows.reshape(-1), c * columns.reshape(-1)


def _edges_folded(canvas: Float[Array, "b y+2n x+2n c"], border: int) -> Float[Array, "b y x c"]:
    """`with_edges` the other way: the outermost pixels get all that lies beyond them."""
    for axis in (1, 2):
        size = canvas.shape[axis]
        ends = (0, border + 1), (size - border - 1, size)
        first, last = (jnp.sum(jax.lax.slice_in_dim(canvas, *end, axis=axis), axis, keepdims=True) for end in ends)
        between = jax.lax.slice_in_dim(canvas, border + 1, size - border - 1, axis=axis)
        canvas = jnp.concatenate([first, between, last], axis=axis)
    return canvas
