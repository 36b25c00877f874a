"""A price of bits in training: what each index costs its search, from the running counts (`config.codebook.price`).

    averages.count --> share of each codeword --> bits --x price x spread of the codewords--> IndexCosts --> search

The counts are those of the global batch, which every device has: so are the costs. Displacements have no price: how
far one is from another says little of the error that it makes.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cbvc_jax.bitstream.rans import SCALE_BITS
from cbvc_jax.geometry import CODED, MOVES, POINTING_GROUP, POINTING_STAGE, STAYS
from cbvc_jax.model import CodebookSet
from cbvc_jax.modules.displacement import POINTER_SCALE
from cbvc_jax.modules.search import IndexCosts, look_up
from cbvc_jax.presets import KEYFRAME, get_preset
from cbvc_jax.training.codebooks import CodebookAverages
from cbvc_jax.training.state import Config, TrainState

RARE = 0.01
"""What `restart_below` is multiplied by under a price."""

DRAW = 1 << 30
"""What is folded into the state's key to draw a share of the price; no step has this number."""

PLAIN_SHARE = 0.2
"""Of the steps under a quality: those where bits have no price after all, and nothing is skipped."""
LEVELS = 127.5
"""8-bit levels in a unit of latents that are pictures."""

Costs = dict[str, list[IndexCosts]]
"""Of each stage's indices, by kind of frame; kinds without a price are missing."""


class Quality(NamedTuple):
    """What an encoder under a quality charges the indices of predicted frames.

    Attributes:
      price: of a bit, lambda, in squared 8-bit levels; 0: nothing is skipped.
      bits: of each stage's indices.
      costs: of the same, in squared distance.
      pointing: of displacements, in the squared distance of their codewords times `Wanted.unit`, which differs from
        frame to frame.
    """

    price: Float[Array, ""]
    bits: list[Float[Array, "g k"]]
    costs: list[IndexCosts]
    pointing: Float[Array, "g k"]


def quality_of(config: Config, state: TrainState, kind: str) -> Quality | None:
    """The quality that a step trains frames of `kind` for, its price drawn from the state's randomness; or None."""
    if kind not in config.quality.prices:
        return None
    low, high = config.quality.prices[kind]
    rng = jax.random.fold_in(jax.random.fold_in(state.rng, DRAW + (kind == KEYFRAME)), state.step)
    draws = jax.random.uniform(rng, (2,))
    return quality_at(jnp.where(draws[0] < PLAIN_SHARE, 0.0, low * (high / low) ** draws[1]), config, state, kind)


def quality_at(price: Float[Array, ""], config: Config, state: TrainState, kind: str) -> Quality:
    """The quality of frames of `kind` at a price of a bit."""
    bits = [index_bits(mean.count) for mean in state.averages[kind]]
    sensitivity = config.quality.key_sensitivity if kind == KEYFRAME else config.quality.sensitivity
    costs = [IndexCosts(price / s * b) for s, b in zip(sensitivity, bits, strict=True)]
    return Quality(price, bits, costs, (POINTER_SCALE / LEVELS) ** 2 * price * bits[POINTING_STAGE])


def skipped(
    y: Float[Array, "b h8 w8 c"],
    y_ref: Float[Array, "b h8 w8 c"],
    moved: Float[Array, "b h8 w8 c"],
    y_hat: Float[Array, "b h8 w8 c"],
    indices: list[Int[Array, "b hs ws g"]],
    quality: Quality,
) -> tuple[Int[Array, "b h16 w16"], Float[Array, "b h16 w16"]]:
    """(what becomes of blocks of 16x16 pixels, bits of each block if it is coded).

    That is what costs least: as in y_ref, as in y_ref where displacements moved it, or as in y_hat. A block has its
    share of what the indices of coarser stages cost.
    """
    stays, moves, coded = (_block_errors(y - latents) for latents in (y_ref, moved, y_hat))
    total = jnp.zeros_like(stays)
    pointing = total
    for s, (found, bits) in enumerate(zip(indices, quality.bits, strict=True)):
        of_index = look_up(found, bits[..., None])[..., 0]
        side = stays.shape[1] // found.shape[1]
        of_block = jnp.repeat(jnp.repeat(of_index / side**2, side, axis=1), side, axis=2)
        total += jnp.sum(of_block, axis=-1)
        if s == POINTING_STAGE:
            pointing = of_block[..., POINTING_GROUP]
    moves, priced = moves + quality.price * pointing, coded + quality.price * total
    idle = jnp.where(stays <= moves, STAYS, MOVES)
    best = jnp.where(jnp.minimum(stays, moves) <= priced, idle, CODED)
    return jnp.where(quality.price > 0.0, best, CODED).astype(jnp.int32), total


