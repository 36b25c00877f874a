"""`small` as it is before training: keyframes of `tiny`, and predicted frames as those of a codec without networks.

    python -m cbvc_jax.training.begin CLIP... --out DIR [--model tiny] [--preset small]

The networks of keyframes are the smaller model's, its codewords made longer. Those of predicted frames begin as the
principal components of what displacements leave (`cbvc_jax.training.linear` finds that, in the clips): every block adds
nothing, every product keeps the directions of most energy, and the decoder's go back the same way. The codebooks of
predicted frames are random: training begins with k-means (`predicted_warmup`).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cbvc_jax.errors import CbvcError, ModelError
from cbvc_jax.geometry import GROUPS, LATENT_STRIDE, POINTING_STAGE
from cbvc_jax.model import CodebookSet, Params, init_params
from cbvc_jax.modules.blocks import pixel_unshuffle
from cbvc_jax.modules.quantizer import STAGES
from cbvc_jax.presets import KEYFRAME, Preset, get_preset
from cbvc_jax.training.linear import learn, load, principal_components, run
from cbvc_jax.training.start import with_rates
from cbvc_jax.weights import Model, load_model, save_model

FRAMES = 8
SIDE = 256


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints the model's identity."""
    parser = argparse.ArgumentParser(
        prog="python -m cbvc_jax.training.begin",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="clips whose residuals are gathered")
    parser.add_argument("--out", required=True, help="folder of the model")
    parser.add_argument("--model", default="tiny", help="whose keyframes it has (default: %(default)s)")
    parser.add_argument("--preset", default="small")
    args = parser.parse_args(argv)
    try:
        model, preset = load_model(args.model), get_preset(args.preset)
        _check(model, preset)
        params, codebooks = begin(jax.random.key(0), model, preset, residuals_of(model, args.clips))
        card = f"# {preset.name}, before training\n\nKeyframes of {args.model}; made by cbvc_jax.training.begin.\n"
        identity = save_model(args.out, preset, params, codebooks, card)
    except CbvcError as error:
        sys.exit(f"begin: {error}")
    print(f"{args.out}: model {identity.hex()}")
    return 0


