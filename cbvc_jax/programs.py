"""The compiled programs of one model at one frame size: what an encoder and a decoder do with a frame.

Only indices that cover the true frame are sent; both sides fill the rest, up to a multiple of 64 pixels, by repeating
the nearest one. So the encoder pads a frame by repeating its last blocks: what the repeated indices show.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8, UInt16

from cbvc_jax.bitstream import Skip
from cbvc_jax.compilation import compiled
from cbvc_jax.geometry import (
    FOLLOWS,
    GROUPS,
    LATENT_STRIDE,
    MOVES,
    POINTING_GROUP,
    POINTING_STAGE,
    STAGE_STRIDES,
    ceil_div,
    padded_size,
    stage_grids,
)
from cbvc_jax.model import CodebookSet, CodecModel, Params
from cbvc_jax.modules.blocks import pixel_shuffle
from cbvc_jax.modules.displacement import POINTER_SCALE
from cbvc_jax.modules.motion_estimation import Wanted, carried
from cbvc_jax.modules.search import IndexCosts, Repeats, look_up
from cbvc_jax.modules.transforms import to_8bit, to_unit
from cbvc_jax.presets import Preset
from cbvc_jax.process import release_freed
from cbvc_jax.weights import Model

BLOCK = STAGE_STRIDES[0]
"""Side of what can be skipped, in pixels."""
RELEASE_EVERY = 16
"""Frames after which memory that was freed goes back to the system: it would add up, to a twentieth of the whole."""
Device = Any
"""One of `jax.devices()`."""
Frame = UInt8[np.ndarray, "h w 3"]
IndexMaps = tuple[UInt16[np.ndarray, "g rows cols"], ...]

_placed: weakref.WeakKeyDictionary[Model, dict[Device | None, tuple[Params, CodebookSet]]] = weakref.WeakKeyDictionary()


def _on_device(model: Model, device: Device | None) -> tuple[Params, CodebookSet]:
    """Parameters and codebooks where programs run: arrays of the host would be copied there in every call."""
    copies = _placed.setdefault(model, {})
    if device not in copies:
        copies[device] = jax.device_put((model.params, model.codebooks), device)
    return copies[device]


class Programs:
    """The compiled programs of one model at one frame size, shared by encoder and decoder."""

    def __init__(self, model: Model, height: int, width: int, device: Device | None = None):
        self.preset, self.height, self.width = model.preset, height, width
        self.params, self.codebooks = _on_device(model, device)
        self.padded = padded_size(height, width)
        self.grids = stage_grids(height, width)
        self._rows, self._columns = _padding(height, self.padded[0]), _padding(width, self.padded[1])
        self._restored = 0

    def search(
        self,
        frame: Frame,
        y_ref: Array | None,
        kind: str,
        costs: list[IndexCosts] | None = None,
        found: Wanted | None = None,
    ) -> list[Int32[Array, "1 rows cols g"]]:
        """Indices of each stage; with `costs` by error and cost together; `found` is what `find` has found."""
        books = self.codebooks[kind]
        return _search(self.preset, self.grids, kind, self.params, books, self._padded(frame), y_ref, costs, found)

    def find(self, frame: Frame, before: Frame, y_ref: Array) -> tuple[Wanted, Float[Array, "rows cols"]]:
        """What displacements should be, where frames send them, and what `carried` says of blocks of 16x16 pixels."""
        frames = self._padded(frame), self._padded(before)
        return _find(self.preset, self.grids[0], self.params, *frames, y_ref)

    def _padded(self, frame: Frame) -> UInt8[np.ndarray, "1 y x 3"]:
        return frame[self._rows][:, self._columns][None]

    def sensitivity(self, indices: list[Any], y_ref: Array | None, kind: str) -> Float[Array, "stages groups"]:
        size, books = (self.height, self.width), self.codebooks[kind]
        return _sensitivity(self.preset, self.padded, size, kind, self.params, books, indices, y_ref)

    def restore(
        self, indices: list[Any], y_ref: Array | None, kind: str, skip: Skip | None = None
    ) -> Float[Array, "1 h8 w8 c"]:
        self._restored += 1
        if self._restored % RELEASE_EVERY == 0:
            release_freed()
        return _restore(self.preset, self.padded, kind, self.params, self.codebooks[kind], indices, y_ref, skip)

    def idle_errors(
        self, frame: Frame, indices: list[Any], y_ref: Array, kind: str, ways: int
    ) -> Float[Array, "n rows cols"]:
        """Errors of each block of 16x16 pixels, as `block_errors` has them, where no residual is sent: those of each
        way but CODED, as far as there are `ways` of them."""
        books = self.codebooks[kind]
        return _idle_errors(self.preset, self.padded, ways, self.params, books, frame, indices, y_ref)

    def picture(self, y_hat: Array) -> UInt8[Array, "h w 3"]:
        return _picture(self.preset, (self.height, self.width), self.params, y_hat)


def _padding(size: int, padded: int) -> np.ndarray:
    """Which of `size` rows or columns each of the padded ones shows: the last up to a whole block, then that block."""
    blocks = ceil_div(size, BLOCK) * BLOCK
    n = np.arange(padded)
    return np.minimum(np.where(n < blocks, n, blocks - BLOCK + n % BLOCK), size - 1)


@functools.partial(compiled, static_argnums=(0, 1, 2))
def _search(preset: Preset, grids, kind: str, params, codebooks, frame, y_ref, costs, found):
    model, variables = CodecModel(preset), {"params": params}
    y = model.apply(variables, to_unit(frame), method="latents")
    if costs is not None:
        sizes = stage_grids(*frame.shape[1:3])
        costs = [_fill_costs(c, *size) for c, size in zip(costs, sizes, strict=True)]
    options: dict[str, Any] = {"costs": costs}
    if found is not None:
        options["pointers"] = model.apply(variables, y, y_ref, found, codebooks, grids, costs, method="point")
    codes: Any = model.apply(variables, y, y_ref, codebooks, kind, grids, **options, method="encode")
    return [c.indices[:, :rows, :cols].astype(jnp.uint16) for c, (rows, cols) in zip(codes, grids, strict=True)]


@functools.partial(compiled, static_argnums=(0, 1))
def _find(preset: Preset, grid: tuple[int, int], params, frame, before, y_ref):
    model, variables = CodecModel(preset), {"params": params}
    y: Any = model.apply(variables, to_unit(frame), method="latents")
    y_before: Any = model.apply(variables, to_unit(before), method="latents")
    found: Any = model.apply(variables, y, y_ref, method="find")
    x, x_before, x_ref = (pixel_shuffle(latents, LATENT_STRIDE) for latents in (y, y_before, y_ref))
    shares = carried(x, x_before, x_ref, found.displacement, preset.interpolation or "linear")
    return found, shares[0, : grid[0], : grid[1]]


def _fill_costs(costs: IndexCosts, rows: int, cols: int) -> IndexCosts:
    """Costs of the indices that are sent, for all that are searched."""
    if costs.of_index.ndim > 2:
        costs = costs._replace(of_index=fill(costs.of_index, rows, cols))
    if costs.repeats is not None:
        costs = costs._replace(repeats=Repeats(*(fill(c, rows, cols) for c in costs.repeats)))
    if costs.scale is not None:
        costs = costs._replace(scale=fill(costs.scale, rows, cols))
    return costs


def fill(maps: Array, rows: int, cols: int) -> Array:
    """Maps [1, h, w, ...] made larger by repeating the nearest entry."""
    rest = [(0, 0)] * (maps.ndim - 3)
    return jnp.pad(maps, ((0, 0), (0, rows - maps.shape[1]), (0, cols - maps.shape[2]), *rest), mode="edge")


def filled(indices: list[Array], padded: tuple[int, int]) -> list[Int32[Array, "1 rows cols g"]]:
    """Indices of the padded frame from those that are sent."""
    return [fill(i, *grid).astype(jnp.int32) for i, grid in zip(indices, stage_grids(*padded), strict=True)]


@functools.partial(compiled, static_argnums=(0, 1, 2, 3))
def _sensitivity(preset: Preset, padded, size, kind: str, params, codebooks, indices, y_ref):
    """Squared error in the picture, in 8-bit levels, for a unit of squared distance in each codebook's codewords.

    Measured by adding noise to those of a stage, half as strong as they are themselves; to displacements, which are a
    codebook apart, of a pixel.
    """
    full = filled(indices, padded)
    codewords = [look_up(i, codebook) for i, codebook in zip(full, codebooks, strict=True)]
    picture = functools.partial(levels, preset, size, kind, params, y_ref)
    plain = picture(codewords)

    def of(s: int, noise: Array) -> Array:
        error = jnp.sum(jnp.square(picture([*codewords[:s], codewords[s] + noise, *codewords[s + 1 :]]) - plain)) / 3.0
        return error / jnp.sum(jnp.square(noise))

    found = []
    for s, c in enumerate(codewords):
        noise = 0.5 * jnp.std(c) * jax.random.normal(jax.random.key(s), c.shape)
        if y_ref is None or not preset.displaces or s != POINTING_STAGE:
            found.append(jnp.full(GROUPS, of(s, noise)))
            continue
        points = (jnp.arange(GROUPS) == POINTING_GROUP)[:, None]
        strength = POINTER_SCALE * (jnp.arange(c.shape[-1]) < 2)
        pixel = strength * jax.random.normal(jax.random.key(len(codewords)), c.shape)
        found.append(jnp.where(points[:, 0], of(s, points * pixel), of(s, ~points * noise)))
    return jnp.stack(found)


def levels(
    preset: Preset, size: tuple[int, int], kind: str, params: Params, y_ref: Array | None, codewords: list[Array]
) -> Float[Array, "1 h w 3"]:
    """The picture that the codewords of a padded frame make, in 8-bit levels before rounding."""
    model, variables = CodecModel(preset), {"params": params}
    y_hat = model.apply(variables, codewords, y_ref, kind, method="restore")
    x_hat: Any = model.apply(variables, y_hat, method="picture")
    return 255.0 * jnp.clip(x_hat[:, : size[0], : size[1]], 0.0, 1.0)


@functools.partial(compiled, static_argnums=(0, 1, 2))
def _restore(preset: Preset, padded: tuple[int, int], kind: str, params, codebooks, indices, y_ref, skip):
    full = filled(indices, padded)
    blocks = None if skip is None else fill(skip[None].astype(jnp.int32), *stage_grids(*padded)[0])
    return CodecModel(preset).apply({"params": params}, full, y_ref, codebooks, kind, blocks, method="decode")


@functools.partial(compiled, static_argnums=(0, 1, 2))
def _idle_errors(preset: Preset, padded: tuple[int, int], ways: int, params, codebooks, frame, indices, y_ref):
    codewords = [look_up(i, codebook) for i, codebook in zip(filled(indices, padded), codebooks, strict=True)]
    apply: Any = functools.partial(CodecModel(preset).apply, {"params": params})
    shown: list[Any] = [y_ref]
    if ways > MOVES:
        shown.append(apply(codewords, y_ref, method="moved"))
    for leader in range(ways - FOLLOWS):
        leaders = jnp.full((1, *stage_grids(*padded)[0]), leader)
        shown.append(apply(codewords, y_ref, leaders, method="followed"))
    height, width, _ = frame.shape
    pictures = (apply(y_hat, method="picture")[0, :height, :width] for y_hat in shown)
    return jnp.stack([block_errors(frame, to_8bit(x_hat)) for x_hat in pictures])


@functools.partial(compiled, static_argnums=(0, 1))
def _picture(preset: Preset, size: tuple[int, int], params, y_hat):
    x_hat: Any = CodecModel(preset).apply({"params": params}, y_hat, method="picture")
    return to_8bit(x_hat[0, : size[0], : size[1]])


def batched(maps: IndexMaps) -> list[UInt16[np.ndarray, "1 rows cols g"]]:
    """Indices as the programs take them."""
    return [i.transpose(1, 2, 0)[None] for i in maps]


@jax.jit
def block_errors(frame: UInt8[Array, "h w 3"], shown: UInt8[Array, "h w 3"]) -> Float[Array, "rows cols"]:
    """Squared error in each block of 16x16 pixels, in 8-bit levels, mean over R, G and B."""
    error = jnp.mean(jnp.square(frame.astype(jnp.float32) - shown.astype(jnp.float32)), axis=-1)
    return sum_squares(error, BLOCK, *(-(-n // BLOCK) * BLOCK for n in error.shape))


def sum_squares(maps: Float[Array, "h w"], side: int, height: int, width: int) -> Float[Array, "rows cols"]:
    """Sums over squares of `side` x `side`, of maps that are 0 beyond their end up to `height` x `width`."""
    maps = jnp.pad(maps, ((0, height - maps.shape[0]), (0, width - maps.shape[1])))
    return jnp.sum(maps.reshape(height // side, side, width // side, side), axis=(1, 3))
