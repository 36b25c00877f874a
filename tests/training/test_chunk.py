"""A chunk's forward pass: the difference that is followed through it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from cbvc_jax.model import CodecModel
from cbvc_jax.modules.transforms import to_unit
from cbvc_jax.presets import PRESETS
from cbvc_jax.training.chunk import SMALL, Schedule, run_chunk
from cbvc_jax.training.loss import FADING_SHARE, loss_of
from cbvc_jax.training.price import quality_at
from cbvc_jax.training.sharding import single
from cbvc_jax.training.state import Carry, config_preset, empty_carry, init_state
from tests.mini_preset import DISPLACING_MINI


@pytest.fixture
def chunk_of(config, moving):
    """(state, chunk of a carry and a schedule)."""
    config.fading = 1.0
    frozen = ml_collections.FrozenConfigDict(config)
    state = init_state(config)
    x = to_unit(np.stack([moving(3, 64, 64), 255 - moving(3, 64, 64)]))
    carry = empty_carry(frozen, config.phases.gops)

    @jax.jit
    def run(carry, starts):
        return run_chunk(frozen, state.params, state.codebooks, x, carry, "high", Schedule(starts))

    return frozen, state, x, carry, run


def rms(a):
    return np.sqrt(np.mean(np.square(a), axis=(1, 2, 3)))


def test_a_difference_grows_by_what_two_decoders_differ_by(chunk_of):
    config, state, _, empty, run = chunk_of
    first = run(empty, True)
    # A chunk goes on from latents that lie near its keyframe's: from those themselves, here.
    second = run(Carry(first.y_hat[:, 0], first.carry.difference), False)
    model, variables = CodecModel(config_preset(config)), {"params": state.params}

    @jax.jit
    def restore(codes, y_ref):
        return model.apply(variables, [c.codewords[0] for c in codes], y_ref, "high", method="restore")

    np.testing.assert_allclose(rms(first.carry.difference), SMALL * rms(first.carry.y_ref), rtol=1e-4)
    y_ref = first.y_hat[:, 0]
    difference = first.carry.difference * (SMALL * rms(y_ref) / rms(first.carry.difference))[:, None, None, None]
    codes = second.codes["high"]
    both = restore(codes, y_ref), restore(codes, y_ref + difference)
    np.testing.assert_allclose(both[0], second.y_hat[:, 1], atol=1e-5)
    np.testing.assert_allclose(second.growth[:, 0], np.log(rms(both[1] - both[0]) / rms(difference)), atol=1e-2)
    assert second.growth.shape == (2, 2)


@pytest.mark.slow
def test_growth_beyond_the_share_that_may_be_left_is_part_of_the_loss(chunk_of):
    config, state, x, empty, run = chunk_of
    plain = ml_collections.FrozenConfigDict({**config.to_dict(), "fading": 0.0})

    def loss(config, carry):
        args = (state.params, {}), state.codebooks, x, carry, Schedule(), config, "high", single()
        return jax.jit(lambda: loss_of(*args))()

    with_fading, _ = loss(config, empty)
    without, seen = loss(plain, Carry(empty.y_ref, jnp.zeros((2, 1, 1, 1))))
    excess = np.maximum(np.asarray(run(empty, True).growth) - np.log(FADING_SHARE), 0.0)
    assert excess.any()
    np.testing.assert_allclose(with_fading - without, np.mean(excess), atol=1e-4)
    assert float(seen.metrics["growth"]) == 0.0
    assert seen.carry.difference.shape == (2, 1, 1, 1)


@pytest.fixture
def qualities(config, moving, monkeypatch):
    """(chunk at a price under a quality, chunk without any) of a model whose latents are pictures."""
    monkeypatch.setitem(PRESETS, "displacing-mini", DISPLACING_MINI)
    config.preset = "displacing-mini"
    config.quality.prices = {"high": (1.0, 2.0)}
    frozen = ml_collections.FrozenConfigDict(config)
    state = init_state(config)
    x = to_unit(np.stack([moving(3, 64, 64), 255 - moving(3, 64, 64)]))
    empty = empty_carry(frozen, config.phases.gops)

    @jax.jit
    def run(price):
        quality = quality_at(price, frozen, state, "high")
        return run_chunk(frozen, state.params, state.codebooks, x, empty, "high", Schedule(), quality=quality)

    plain = jax.jit(lambda: run_chunk(frozen, state.params, state.codebooks, x, empty, "high", Schedule()))
    return run, plain


def test_a_quality_without_a_price_skips_nothing(qualities):
    run, plain = qualities
    priced, unpriced = run(0.0), plain()
    assert all(np.all(sent) for of_kind in priced.sent.values() for sent in of_kind)
    assert np.all(priced.spent > 0) and not np.any(unpriced.spent)
    # Displacements within the limits of what the search has seen may be others; keyframes are the same.
    np.testing.assert_allclose(priced.x_hat[:, 0], unpriced.x_hat[:, 0], atol=1e-5)


def test_where_bits_are_dear_everything_stays_as_it_was(qualities):
    run, _ = qualities
    chunk = run(1e9)
    assert not any(np.any(sent) for sent in chunk.sent["high"]) and np.all(chunk.sent["key"][0])
    np.testing.assert_array_equal(chunk.y_hat[:, 1:], np.repeat(chunk.y_hat[:, :1], 2, axis=1))
    assert not np.any(chunk.spent)
