"""Wiring of the quantiser (figure 4), rebuilt step by step from its heads, for both kinds of blocks."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cbvc_jax.modules.quantizer import STAGES, VectorQuantizer
from cbvc_jax.modules.search import look_up, search
from cbvc_jax.presets import KEYFRAME, get_preset

from .weights import normal, random_params

SIZES = {
    "latent_channels": 8,
    "stage_channels": 8,
    "codeword_dim": 4,
    "key_sizes": (16, 8, 4),
    "predicted_sizes": (("high", (16, 8, 4)), ("low", (2, 8, 4))),
}
SMALL = dataclasses.replace(get_preset("tiny"), **SIZES)
CONV = dataclasses.replace(get_preset("wca4"), **SIZES)
KINDS = (KEYFRAME, "high", "low")


@pytest.fixture(scope="module", params=[SMALL, CONV], ids=["compact", "conv"])
def quantizer(request):
    """(preset, parameters, codebooks, latents of two frames)."""
    preset = request.param
    codebooks = {
        kind: tuple(jnp.asarray(normal(2, size, 4, seed=s)) for s, size in enumerate(preset.codebook_sizes(kind)))
        for kind in (KEYFRAME, "low")
    }
    y = normal(2, 16, 8, 8)

    def both(m, y):
        return m.decode([c.codewords for c in m.encode(y, codebooks[KEYFRAME], KEYFRAME)], KEYFRAME)

    return preset, {"params": random_params(VectorQuantizer(preset, KINDS), y, method=both)}, codebooks, y


def encode(quantizer, kind, *options):
    preset, variables, codebooks, y = quantizer
    module = VectorQuantizer(preset, KINDS)
    return jax.jit(lambda y: module.apply(variables, y, codebooks[kind], kind, *options, method="encode"))(y)


def decode(quantizer, kind, words):
    preset, variables, _, _ = quantizer
    return jax.jit(lambda words: VectorQuantizer(preset, KINDS).apply(variables, words, kind, method="decode"))(words)


@pytest.mark.parametrize("kind", [KEYFRAME, "low"])
def test_encoding_subtracts_codewords_stage_by_stage(quantizer, kind):
    preset, variables, codebooks, y = quantizer
    codes = encode(quantizer, kind)
    words = [look_up(code.indices, book) for code, book in zip(codes, codebooks[kind], strict=True)]

    @jax.jit
    def rebuilt(y, words):
        bound = VectorQuantizer(preset, KINDS).bind(variables)
        u, inputs = y, []
        for s in range(STAGES):
            stage = bound.stage_encoders[s](u)
            if preset.blocks == "compact":
                stage = bound.encode_affines[s](stage, kind)
            inputs.append(bound.quantize_heads[s](stage))
            if s < STAGES - 1:
                u = bound.latent_heads[s](stage) - words[s].reshape(inputs[s].shape)
        return inputs

    for s, (code, z) in enumerate(zip(codes, rebuilt(y, words), strict=True)):
        assert code.z.shape == (2, 16 // 2 ** (s + 1), 8 // 2 ** (s + 1), 2, 4)
        np.testing.assert_allclose(code.z.reshape(z.shape), z, atol=1e-3)
        np.testing.assert_array_equal(code.indices, search(code.z, codebooks[kind][s]))
        np.testing.assert_allclose(code.codewords, words[s], atol=1e-5)


@pytest.mark.parametrize("kind", [KEYFRAME, "low"])
def test_decoding_adds_what_coarser_stages_restored(quantizer, kind):
    preset, variables, _, y = quantizer
    words = [normal(2, 8 >> s, 4 >> s, 2, 4, seed=s) for s in range(STAGES)]

    @jax.jit
    def rebuilt(words):
        bound, restored = VectorQuantizer(preset, KINDS).bind(variables), None
        for s in (2, 1, 0):
            u = bound.dequantize_heads[s](words[s].reshape(*words[s].shape[:3], -1))
            if restored is not None:
                u = u + bound.side_heads[s](restored)
            if preset.blocks == "compact":
                u = bound.decode_affines[s](u, kind)
            restored = bound.restore_heads[s](u)
        return restored

    y_hat = decode(quantizer, kind, words)
    assert y_hat.shape == y.shape
    np.testing.assert_allclose(y_hat, rebuilt(words), atol=1e-3)


def test_a_decoder_with_indices_alone_gets_the_same(quantizer):
    _, _, codebooks, _ = quantizer
    codes = encode(quantizer, "low")
    looked_up = [look_up(code.indices, book) for code, book in zip(codes, codebooks["low"], strict=True)]
    trained_with = decode(quantizer, "low", [code.codewords for code in codes])
    np.testing.assert_allclose(decode(quantizer, "low", looked_up), trained_with, atol=1e-3)


def test_outside_the_sent_grids_indices_repeat(quantizer):
    _, _, codebooks, _ = quantizer
    grids = ((5, 3), (3, 2), (2, 1))
    codes = encode(quantizer, KEYFRAME, grids)
    for code, (rows, cols), book in zip(codes, grids, codebooks[KEYFRAME], strict=True):
        indices = np.asarray(code.indices)
        h, w = indices.shape[1:3]
        inside = indices[:, :rows, :cols]
        np.testing.assert_array_equal(
            indices, np.pad(inside, ((0, 0), (0, h - rows), (0, w - cols), (0, 0)), mode="edge")
        )
        # The encoder goes on with what the decoder will have, not with its own search.
        np.testing.assert_allclose(code.codewords, look_up(code.indices, book), atol=1e-5)


def test_stages_that_do_not_quantise_pass_latents_on(quantizer):
    codes = encode(quantizer, KEYFRAME, None, 1)
    assert not np.array_equal(codes[0].codewords, codes[0].z)
    for code in codes[1:]:
        np.testing.assert_array_equal(code.codewords, code.z)


def test_gradients_reach_the_first_layer(quantizer):
    """Through three searches: each is the identity in the backward pass."""
    preset, variables, codebooks, y = quantizer
    if preset.blocks == "conv":
        pytest.skip("the same searches; only compiling takes longer")
    module = VectorQuantizer(preset, KINDS)

    def loss(y):
        codes = module.apply(variables, y, codebooks[KEYFRAME], KEYFRAME, method="encode")
        return jnp.mean(jnp.square(codes[2].codewords))

    assert np.abs(jax.jit(jax.grad(loss))(y)).max() > 0
