"""One training step: a chunk of a GOP through the codec, the paper's loss (equation 5), one update of everything.

    x [b, t, h, w, 3] --E, all frames at once--> y --+--> y[0]: VQ as a keyframe --> y_key
                                                     |                                 | or the last chunk's y_hat
                                                     +--> y[1:]: scan of ctxE, VQ, ctxD from y_ref
    y_hat --D, all frames at once--> x_hat

A chunk begins with the frame that the one before ended with. It is coded as a keyframe, always; predicted frames go on
from the last chunk's latents of it where a session goes on, so that training sees the drift of long GOPs.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, UInt8

from cbvc_jax.evaluation.metrics import ms_ssim
from cbvc_jax.model import CodebookSet, CodecModel, Params
from cbvc_jax.modules.quantizer import STAGES, StageCode
from cbvc_jax.modules.search import look_up
from cbvc_jax.modules.transforms import to_unit
from cbvc_jax.presets import KEYFRAME, Preset
from cbvc_jax.training.codebooks import update_codebook
from cbvc_jax.training.state import Config, TrainState, config_preset, learned, make_optimizer

Metrics = dict[str, Array]
LOG_MSE_FLOOR = 1e-3
"""Added under the logarithm: frames beyond 30 dB do not draw all the attention."""


class Schedule(NamedTuple):
    """What changes from step to step without compiling anew.

    Attributes:
      starts: the chunk is the first of its session: predicted frames start from its keyframe.
      key_stages, predicted_stages: stages that quantise, for either kind of frame; the rest pass latents through.
    """

    starts: Bool[Array, ""] | bool = True
    key_stages: Int[Array, ""] | int = STAGES
    predicted_stages: Int[Array, ""] | int = STAGES

    def stages(self, kind: str) -> Int[Array, ""] | int:
        """Stages that quantise frames of `kind`."""
        return self.key_stages if kind == KEYFRAME else self.predicted_stages


class Chunk(NamedTuple):
    """What a chunk's forward pass gives.

    Attributes:
      x_hat: reconstructions.
      codes: by kind of frame, with a leading time axis.
      y, y_hat: latents, before and after quantisation.
    """

    x_hat: Float[Array, "b t h w 3"]
    codes: dict[str, list[StageCode]]
    y: Float[Array, "b t h8 w8 c"]
    y_hat: Float[Array, "b t h8 w8 c"]


def run_chunk(
    preset: Preset,
    params: Params,
    codebooks: CodebookSet,
    x: Float[Array, "b t h w 3"],
    y_ref: Float[Array, "b h8 w8 c"],
    rate: str,
    schedule: Schedule,
    unroll: bool = False,
    reference_gradient: float = 1.0,
) -> Chunk:
    """The codec over one chunk, differentiable; codes are those that an encoder would send.

    `unroll` writes the scan's steps out: on a CPU, convolutions run several times slower inside a compiled loop.
    `reference_gradient` scales the gradient that goes back from one predicted frame to the one before.
    """
    model, variables = CodecModel(preset), {"params": params}
    b, t = x.shape[:2]
    y = model.apply(variables, x.reshape(b * t, *x.shape[2:]), method="latents")
    latents = y.reshape(b, t, *y.shape[1:])  # pyright: ignore
    y = latents.swapaxes(0, 1)

    def code(y_now: Array, y_ref: Array | None, kind: str) -> tuple[list[StageCode], Array]:
        stages = schedule.stages(kind)
        codes: Any = model.apply(variables, y_now, y_ref, codebooks[kind], kind, None, stages, method="encode")
        y_hat: Any = model.apply(variables, [c.codewords for c in codes], y_ref, kind, method="restore")
        return codes, y_hat

    key_codes, y_key = code(y[0], None, KEYFRAME)
    codes = {KEYFRAME: jax.tree.map(lambda a: a[None], key_codes)}
    y_hat = y_key[None]
    if t > 1:

        def predict(y_ref: Array, y_now: Array):
            y_ref = reference_gradient * y_ref + (1.0 - reference_gradient) * jax.lax.stop_gradient(y_ref)
            frame_codes, y_hat = code(y_now, y_ref, rate)
            return y_hat, (frame_codes, y_hat)

        first = jnp.where(schedule.starts | _has_drifted(y_ref, y_key), y_key, y_ref)
        _, (codes[rate], predicted) = jax.lax.scan(predict, first, y[1:], unroll=unroll)
        y_hat = jnp.concatenate([y_hat, predicted])
    y_hat = y_hat.swapaxes(0, 1)
    x_hat: Any = model.apply(variables, y_hat.reshape(b * t, *y_hat.shape[2:]), method="picture")
    return Chunk(x_hat.reshape(x.shape), codes, latents, y_hat)


def _has_drifted(y_ref: Float[Array, "b h w c"], y_key: Float[Array, "b h w c"]) -> Bool[Array, "b 1 1 1"]:
    """Clips whose carried latents are farther from the keyframe's, of the same frame, than those from zero.

    Early in training a chain of predictions may run away; such a clip starts again from its keyframe.
    """
    axes = (1, 2, 3)
    distance = jnp.sum(jnp.square(y_ref - y_key), axis=axes, keepdims=True)
    return ~(distance <= jnp.sum(jnp.square(y_key), axis=axes, keepdims=True))


def distortion(kind: str, x: Float[Array, "b t h w 3"], x_hat: Float[Array, "b t h w 3"]) -> Float[Array, "t"]:
    """d(x, x_hat) for each position in the chunk, mean over the batch.

    "mse": 100 x MSE on [0, 1]. "log_mse": the logarithm of each frame's MSE, that is PSNR / -4.34: a decibel is worth
    the same in every clip, where MSE hears the hardest ones alone. "ms_ssim": 1 - MS-SSIM.
    """
    if kind == "mse":
        return 100.0 * jnp.mean(jnp.square(x - x_hat), axis=(0, 2, 3, 4))
    if kind == "log_mse":
        return jnp.mean(jnp.log(jnp.mean(jnp.square(x - x_hat), axis=(2, 3, 4)) + LOG_MSE_FLOOR), axis=0)
    b, t, h, w, _ = x.shape
    scales = min(5, max(1, (min(h, w) // 11).bit_length()))
    flat = ms_ssim(x.reshape(b * t, h, w, 3), x_hat.reshape(b * t, h, w, 3), scales=scales, data_range=1.0)
    return jnp.mean(1.0 - flat.reshape(b, t), axis=0)


def _loss(trained, state: TrainState, x: Array, config: Config, preset: Preset, rate: str, schedule: Schedule):
    params, codebooks = trained[0], {**state.codebooks, **trained[1]}
    chunk = run_chunk(
        preset, params, codebooks, x, state.y_ref, rate, schedule, config.unroll, config.reference_gradient
    )
    per_frame = distortion(config.distortion, x, chunk.x_hat)
    commitment = jnp.zeros(())
    for kind, codes in chunk.codes.items():
        for s, code in enumerate(codes):
            # Zero where the stage does not quantise: its codewords are z itself.
            error = code.z - jax.lax.stop_gradient(code.codewords)
            commitment += jnp.sum(jnp.mean(jnp.sum(jnp.square(error), axis=-1), axis=(1, 2, 3, 4)))
            if config.codebook.learn == "gradient":
                chosen = look_up(code.indices, codebooks[kind][s])
                pull = jnp.mean(jnp.sum(jnp.square(jax.lax.stop_gradient(code.z) - chosen), axis=-1), axis=(1, 2, 3, 4))
                commitment += (s < schedule.stages(kind)) * jnp.sum(pull) / config.codebook.commitment
    loss = jnp.sum(per_frame) + config.codebook.commitment * commitment
    loss = loss / x.shape[1]
    misfit = _misfit(chunk)
    if config.alignment:
        loss += config.alignment * misfit
    unquantised = jnp.zeros(())
    if config.autoencoding:
        unquantised = _autoencoding(config, preset, params, x, chunk)
        loss += config.autoencoding * unquantised
    return loss, (chunk, per_frame, commitment / x.shape[1], misfit, unquantised)


def _autoencoding(config: Config, preset: Preset, params: Params, x: Array, chunk: Chunk) -> Float[Array, ""]:
    """d(x, D(E(x))) of a chunk's first and last frame: the picture that latents without quantisation would give."""
    ends = slice(None, None, max(1, x.shape[1] - 1))
    y = chunk.y[:, ends]
    x_hat: Any = CodecModel(preset).apply({"params": params}, y.reshape(-1, *y.shape[2:]), method="picture")
    return jnp.mean(distortion(config.distortion, x[:, ends], x_hat.reshape(x[:, ends].shape)))


