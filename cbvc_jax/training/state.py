"""Everything that a training run is made of, as one pytree: what a checkpoint holds and a step maps to the next."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import LATENT_STRIDE
from cbvc_jax.model import CodebookSet, Params, init_params
from cbvc_jax.presets import KEYFRAME, Preset, get_preset
from cbvc_jax.training.codebooks import CodebookAverages, start_averages

Config = Any
"""An ml_collections ConfigDict with the fields of configs/base.py; frozen where a compiled program depends on it."""


class Carry(NamedTuple):
    """What one chunk of a session hands to the next.

    Attributes:
      y_ref: last quantised latents of each clip of the batch.
      difference: a small one of y_ref, followed from frame to frame where `config.fading` asks for it; else zeros
        [b, 1, 1, 1].
    """

    y_ref: Float[Array, "b h w c"]
    difference: Float[Array, "b #h #w #c"]


class TrainState(flax.struct.PyTreeNode):
    """State after `step` steps.

    Attributes:
      params, codebooks: the model.
      averages: moving averages of every codebook, by kind and stage.
      opt_state: of the optimiser, over (params, codebooks) where codebooks learn by gradient, else over params.
      carry: from the last chunk to the next.
      rng: root of all randomness; a step folds its number in.
    """

    step: Int[Array, ""]
    params: Params
    codebooks: CodebookSet
    averages: dict[str, tuple[CodebookAverages, ...]]
    opt_state: optax.OptState
    carry: Carry
    rng: Array


def config_preset(config: Config) -> Preset:
    """The preset that a configuration names, with its rates only, and with other codebook sizes where it gives some."""
    preset, sizes = get_preset(config.preset).with_rates(*config.rates), config.codebook
    return dataclasses.replace(
        preset,
        key_sizes=tuple(sizes.key_sizes) or preset.key_sizes,
        predicted_sizes=tuple((rate, tuple(sizes.predicted_sizes) or own) for rate, own in preset.predicted_sizes),
    )


def phases(config: Config) -> list[Config]:
    """The phases of training in their order."""
    return [config.phases[name] for name in config.phase_order]


def learned(config: Config, params: Params, codebooks: CodebookSet):
    """What the optimiser sees: codebooks are part of it only when they learn by gradient."""
    return (params, codebooks) if config.codebook.learn == "gradient" else (params, {})


def learning_rate(config: Config) -> optax.Schedule:
    """Warm-up, a constant rate, and a linear fall at the end.

    A run may get longer after it has begun, as long as its rate has not begun to fall.
    """
    warmup, begin, steps = _fall(config)
    last = config.lr * config.final_lr_ratio
    # A rise that lasts no steps is a constant to optax: its first value.
    rise = optax.linear_schedule(0.0 if warmup else config.lr, config.lr, warmup)
    return optax.join_schedules([rise, optax.linear_schedule(config.lr, last, steps)], [begin])


def codebook_decay(config: Config) -> optax.Schedule:
    """Decay of the codebooks' moving averages: it rises, where `codebook.final_decay` asks for it, as the learning rate
    falls."""
    decay = config.codebook.decay
    _, begin, steps = _fall(config)
    return optax.linear_schedule(decay, config.codebook.final_decay or decay, steps, begin)


def _fall(config: Config) -> tuple[int, int, int]:
    """Steps of warm-up, the step at which the learning rate begins to fall, and the steps it falls for."""
    total = sum(phase.steps for phase in phases(config))
    warmup, steps = min(config.lr_warmup, total // 2), max(1, round(total * config.lr_decay))
    return warmup, max(warmup, total - steps), steps


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Adam at the scheduled learning rate, gradients clipped to a global norm."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(learning_rate(config), b2=0.99, weight_decay=config.weight_decay, mask=_decays(config)),
    )


def _decays(config: Config) -> Any:
    """Which of what the optimiser sees weight decay pulls to 0: networks that are held still it leaves alone."""
    if not config.learn:
        return None
    return lambda trained: ({k: k in config.learn for k in trained[0]}, dict.fromkeys(trained[1], False))


def init_state(config: Config) -> TrainState:
    """The state before the first step, from `config.seed`."""
    preset = config_preset(config)
    rng, params_rng = jax.random.split(jax.random.PRNGKey(config.seed))
    params, codebooks = init_params(params_rng, preset)
    averages = {k: tuple(start_averages(c, 0.0) for c in books) for k, books in codebooks.items()}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        codebooks=codebooks,
        averages=averages,
        opt_state=make_optimizer(config).init(learned(config, params, codebooks)),
        carry=empty_carry(config, phases(config)[0]),
        rng=rng,
    )


def empty_carry(config: Config, phase: Config) -> Carry:
    """Zeros in the shape of what a phase's chunks hand on."""
    side, channels = phase.crop // LATENT_STRIDE, config_preset(config).latent_channels
    y_ref = jnp.zeros((phase.batch, side, side, channels), jnp.float32)
    return Carry(y_ref, y_ref if config.fading else jnp.zeros((phase.batch, 1, 1, 1), jnp.float32))


def kinds(preset: Preset) -> tuple[str, ...]:
    """Every kind of frame that has codebooks."""
    return (KEYFRAME, *preset.rates)
