"""A larger model that begins as a smaller one: it makes the same indices and pictures, and has room to learn (Net2Net,
1511.05641).

Every channel becomes r copies of itself. A layer that reads copies gives each of them 1/r of the weight, plus noise
that cancels over the copies of one channel: outputs stay what they were, no two copies get the same gradient, and the
weights have the variance that a layer of the new width starts with. Blocks that are new begin as identity.
"""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from cbvc_jax.errors import ModelError
from cbvc_jax.geometry import GROUPS
from cbvc_jax.model import CodebookSet, Params, init_params
from cbvc_jax.presets import Preset
from cbvc_jax.weights import SEPARATOR, Model, flatten

_INPUT_PARTS = {
    r"params/decoder/output/outward/.*": 4,
    r"params/quantizer/stage_encoders_0/inward/.*": 4,
    r"params/quantizer/stage_encoders_\d/inward/.*": 4 * GROUPS,
    r"params/quantizer/dequantize_heads_\d/inward/.*": GROUPS,
}
_OUTPUT_PARTS = {
    r"params/quantizer/restore_heads_\d/outward/.*": 4,
    r"params/quantizer/(quantize_heads_\d/outward|latent_heads_\d)/.*": GROUPS,
}
"""Axes that hold several sets of channels one after the other (corners, positions of a pixel shuffle, groups): each is
repeated by itself."""
_WIDTHS = ("latent_channels", "stage_channels", "codeword_dim", "heads")
_DEPTHS = ("encoder_depth", "decoder_depth", "context_depth", "quantizer_depth")


def can_widen(small: Preset, large: Preset) -> bool:
    """Whether `large` is `small` with widths that are multiples, and depths that are not smaller. Names may differ."""
    same = dataclasses.replace(large, name=small.name, **{f: getattr(small, f) for f in (*_WIDTHS, *_DEPTHS)})
    return (
        small.blocks == "compact"
        and same == small
        and all(getattr(large, f) % getattr(small, f) == 0 for f in _WIDTHS)
        and all(getattr(large, f) >= getattr(small, f) for f in _DEPTHS)
    )


def widen(rng: Array, model: Model, preset: Preset) -> tuple[Params, CodebookSet]:
    """Parameters and codebooks of `preset` that do what `model` does, up to rounding.

    Args:
      rng: key of the noise, and of the blocks that are new.
      model: of a preset for which `can_widen(model.preset, preset)`.
      preset: the larger one, with the same rates and codebook sizes.

    Raises:
      ModelError: `preset` is not a larger one of the same kind.
    """
    if not can_widen(model.preset, preset):
        raise ModelError(
            f"'{preset.name}' cannot begin as '{model.name}': widths must be multiples of those of "
            f"'{model.preset.name}', depths no smaller, and all else the same"
        )
    params, codebooks = init_params(rng, preset)
    old = {name: np.asarray(value, np.float32) for name, value in flatten(model.params, model.codebooks).items()}
    noise = np.random.default_rng(np.asarray(jax.random.key_data(rng)).astype(np.uint32))
    leaves = []
    for name, value in flatten(params, codebooks).items():
        if name in old:
            leaves.append(jnp.asarray(_widen(name, old[name], value.shape, noise)))
        else:
            # What a new block adds to its input is its last product's output.
            leaves.append(jnp.zeros_like(value) if "/output/" in name else value)
    tree = jax.tree_util.tree_structure({"params": params, "codebooks": codebooks})
    restored = jax.tree_util.tree_unflatten(tree, leaves)
    return restored["params"], restored["codebooks"]


def _widen(name: str, old: np.ndarray, shape: tuple[int, ...], noise: np.random.Generator) -> np.ndarray:
    leaf = name.rsplit(SEPARATOR, 1)[-1]
    if leaf == "bias" and old.ndim == 3:
        return np.tile(old, (shape[0] // old.shape[0], 1, 1))  # the attention's, a head
    wide = _repeat(old, old.ndim - 1, shape[-1], _parts(_OUTPUT_PARTS, name))
    if leaf != "kernel" or shape[-2] == old.shape[-2]:
        return wide
    axis, parts = old.ndim - 2, _parts(_INPUT_PARTS, name)
    copies = shape[axis] // old.shape[axis]
    wide = _repeat(wide / copies, axis, shape[axis], parts)
    drawn = noise.standard_normal(wide.shape, np.float32) * np.sqrt(np.mean(old**2) / copies**2)
    apart = (*shape[:axis], parts, copies, shape[axis] // (parts * copies), shape[-1])
    drawn = drawn.reshape(apart)
    drawn -= drawn.mean(axis + 1, keepdims=True)
    # Two copies share a degree of freedom: the rest is made as large as the noise was.
    drawn *= np.sqrt(copies / (copies - 1))
    return wide + drawn.reshape(shape)


def _parts(table: dict[str, int], name: str) -> int:
    return next((parts for pattern, parts in table.items() if re.fullmatch(pattern, name)), 1)


def _repeat(x: np.ndarray, axis: int, size: int, parts: int) -> np.ndarray:
    """The axis made `size` long: each of its `parts` repeated whole."""
    copies = size // x.shape[axis]
    split = x.reshape(*x.shape[:axis], parts, 1, x.shape[axis] // parts, *x.shape[axis + 1 :])
    return np.repeat(split, copies, axis + 1).reshape(*x.shape[:axis], size, *x.shape[axis + 1 :])
