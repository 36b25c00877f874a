"""Context modules: the small members' begin by repeating the reference; the paper's have the wiring of figure 7."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from cbvc_jax.modules.attention import CrossAttention
from cbvc_jax.modules.blocks import Conv3, ResidualBlock
from cbvc_jax.modules.context import (
    DISPLACED_KEEP_LOGIT,
    INITIAL_KEEP_LOGIT,
    CompactContextDecoder,
    CompactContextEncoder,
    ContextModule,
    Displacement,
    ResidualDecoder,
    ResidualEncoder,
)
from cbvc_jax.modules.displacement import POINTER_SCALE
from cbvc_jax.presets import get_preset

from .weights import normal, random_params

TINY = dataclasses.replace(get_preset("tiny"), latent_channels=16)
INITIAL_KEEP = 1.0 / (1.0 + np.exp(-INITIAL_KEEP_LOGIT))
PAPER = dataclasses.replace(get_preset("wca4"), latent_channels=8, heads=2, head_dim=4)


@functools.cache
def _initial(module):
    y = jnp.zeros((1, 4, 4, 16))
    return jax.jit(module(TINY).init)(jax.random.key(0), y, y)


def untrained(module, silent=False):
    """Parameters that training starts from, whatever the size of the latents; `silent`: attention adds nothing."""
    params = jax.tree.map(np.array, _initial(module))
    if silent:
        params["params"]["attention_0"]["output"]["dense"]["kernel"] *= 0.0
    return params


def test_an_untrained_decoder_repeats_the_reference():
    y_ref, y_ctx = normal(1, 8, 8, 16), np.zeros((1, 8, 8, 16), np.float32)
    module = CompactContextDecoder(TINY)
    run = jax.jit(module.apply)
    correction = run(untrained(CompactContextDecoder), y_ctx, y_ref) - INITIAL_KEEP * y_ref
    assert np.sqrt(np.mean(np.square(correction))) < 0.2
    # What stays is what attention adds; silenced, the reference is repeated as it is.
    still = run(untrained(CompactContextDecoder, silent=True), y_ctx, y_ref)
    np.testing.assert_allclose(still, INITIAL_KEEP * y_ref, atol=1e-5)


def test_what_a_frame_says_decides_where_the_reference_stays():
    y_ref, y_ctx = normal(1, 4, 4, 16), np.zeros((1, 4, 4, 16), np.float32)
    y_ctx[:, :, 2:] = 1.0
    module = CompactContextDecoder(TINY)
    params = untrained(CompactContextDecoder, silent=True)
    params["params"]["block_0"]["output"]["dense"]["kernel"] *= 0.0
    params["params"]["keep"]["dense"]["kernel"] = np.full((16, 16), -10.0, np.float32)
    y_hat = jax.jit(module.apply)(params, y_ctx, y_ref)
    np.testing.assert_allclose(y_hat[:, :, :2], INITIAL_KEEP * y_ref[:, :, :2], atol=1e-5)
    np.testing.assert_allclose(y_hat[:, :, 2:], 1.0, atol=1e-5)


def test_an_untrained_encoder_gives_the_difference():
    y, y_ref = normal(1, 8, 8, 16), normal(1, 8, 8, 16, seed=1)
    module = CompactContextEncoder(TINY)
    params = untrained(CompactContextEncoder)
    error = jax.jit(module.apply)(params, y, y_ref) - (y - y_ref)
    assert np.sqrt(np.mean(np.square(error))) < 0.2 * np.sqrt(np.mean(np.square(y - y_ref)))


def test_paper_module_is_attention_and_residual_blocks_in_turn():
    y, y_ref = normal(1, 8, 8, 8), normal(1, 8, 8, 8, seed=1)
    params = random_params(ContextModule(PAPER), y, y_ref)

    def rebuilt(u, y_ref):
        for i in range(2):
            u = u + CrossAttention(4, 2, 2, 4).apply({"params": params[f"attention_{i}"]}, u, y_ref)
            u = ResidualBlock(8).apply({"params": params[f"block_{i}"]}, u)
        return u

    out = jax.jit(ContextModule(PAPER).apply)({"params": params}, y, y_ref)
    np.testing.assert_allclose(out, jax.jit(rebuilt)(y, y_ref), atol=1e-4)


def test_resblock_variant_sees_both_latents():
    module = ContextModule(dataclasses.replace(PAPER, context="resblock"))
    y, y_ref = normal(1, 4, 4, 8), normal(1, 4, 4, 8, seed=1)
    params = random_params(module, y, y_ref)
    assert set(params["block_0"]) == {"first", "second"}

    def rebuilt(y, y_ref):
        u = Conv3(8).apply({"params": params["block_0"]["first"]}, jax.nn.silu(jnp.concatenate([y, y_ref], axis=-1)))
        u = y + Conv3(8).apply({"params": params["block_0"]["second"]}, jax.nn.silu(u))
        return ResidualBlock(8).apply({"params": params["block_1"]}, u)

    out = jax.jit(module.apply)({"params": params}, y, y_ref)
    np.testing.assert_allclose(out, jax.jit(rebuilt)(y, y_ref), atol=1e-4)


def test_an_untrained_decoder_does_not_drift_away():
    """Fed with its own output it settles: attention adds as much every frame, and the leak takes as much away."""
    y_ref, nothing = normal(1, 4, 4, 16), np.zeros((1, 4, 4, 16), np.float32)
    module = CompactContextDecoder(TINY)
    params = untrained(CompactContextDecoder)
    run = jax.jit(module.apply)
    y, sizes = y_ref, []
    for _ in range(200):
        y = run(params, nothing, y)
        sizes.append(float(np.sqrt(np.mean(np.square(y)))))
    assert sizes[199] < 1.05 * sizes[99] < 10.0


SMALL = dataclasses.replace(get_preset("small"), width=16, detail_depth=None)


def test_codewords_of_displacements_say_where_to_look_in_their_first_two_numbers():
    y_ref, module = normal(1, 8, 8, 192), Displacement(codeword_dim=6)
    pointers = np.zeros((1, 2, 2, 1, 6), np.float32)
    pointers[..., :2] = POINTER_SCALE * np.float32([8, -16])
    pointers[..., 2:] = normal(1, 2, 2, 1, 4)
    displaced = jax.jit(lambda *a: module.apply({}, *a))(y_ref, pointers)
    np.testing.assert_allclose(displaced[:, :-1, 2:], y_ref[:, 1:, :-2], atol=1e-5)
    wanted = jax.jit(lambda *a: module.apply({}, *a, method="find"))(displaced, y_ref)
    found = np.asarray(module.apply({}, wanted, method="codewords"))
    assert found.shape == pointers.shape and wanted.weights.shape == (1, 2, 2, 2, 2)
    np.testing.assert_array_equal(found[..., 0, :2], POINTER_SCALE * wanted.displacement)
    np.testing.assert_array_equal(found[..., 2:], 0.0)


def test_the_residual_encoder_sees_the_difference_alone():
    y, displaced, offset = normal(1, 4, 4, 192), normal(1, 4, 4, 192, seed=1), normal(1, 4, 4, 192, seed=2)
    params = random_params(ResidualEncoder(SMALL), y, displaced)
    run = jax.jit(ResidualEncoder(SMALL).apply)
    one, other = (run({"params": params}, y + by, displaced + by) for by in (0.0, offset))
    assert one.shape == (1, 4, 4, 16)
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_an_untrained_residual_decoder_repeats_the_displaced_reference():
    u, displaced = normal(1, 8, 8, 16), normal(1, 8, 8, 192)
    module = ResidualDecoder(SMALL)
    params = jax.jit(module.init)(jax.random.key(0), u, displaced)
    keep = 1.0 / (1.0 + np.exp(-DISPLACED_KEEP_LOGIT))
    correction = jax.jit(module.apply)(params, 0.0 * u, displaced) - keep * displaced
    assert np.sqrt(np.mean(np.square(correction))) < 0.3
    assert float(np.abs(jax.jit(module.apply)(params, u, displaced) - keep * displaced).max()) > 0.01


def test_detail_begins_as_nothing_and_learns():
    u, displaced = normal(1, 8, 8, 16), normal(1, 8, 8, 192)
    plain, module = ResidualDecoder(SMALL), ResidualDecoder(dataclasses.replace(SMALL, detail_depth=1, detail_width=24))
    params = jax.jit(module.init)(jax.random.key(0), u, displaced)["params"]
    without = {k: v for k, v in params.items() if k != "detail"}
    y_hat = jax.jit(module.apply)({"params": params}, u, displaced)
    np.testing.assert_allclose(y_hat, jax.jit(plain.apply)({"params": without}, u, displaced), atol=1e-6)
    slope = jax.jit(jax.grad(lambda p: jnp.sum(jnp.square(module.apply({"params": p}, u, displaced)))))(params)
    assert float(np.abs(slope["detail"]["output"]["outward"]["dense"]["kernel"]).max()) > 0