def residuals_of(model: Model, names: Sequence[str]) -> Float[np.ndarray, "n side side 3"]:
    """What displacements leave of predicted frames, in [-1, 1], where a codec without networks codes the rest."""
    footage = load(model, names, FRAMES, SIDE)
    codec = learn(footage, model.preset.codebook_sizes(model.preset.rates[len(model.preset.rates) // 2]), dim=32)
    left: list[np.ndarray] = []
    run(footage, codec, seen=lambda _, residual: left.append(residual))
    return np.concatenate(left)


def begin(
    rng: Array, model: Model, preset: Preset, residuals: Float[np.ndarray, "n y x 3"]
) -> tuple[Params, CodebookSet]:
    """Parameters and codebooks of `preset`.

    Args:
      rng: key of what stays random.
      model: whose keyframes it has, up to rounding.
      preset: one that displaces, as wide as `model`, its codewords no shorter, but less than half as long as a stage
        is wide.
      residuals: to find principal components in; sides are multiples of 64.

    Raises:
      ModelError: the preset is not such a one.
    """
    _check(model, preset)
    params, codebooks = jax.device_get(init_params(rng, preset))
    old = jax.device_get(with_rates(model, ()).params)
    params["key_encoder"], params["key_decoder"] = old["encoder"], old["decoder"]
    _copy_quantizer(params["quantizer"], old["quantizer"])
    behind = [(0, 0), (0, 0), (0, preset.codeword_dim - model.preset.codeword_dim)]
    codebooks[KEYFRAME] = tuple(np.pad(book, behind) for book in model.codebooks[KEYFRAME])
    _begin_linear(params, preset, residuals)
    return params, codebooks


def _check(model: Model, preset: Preset) -> None:
    small = model.preset
    fitting = dataclasses.replace(
        small,
        name=preset.name,
        latent_channels=preset.latent_channels,
        codeword_dim=preset.codeword_dim,
        context=preset.context,
        context_depth=preset.context_depth,
        heads=preset.heads,
        width=small.latent_channels,
    )
    longer = small.codeword_dim <= preset.codeword_dim < preset.stage_channels // GROUPS
    if not preset.displaces or fitting != preset or not longer:
        raise ModelError(f"'{preset.name}' cannot begin with the keyframes of '{model.name}': its networks differ")


def _copy_quantizer(new: dict, old: dict) -> None:
    """A quantiser with longer codewords.

    They are 0 where they became longer. What reads them there is random already, so that they have something to learn.
    """
    for name, part in old.items():
        # A stage merges four positions, each with the codewords of both groups.
        codewords = GROUPS * (4 if name.startswith("stage_encoders") else 1)
        new[name] = jax.tree.map(functools.partial(_copied, codewords), new[name], part)


def _copied(codewords: int, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """`old` where each codeword's numbers were; behind them 0 among outputs, `new` among inputs."""
    if new.shape == old.shape:
        return old
    axis = new.ndim - 1 if new.shape[-1] != old.shape[-1] else new.ndim - 2
    behind = np.zeros_like(new) if axis == new.ndim - 1 else new
    apart, kept = (a.reshape(*a.shape[:axis], codewords, -1, *a.shape[axis + 1 :]) for a in (behind, old))
    axis += 1
    rest = np.split(apart, [kept.shape[axis]], axis)[1]
    return np.concatenate([kept, rest], axis).reshape(new.shape)


def _begin_linear(params: dict, preset: Preset, residuals: Float[np.ndarray, "n y x 3"]) -> None:
    """Networks of predicted frames as products with principal components, from the finest blocks to the largest."""
    quantizer, group = params["residual_quantizer"], preset.codeword_dim
    for part in (params["context_encoder"], params["context_decoder"], quantizer):
        _silence(part)
    u = np.asarray(pixel_unshuffle(jnp.asarray(residuals), LATENT_STRIDE))
    basis = principal_components(u.reshape(-1, u.shape[-1]), preset.inner_channels)
    _set(params["context_encoder"]["stack"]["inward"], basis)
    _set(params["context_decoder"]["residual"], basis.T)
    u = u @ basis
    for s in range(STAGES):
        channels = u.shape[-1]
        u = np.asarray(pixel_unshuffle(jnp.asarray(u), 2))
        merge = principal_components(u.reshape(-1, u.shape[-1]), preset.stage_channels)
        u = u @ merge
        # Components take turns, so that groups are alike; where the first group points, the second has the best.
        order = np.arange(GROUPS * group)
        order = np.concatenate([order[group:], order[:group]]) if s == POINTING_STAGE else _in_turn(order)
        choice = np.eye(preset.stage_channels, dtype=np.float32)[:, order]
        _set(quantizer[f"stage_encoders_{s}"]["inward"], merge)
        _set(quantizer[f"quantize_heads_{s}"]["outward"], choice)
        _set(quantizer[f"dequantize_heads_{s}"]["inward"], choice.T)
        back = quantizer[f"restore_heads_{s}"]["outward"]
        width = back["dense"]["kernel"].shape[1] // 4
        _set(back, np.pad(merge.T.reshape(-1, 4, channels), [(0, 0), (0, 0), (0, width - channels)]))
        if s < STAGES - 1:
            _set(quantizer[f"latent_heads_{s}"], choice)
            # What the next stage restores lies in the first channels: both groups of what this one has left.
            _set(quantizer[f"side_heads_{s}"], np.pad(choice.T, [(0, preset.stage_channels - len(order)), (0, 0)]))
        u = u[..., order]


def _in_turn(order: np.ndarray) -> np.ndarray:
    return order.reshape(-1, GROUPS).T.reshape(-1)


def _silence(part: dict) -> None:
    """Blocks and lapped output add nothing."""
    for name, inner in part.items():
        if name == "output":
            inner.update(jax.tree.map(np.zeros_like, inner))
        elif isinstance(inner, dict):
            _silence(inner)


def _set(layer: dict, kernel: np.ndarray) -> None:
    """A product without bias."""
    dense = layer["dense"]
    dense["kernel"], dense["bias"] = kernel.reshape(dense["kernel"].shape), np.zeros_like(dense["bias"])


if __name__ == "__main__":
    sys.exit(main())
