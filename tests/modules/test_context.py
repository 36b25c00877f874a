"""Context modules: the small members' begin by repeating the reference; the paper's have the wiring of figure 7."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cbvc_jax.modules.attention import CrossAttention
from cbvc_jax.modules.blocks import Conv3, ResidualBlock
from cbvc_jax.modules.context import INITIAL_LEAK, CompactContextDecoder, CompactContextEncoder, ContextModule
from cbvc_jax.presets import get_preset

TINY = dataclasses.replace(get_preset("tiny"), latent_channels=16)
PAPER = dataclasses.replace(get_preset("wca4"), latent_channels=8, heads=2, head_dim=4)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_an_untrained_decoder_repeats_the_reference():
    y_ref, y_ctx = normal(1, 8, 8, 16), np.zeros((1, 8, 8, 16), np.float32)
    module = CompactContextDecoder(TINY)
    params = module.init(jax.random.key(0), y_ctx, y_ref)
    correction = module.apply(params, y_ctx, y_ref) - (1 - INITIAL_LEAK) * y_ref
    assert np.sqrt(np.mean(np.square(correction))) < 0.2
    # What stays is what attention adds; silenced, the reference is repeated as it is.
    params["params"]["attention_0"]["output"]["dense"]["kernel"] *= 0.0
    still = module.apply(params, y_ctx, y_ref)
    np.testing.assert_allclose(still, (1 - INITIAL_LEAK) * y_ref, atol=1e-6)


def test_the_leak_is_per_channel_and_never_leaves_its_range():
    y_ref, y_ctx = normal(1, 4, 4, 16), np.zeros((1, 4, 4, 16), np.float32)
    module = CompactContextDecoder(TINY)
    params = module.init(jax.random.key(0), y_ctx, y_ref)
    params["params"]["attention_0"]["output"]["dense"]["kernel"] *= 0.0
    params["params"]["leak"] = jnp.linspace(-1.0, 2.0, 16)
    keep = 1.0 - np.clip(np.linspace(-1.0, 2.0, 16), 0.01, 1.0)
    np.testing.assert_allclose(module.apply(params, y_ctx, y_ref), keep * y_ref, atol=1e-5)


def test_an_untrained_encoder_gives_the_difference():
    y, y_ref = normal(1, 8, 8, 16), normal(1, 8, 8, 16, seed=1)
    module = CompactContextEncoder(TINY)
    params = module.init(jax.random.key(0), y, y_ref)
    error = module.apply(params, y, y_ref) - (y - y_ref)
    assert np.sqrt(np.mean(np.square(error))) < 0.2 * np.sqrt(np.mean(np.square(y - y_ref)))


def test_paper_module_is_attention_and_residual_blocks_in_turn():
    y, y_ref = normal(1, 8, 8, 8), normal(1, 8, 8, 8, seed=1)
    module = ContextModule(PAPER)
    params = jax.jit(module.init)(jax.random.key(0), y, y_ref)["params"]
    u = y
    for i in range(2):
        u = u + CrossAttention(4, 2, 2, 4).apply({"params": params[f"attention_{i}"]}, u, y_ref)
        u = ResidualBlock(8).apply({"params": params[f"block_{i}"]}, u)
    np.testing.assert_allclose(module.apply({"params": params}, y, y_ref), u, atol=1e-4)


def test_resblock_variant_sees_both_latents():
    preset = dataclasses.replace(PAPER, context="resblock")
    y, y_ref = normal(1, 4, 4, 8), normal(1, 4, 4, 8, seed=1)
    params = jax.jit(ContextModule(preset).init)(jax.random.key(0), y, y_ref)["params"]
    first = params["block_0"]
    u = Conv3(8).apply({"params": first["first"]}, jax.nn.silu(np.concatenate([y, y_ref], axis=-1)))
    u = y + Conv3(8).apply({"params": first["second"]}, jax.nn.silu(u))
    u = ResidualBlock(8).apply({"params": params["block_1"]}, u)
    np.testing.assert_allclose(ContextModule(preset).apply({"params": params}, y, y_ref), u, atol=1e-5)
    assert "skip" not in first


@pytest.mark.parametrize("module", [CompactContextEncoder, CompactContextDecoder])
def test_small_modules_are_stable_for_a_hundred_frames(module):
    """Fed with its own output, an untrained decoder fades; the encoder of equal latents stays small."""
    y_ref, zero = normal(1, 4, 4, 16), np.zeros((1, 4, 4, 16), np.float32)
    net = module(TINY)
    params = net.init(jax.random.key(0), zero, y_ref)
    run = jax.jit(net.apply)
    y = y_ref
    for _ in range(100):
        y = run(params, zero if module is CompactContextDecoder else y_ref, y if module is CompactContextDecoder else y_ref)
    assert np.abs(y).max() < np.abs(y_ref).max()