def _misfit(chunk: Chunk) -> Float[Array, ""]:
    """|y_hat - y|^2 / |y|^2, y held still: 0 where quantised latents are those that E gives.

    Without this term nothing asks E and D to speak of the same latents. Then y - y_ref is as large as y even where the
    picture does not change, and a predicted frame cannot add to what the one before has sent.
    """
    y = jax.lax.stop_gradient(chunk.y)
    return jnp.mean(jnp.square(chunk.y_hat - y)) / jnp.mean(jnp.square(y))


@functools.cache
def make_step(config: Config, rate: str):
    """The compiled step of one rate: (state, frames uint8 [b, t, h, w, 3], schedule) -> (state, metrics).

    The state is donated.
    """
    preset = config_preset(config)
    optimizer = make_optimizer(config)

    def step(state: TrainState, frames: UInt8[Array, "b t h w 3"], schedule: Schedule) -> tuple[TrainState, Metrics]:
        x = to_unit(frames)
        trained: Any = learned(config, state.params, state.codebooks)
        grad_fn = jax.value_and_grad(_loss, has_aux=True)
        (loss, aux), grads = grad_fn(trained, state, x, config, preset, rate, schedule)
        chunk, per_frame, commitment, misfit, unquantised = aux
        updates, opt_state = optimizer.update(grads, state.opt_state, trained)
        new_trained: Any = optax.apply_updates(trained, updates)
        params, gradient_books = new_trained
        codebooks, averages, restarts = _learn_codebooks(state, gradient_books, chunk, config, schedule)
        finite = jnp.isfinite(loss) & jnp.isfinite(optax.global_norm(grads))
        new = state.replace(
            params=params,
            codebooks=codebooks,
            averages=averages,
            opt_state=opt_state,
            y_ref=jax.lax.stop_gradient(chunk.y_hat[:, -1]),
        )
        # A step that is not finite changes nothing; the loop counts such steps and stops when they persist.
        new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        mse = jnp.mean(jnp.square(x - jnp.clip(chunk.x_hat, 0.0, 1.0)), axis=(2, 3, 4))
        metrics = {
            "loss": loss,
            "distortion": per_frame,
            "psnr": jnp.mean(-10.0 * jnp.log10(jnp.maximum(mse, 1e-10)), axis=0),
            "commitment": commitment,
            "misfit": misfit,
            "autoencoding": unquantised,
            "grad_norm": optax.global_norm(grads),
            "skipped": ~finite,
            **{f"restarts/{k}": v for k, v in restarts.items()},
        }
        return new.replace(step=state.step + 1), metrics

    return jax.jit(step, donate_argnums=0)


