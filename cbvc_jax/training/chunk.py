"""A chunk of a GOP through the codec, differentiable: what the loss and the learning of codebooks see.

    x [b, t, h, w, 3] --E, all frames at once--> y --+--> y[0]: VQ as a keyframe --> y_key
                                                     |                                 | or the last chunk's y_hat
                                                     +--> y[1:]: scan of ctxE, VQ, ctxD from y_ref
    y_hat --D, all frames at once--> x_hat

A chunk begins with the frame that the one before ended with. It is coded as a keyframe, always; predicted frames go on
from the last chunk's latents of it where a session goes on, so that training sees the drift of long GOPs.

With `config.fading` a second decoder goes along whose y_ref differs a little: what becomes of a rounding that another
backend made. The difference takes the direction that grows fastest, is made small again after every frame, and is
carried on like y_ref.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from cbvc_jax.model import CodebookSet, CodecModel, Params
from cbvc_jax.modules.quantizer import STAGES, StageCode
from cbvc_jax.presets import KEYFRAME, Preset
from cbvc_jax.training.coder import FrameCode, FrameCoder
from cbvc_jax.training.precision import compute_dtype, computing_in, rounded
from cbvc_jax.training.price import Costs, Quality
from cbvc_jax.training.sharding import ROWS, Layout, single
from cbvc_jax.training.state import Carry, Config, config_preset

SMALL = 1e-2
"""A difference that is followed, as a share of the latents' RMS: small enough to behave as roundings do."""


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


@dataclasses.dataclass(frozen=True)
class Mode:
    """How a chunk is computed. None of it changes what is computed, but for rounding.

    Attributes:
      unroll: write the scan's steps out: on a CPU, convolutions run several times slower inside a compiled loop.
      reference_gradient: share of the gradient that goes from a predicted frame to the one before.
      remat: keep only latents between frames; the backward pass computes each frame's activations again.
      dtype: of activations in the networks.
      fading: follow a small difference of y_ref through the chain.
    """

    unroll: bool = False
    reference_gradient: float = 1.0
    remat: bool = False
    dtype: Any = jnp.float32
    fading: bool = False


def mode_of(config: Config) -> Mode:
    """The mode that a configuration asks for."""
    dtype, fading = compute_dtype(config.compute), bool(config.fading)
    return Mode(config.unroll, config.reference_gradient, config.remat, dtype, fading)


class Chunk(NamedTuple):
    """What a chunk's forward pass gives.

    Attributes:
      x_hat: reconstructions.
      codes: by kind of frame, with a leading time axis.
      sent: where each stage's indices are sent, and not skipped, by kind of frame.
      spent: bits of the predicted frames' blocks of 16x16 pixels that are not skipped, by the running counts; 0 unless
        for a quality.
      y, y_hat: latents, before and after quantisation.
      growth: ln of how many times larger a small difference of y_ref is in y_hat, by predicted frame; 0 unless
        followed.
      carry: to the next chunk.
    """

    x_hat: Float[Array, "b t h w 3"]
    codes: dict[str, list[StageCode]]
    sent: dict[str, list[Bool[Array, "t b hs ws"]]]
    spent: Float[Array, "b t_minus_1"]
    y: Float[Array, "b t h8 w8 c"]
    y_hat: Float[Array, "b t h8 w8 c"]
    growth: Float[Array, "b t_minus_1"]
    carry: Carry


# Codes have the batch on their second axis.
CHUNK_SPECS: Any = Chunk(ROWS, P(None, *ROWS), P(None, *ROWS), ROWS, ROWS, ROWS, ROWS, Carry(ROWS, ROWS))  # pyright: ignore[reportArgumentType]


def run_chunk(
    config: Config,
    params: Params,
    codebooks: CodebookSet,
    x: Float[Array, "b t h w 3"],
    carry: Carry,
    rate: str,
    schedule: Schedule,
    layout: Layout | None = None,
    costs: Costs | None = None,
    quality: Quality | None = None,
) -> Chunk:
    """The codec over one chunk, differentiable; codes are those that an encoder would send.

    No frame of it needs another clip of the batch: each device of `layout` works on its own clips. Kinds of frames that
    `costs` has are searched under a price. With a `quality` blocks of predicted frames are skipped as well, as an
    encoder does that: latents have to be pictures.
    """
    preset, mode = config_preset(config), mode_of(config)

    def run(shared, rows):
        return _run_clips(preset, mode, *shared, *rows, rate=rate)

    shared = (params, codebooks, costs or {}, quality, Schedule(*map(jnp.asarray, schedule)))
    return (layout or single()).row_by_row(run, CHUNK_SPECS)(shared, (x, carry))


