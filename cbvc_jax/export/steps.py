"""The decoder's step as a pure function with the model's weights inside: what every format exports.

    keyframe         (i1, i2, i3)               -> (x_hat, y_hat)
    predicted frame  (i1, i2, i3, y_ref, skip)  -> (x_hat, y_hat)

Shapes, for a padded frame of 64 a x 64 b pixels: i1 int32 [1, 4a, 4b, 2], i2 [1, 2a, 2b, 2], i3 [1, a, b, 2], y_ref and
y_hat float32 [1, 8a, 8b, c], skip int32 [1, 4a, 4b], what becomes of blocks as `cbvc_jax.geometry` has it, x_hat
float32 [1, 64a, 64b, 3] in 8-bit levels, neither rounded nor clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from cbvc_jax.export.manifest import INDEX_NAMES, REFERENCE_NAMES
from cbvc_jax.geometry import GROUPS, LATENT_STRIDE, stage_grids
from cbvc_jax.model import CodecModel
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.weights import Model

LEVELS = 255.0


def step_kinds(model: Model) -> tuple[str, ...]:
    """Kinds of frames that have a step of their own: "key" and every rate."""
    return (KEYFRAME, *model.preset.rates)


def make_step(model: Model, kind: str) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """The step of one kind of frame; its arguments are those of `step_arguments`."""
    codec, variables = CodecModel(model.preset), {"params": model.params}

    def step(i1: Any, i2: Any, i3: Any, y_ref: Any = None, skip: Any = None) -> tuple[Any, Any]:
        y_hat = codec.apply(variables, [i1, i2, i3], y_ref, model.codebooks[kind], kind, skip, method="decode")
        return LEVELS * codec.apply(variables, y_hat, method="picture"), y_hat  # pyright: ignore

    return step


def step_arguments(model: Model, kind: str, size: tuple[int, int] | None) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a step's arguments by name, for padded frames of `size` (height, width), or for any size with None."""
    if size is None:
        a, b = export.symbolic_shape("a, b")
        grids: Any = ((4 * a, 4 * b), (2 * a, 2 * b), (a, b))
        latents: Any = (8 * a, 8 * b)
    else:
        grids, latents = stage_grids(*size), (size[0] // LATENT_STRIDE, size[1] // LATENT_STRIDE)
    arguments = {
        name: jax.ShapeDtypeStruct((1, *grid, GROUPS), jnp.int32) for name, grid in zip(INDEX_NAMES, grids, strict=True)
    }
    if kind != KEYFRAME:
        y_ref = jax.ShapeDtypeStruct((1, *latents, model.preset.latent_channels), jnp.float32)
        skip = jax.ShapeDtypeStruct((1, *grids[0]), jnp.int32)
        arguments |= zip(REFERENCE_NAMES, (y_ref, skip), strict=True)
    return arguments
