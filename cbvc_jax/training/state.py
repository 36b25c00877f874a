"""Everything that a training run is made of, as one pytree: what a checkpoint holds and a step maps to the next."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import LATENT_STRIDE
from cbvc_jax.model import CodebookSet, Params, init_params
from cbvc_jax.presets import KEYFRAME, Preset, get_preset
from cbvc_jax.training.codebooks import CodebookAverages, start_averages


@flax.struct.dataclass
class TrainState:
    """State after `step` steps.

    Attributes:
      params, codebooks: the model.
      averages: moving averages of every codebook, by kind and stage.
      opt_state: of the optimiser, over (params, codebooks) where codebooks learn by gradient, else over params.
      y_ref: last quantised latents of each clip of the batch: the next chunk goes on from them.
      rng: root of all randomness; a step folds its number in.
    """

    step: Int[Array, ""]
    params: Params
    codebooks: CodebookSet
    averages: dict[str, tuple[CodebookAverages, ...]]
    opt_state: optax.OptState
    y_ref: Float[Array, "b h w c"]
    rng: Array


def config_preset(config: ml_collections.ConfigDict) -> Preset:
    """The preset that a configuration names, with its rates only."""
    return get_preset(config.preset).with_rates(*config.rates)


def phases(config: ml_collections.ConfigDict) -> list[ml_collections.ConfigDict]:
    """The phases of training in their order."""
    return [config.phases[name] for name in config.phase_order]


def learned(config: ml_collections.ConfigDict, params: Params, codebooks: CodebookSet):
    """What the optimiser sees: codebooks are part of it only when they learn by gradient."""
    return (params, codebooks) if config.codebook.learn == "gradient" else (params, {})


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Adam with a linear warm-up and a cosine to `final_lr_ratio`, gradients clipped to a global norm."""
    total = sum(phase.steps for phase in phases(config))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.lr, min(config.lr_warmup, total // 2), total, end_value=config.lr * config.final_lr_ratio
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm), optax.adamw(schedule, b2=0.99, weight_decay=config.weight_decay)
    )


def init_state(config: ml_collections.ConfigDict) -> TrainState:
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
        y_ref=empty_reference(preset, phases(config)[0]),
        rng=rng,
    )


def empty_reference(preset: Preset, phase: ml_collections.ConfigDict) -> Float[Array, "b h w c"]:
    """Zeros in the shape of the latents of a phase's batch."""
    side = phase.crop // LATENT_STRIDE
    return jnp.zeros((phase.batch, side, side, preset.latent_channels), jnp.float32)


def kinds(preset: Preset) -> tuple[str, ...]:
    """Every kind of frame that has codebooks."""
    return (KEYFRAME, *preset.rates)