def _block_errors(error: Float[Array, "b h8 w8 c"]) -> Float[Array, "b h16 w16"]:
    """Squared errors in 8-bit levels, a mean over R, G and B, summed over blocks of 16x16 pixels."""
    b, h, w, _ = error.shape
    squares = jnp.sum(jnp.square(error), axis=-1).reshape(b, h // 2, 2, w // 2, 2)
    return LEVELS**2 / 3.0 * jnp.sum(squares, axis=(2, 4))


def price_of(config: Config, kind: str) -> float:
    """The configured price of frames of `kind`; 0: none."""
    return config.codebook.key_price if kind == KEYFRAME else config.codebook.price


def restart_share(config: Config, kind: str) -> float:
    """The share of the mean usage below which a codeword of frames of `kind` is dead."""
    priced = price_of(config, kind) or kind in config.quality.prices
    return config.codebook.restart_below * (RARE if priced else 1.0)


def drawn_share(config: Config, state: TrainState) -> Float[Array, ""] | float:
    """Share of the price that a step pays: uniform in [0, 1), from the state's randomness, or 1 (`draw_price`)."""
    if not config.codebook.draw_price:
        return 1.0
    return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(state.rng, DRAW), state.step))


def index_costs(
    config: Config,
    codebooks: CodebookSet,
    averages: dict[str, tuple[CodebookAverages, ...]],
    share: Float[Array, ""] | float = 1.0,
) -> Costs:
    """Costs of the indices, at `share` of the price, of every kind of frame that has one. The others have none."""
    found: Costs = {}
    for kind, books in codebooks.items():
        if price := price_of(config, kind):
            free = kind != KEYFRAME and get_preset(config.preset).displaces
            found[kind] = [
                _stage_costs(book, mean.count, share * price, free=free and s == POINTING_STAGE)
                for s, (book, mean) in enumerate(zip(books, averages[kind], strict=True))
            ]
    return found


def _stage_costs(
    codebook: Float[Array, "g k d"], count: Float[Array, "g k"], price: Float[Array, ""] | float, *, free: bool
) -> IndexCosts:
    """`free`: the stage has displacements, which cost nothing."""
    costs = price * spread(codebook, count)[:, None] * index_bits(count)
    return IndexCosts(costs.at[POINTING_GROUP].set(0.0) if free else costs)


def index_bits(count: Float[Array, "g k"]) -> Float[Array, "g k"]:
    """Bits of each index where its frequency is what index coding 2 begins with if the counts are its tables."""
    size = count.shape[-1]
    return SCALE_BITS - jnp.log2(1.0 + _shares(count) * ((1 << SCALE_BITS) - size))


def spread(codebook: Float[Array, "g k d"], count: Float[Array, "g k"]) -> Float[Array, "g"]:
    """Mean squared distance of the codewords from their mean, each as often as it is used."""
    share = _shares(count)[..., None]
    mean = jnp.sum(share * codebook, axis=1, keepdims=True)
    return jnp.sum(share * jnp.square(codebook - mean), axis=(1, 2))


def _shares(count: Float[Array, "g k"]) -> Float[Array, "g k"]:
    """Share of each codeword; 0 where nothing has been counted yet."""
    return count / jnp.maximum(jnp.sum(count, axis=1, keepdims=True), 1e-9)