def _learn_codebooks(state: TrainState, gradient_books: CodebookSet, chunk: Chunk, config, schedule: Schedule):
    """Codebooks, averages and restarts (by stage) after the step, from every latent that was quantised in it."""
    codebooks, averages, restarts = {**state.codebooks, **gradient_books}, dict(state.averages), {}
    rng = jax.random.fold_in(state.rng, state.step)
    for kind, codes in chunk.codes.items():
        books, means = list(codebooks[kind]), list(averages[kind])
        for s, code in enumerate(codes):
            z = jax.lax.stop_gradient(code.z).reshape(-1, *code.z.shape[-2:])
            book, mean, restarted = update_codebook(
                books[s],
                means[s],
                z,
                code.indices.reshape(z.shape[:2]),
                jax.random.fold_in(rng, s + STAGES * sorted(codebooks).index(kind)),
                decay=config.codebook.decay,
                restart_below=config.codebook.restart_below,
                learn_by_average=config.codebook.learn == "ema",
            )
            live = s < schedule.stages(kind)
            before = (books[s], means[s])
            books[s], means[s] = jax.tree.map(lambda a, b, live=live: jnp.where(live, a, b), (book, mean), before)
            restarts[f"{kind}_{s + 1}"] = jnp.where(live, restarted, 0)
        codebooks[kind], averages[kind] = tuple(books), tuple(means)
    return codebooks, averages, restarts


@functools.cache
def make_probe(config: Config, rate: str):
    """A forward pass that changes nothing: (state, frames, schedule) -> (x_hat, inputs of each search, last y_hat)."""
    preset = config_preset(config)

    @jax.jit
    def probe(state: TrainState, frames: UInt8[Array, "b t h w 3"], schedule: Schedule):
        x = to_unit(frames)
        chunk = run_chunk(preset, state.params, state.codebooks, x, state.y_ref, rate, schedule, config.unroll)
        z = {k: [c.z.reshape(-1, *c.z.shape[-2:]) for c in codes] for k, codes in chunk.codes.items()}
        return chunk.x_hat, z, chunk.y_hat[:, -1]

    return probe