def _run_clips(
    preset: Preset,
    mode: Mode,
    params,
    codebooks,
    costs: Costs,
    quality: Quality | None,
    schedule: Schedule,
    x,
    carry: Carry,
    *,
    rate: str,
) -> Chunk:
    model, variables = CodecModel(preset), {"params": rounded(params, mode.dtype)}
    t = x.shape[1]

    coder = FrameCoder(model, variables, codebooks, schedule.stages, mode.dtype, costs, quality)

    def kept(function: Callable) -> Callable:
        return jax.checkpoint(function, prevent_cse=mode.unroll) if mode.remat else function

    def code(y_now: Array, y_ref: Array | None, kind: str) -> FrameCode:
        return kept(lambda y_now, y_ref: coder.code(y_now, y_ref, kind))(y_now, y_ref)

    with computing_in(mode.dtype):
        y = _each_frame(model, variables, "latents", mode, x)
        latents = y
        y = y.swapaxes(0, 1)
        key = code(y[0], None, KEYFRAME)
        codes, sent = ({KEYFRAME: jax.tree.map(lambda a: a[None], of_key)} for of_key in (key.codes, key.sent))
        y_hat, spent, growth = key.y_hat[None], *jnp.zeros((2, t - 1, x.shape[0]))
        if t > 1:

            def predict(carry: Carry, y_now: Array):
                y_ref, difference = carry
                share = mode.reference_gradient
                y_ref = share * y_ref + (1.0 - share) * jax.lax.stop_gradient(y_ref)
                frame = code(y_now, y_ref, rate)
                growth = jnp.zeros(len(y_now))
                if mode.fading:
                    restored = kept(lambda codes, y_ref: coder.restored(codes, y_ref, rate, frame.skip))
                    change = restored(frame.codes, y_ref + difference) - frame.y_hat
                    growth = 0.5 * jnp.log(_energy(change) / _energy(difference)).reshape(-1)
                    difference = jax.lax.stop_gradient(_as_small(change, frame.y_hat))
                return Carry(frame.y_hat, difference), (frame._replace(skip=None), growth)

            first = jnp.where(schedule.starts | _has_drifted(carry.y_ref, key.y_hat), key.y_hat, carry.y_ref)
            carry = Carry(first, carry.difference)
            if mode.fading:
                noise = jax.random.normal(jax.random.PRNGKey(0), first.shape)
                carry = Carry(first, _as_small(jnp.where(schedule.starts, noise, carry.difference), first))
            carry, (predicted, growth) = jax.lax.scan(predict, carry, y[1:], unroll=mode.unroll)
            codes[rate], sent[rate], spent = predicted.codes, predicted.sent, predicted.spent
            y_hat = jnp.concatenate([y_hat, predicted.y_hat])
        y_hat = y_hat.swapaxes(0, 1)
        x_hat = _each_frame(model, variables, "picture", mode, y_hat)
    carry = Carry(y_hat[:, -1], carry.difference)
    spent, growth = spent.swapaxes(0, 1), growth.swapaxes(0, 1)
    return Chunk(x_hat.reshape(x.shape), codes, sent, spent, latents, y_hat, growth, carry)


def _energy(y: Float[Array, "b h w c"]) -> Float[Array, "b 1 1 1"]:
    return jnp.sum(jnp.square(y), axis=(1, 2, 3), keepdims=True) + 1e-20


def _as_small(difference: Float[Array, "b h w c"], y: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """The difference, scaled to SMALL of y, by RMS."""
    return difference * jax.lax.stop_gradient(SMALL * jnp.sqrt(_energy(y) / _energy(difference)))


def _each_frame(model: CodecModel, variables: Any, method: str, mode: Mode, frames: Array) -> Array:
    """E or D of every frame, float32: all at once, or one position of the chunk after the other to save memory."""
    b, t = frames.shape[:2]

    def apply(frames: Array) -> Array:
        out: Any = model.apply(variables, frames.astype(mode.dtype), method=method)
        return out.astype(jnp.float32)

    if not mode.remat:
        out = apply(frames.reshape(b * t, *frames.shape[2:]))
        return out.reshape(b, t, *out.shape[1:])
    apply = jax.checkpoint(apply, prevent_cse=mode.unroll)
    _, out = jax.lax.scan(lambda _, frame: (None, apply(frame)), None, frames.swapaxes(0, 1), unroll=mode.unroll)
    return out.swapaxes(0, 1)


def pictures(
    config: Config, params: Params, y: Float[Array, "b t h8 w8 c"], layout: Layout
) -> Float[Array, "b t h w 3"]:
    """D of any latents, device by device."""
    preset, mode = config_preset(config), mode_of(config)

    def run(params, y):
        with computing_in(mode.dtype):
            return _each_frame(CodecModel(preset), {"params": rounded(params, mode.dtype)}, "picture", mode, y)

    return layout.row_by_row(run, ROWS)(params, y)


def _has_drifted(y_ref: Float[Array, "b h w c"], y_key: Float[Array, "b h w c"]) -> Bool[Array, "b 1 1 1"]:
    """Clips whose carried latents are farther from the keyframe's, of the same frame, than those from zero.

    Early in training a chain of predictions may run away; such a clip starts again from its keyframe.
    """
    axes = (1, 2, 3)
    distance = jnp.sum(jnp.square(y_ref - y_key), axis=axes, keepdims=True)
    return ~(distance <= jnp.sum(jnp.square(y_key), axis=axes, keepdims=True))
