"""The codec as functions, on a model small enough to compile in seconds: a decoder gets what the encoder keeps."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest

from cbvc_jax.bitstream.skipping import sent_places
from cbvc_jax.geometry import CODED, MOVES, STAYS, WAYS, stage_grids
from cbvc_jax.model import CodecModel, hold_skipped, init_codebooks, init_params
from cbvc_jax.modules.blocks import pixel_unshuffle
from cbvc_jax.modules.displacement import POINTER_SCALE
from cbvc_jax.presets import KEYFRAME, get_preset

SIZES = {
    "latent_channels": 16,
    "stage_channels": 16,
    "codeword_dim": 4,
    "heads": 2,
    "head_dim": 4,
    "key_sizes": (32, 16, 8),
    "predicted_sizes": (("high", (32, 16, 8)), ("low", (4, 16, 8))),
}
PRESET = dataclasses.replace(get_preset("tiny"), **SIZES)
DISPLACING = dataclasses.replace(get_preset("small"), **SIZES | {"latent_channels": 192, "width": 16})


@pytest.fixture(scope="module", params=[PRESET, DISPLACING], ids=["attention", "displacement"])
def model(request):
    """(function that applies a method, codebooks)."""
    params, codebooks = init_params(jax.random.key(0), request.param)

    @functools.partial(jax.jit, static_argnames=("method", "kind", "grids"))
    def apply(method, *args, **static):
        return CodecModel(request.param).apply({"params": params}, *args, method=method, **static)

    return apply, codebooks


@pytest.fixture(scope="module")
def frames():
    return jax.random.uniform(jax.random.key(3), (2, 64, 128, 3))


def test_sizes(model, frames):
    apply, codebooks = model
    y = apply("latents", frames)
    assert y.shape[:3] == (2, 8, 16)
    codes = apply("encode", y, None, codebooks[KEYFRAME], kind=KEYFRAME)
    assert [code.indices.shape for code in codes] == [(2, 4, 8, 2), (2, 2, 4, 2), (2, 1, 2, 2)]
    y_hat = apply("restore", [code.codewords for code in codes], None, kind=KEYFRAME)
    assert y_hat.shape == y.shape
    assert apply("picture", y_hat).shape == frames.shape


@pytest.mark.parametrize("kind", [KEYFRAME, "high", "low"])
def test_decoding_indices_equals_what_training_restores(model, frames, kind):
    apply, codebooks = model
    y = apply("latents", frames)
    y_ref = None if kind == KEYFRAME else 0.5 * y[::-1]
    codes = apply("encode", y, y_ref, codebooks[kind], kind=kind)
    trained_with = apply("restore", [code.codewords for code in codes], y_ref, kind=kind)
    decoded = apply("decode", [code.indices for code in codes], y_ref, codebooks[kind], kind=kind)
    np.testing.assert_allclose(decoded, trained_with, atol=1e-4)
    sizes = PRESET.codebook_sizes(kind)
    assert all(code.indices.min() >= 0 and code.indices.max() < k for code, k in zip(codes, sizes, strict=True))


def test_a_predicted_frame_depends_on_its_reference(model, frames):
    apply, codebooks = model
    y = apply("latents", frames)
    one, other = (apply("encode", y, ref, codebooks["high"], kind="high")[0].z for ref in (y, 0.0 * y))
    assert not np.allclose(one, other)
    indices = [code.indices for code in apply("encode", y, y, codebooks["high"], kind="high")]
    one, other = (apply("decode", indices, ref, codebooks["high"], kind="high") for ref in (y, 0.0 * y))
    assert not np.allclose(one, other)


def test_only_the_sent_part_of_the_grids_matters_to_the_decoder(model, frames):
    apply, codebooks = model
    grids = stage_grids(40, 72)
    codes = apply("encode", apply("latents", frames), None, codebooks[KEYFRAME], kind=KEYFRAME, grids=grids)
    for code, (rows, cols) in zip(codes, grids, strict=True):
        indices = np.asarray(code.indices)
        for i in range(rows, indices.shape[1]):
            np.testing.assert_array_equal(indices[:, i], indices[:, rows - 1])
        for j in range(cols, indices.shape[2]):
            np.testing.assert_array_equal(indices[:, :, j], indices[:, :, cols - 1])


def test_what_a_frame_shows_from_elsewhere_it_only_points_at():
    """Codewords that say nothing but where each block lies restore the reference, displaced."""
    params, codebooks = init_params(jax.random.key(0), DISPLACING)
    params["context_decoder"] = jax.tree.map(np.zeros_like, params["context_decoder"])
    params["context_decoder"]["keep"]["dense"]["bias"] += 100.0
    where = np.float32([[0, 0], [3, -5], [-2, 4]])
    book = np.zeros((2, 16, 4), np.float32)
    book[0, :3, :2] = POINTER_SCALE * where
    books = (codebooks["high"][0], book, codebooks["high"][2])
    run = jax.jit(functools.partial(CodecModel(DISPLACING).apply, kind="high"), static_argnames="method")
    texture = np.random.default_rng(0).normal(size=(1, 128, 128, 3)).astype(np.float32)
    for axis in (1, 2):
        texture = sum(np.roll(texture, i, axis) for i in range(-3, 4)) / 4.0
    for index, (down, right) in enumerate(where.astype(int)):
        y_ref = pixel_unshuffle(texture, 8)
        y = pixel_unshuffle(np.roll(texture, (-down, -right), (1, 2)), 8)
        codes = run({"params": params}, y, y_ref, books, method="encode")
        pointers = np.asarray(codes[1].indices[..., 0])
        assert (pointers[:, 1:-1, 1:-1] == index).all()
        y_hat = run({"params": params}, [code.indices for code in codes], y_ref, books, method="decode")
        inside = (slice(None), slice(4, -4), slice(4, -4))
        np.testing.assert_allclose(y_hat[inside], y[inside], atol=1e-4)


def test_blocks_that_are_skipped_have_no_say_in_those_around_them():
    """Whatever indices stand in for what was not sent, the neighbours show the same."""
    params, codebooks = init_params(jax.random.key(0), DISPLACING)
    run = jax.jit(functools.partial(CodecModel(DISPLACING).apply, kind="high", method="decode"))
    y_ref = jax.random.normal(jax.random.key(1), (1, 16, 16, 192))
    skip = np.zeros((1, 8, 8), np.int32)
    skip[:, 4:, 4:] = 1
    indices = [np.zeros((1, *grid, 2), np.int32) for grid in stage_grids(128, 128)]
    shown = []
    for index in (0, 5):
        for stage, first in zip(indices, (4, 2, 1), strict=True):
            stage[:, first:, first:] = index
        shown.append(run({"params": params}, indices, y_ref, codebooks["high"], skip=skip))
    np.testing.assert_array_equal(*shown)
    np.testing.assert_array_equal(shown[0][:, 8:, 8:], y_ref[:, 8:, 8:])


def test_networks_hold_what_streams_do_not_send():
    """The same places by the bitstream's rule, which is numpy's, and by the model's."""
    random = np.random.default_rng(0)
    skip = random.choice([CODED, STAYS, MOVES, WAYS - 1], (8, 12), p=(0.1, 0.7, 0.1, 0.1)).astype(np.uint8)
    shapes = [(2, *grid) for grid in stage_grids(128, 192)]
    codewords = [np.ones((1, rows, columns, groups, 3), np.float32) for groups, rows, columns in shapes]
    held = hold_skipped(codewords, skip[None].astype(np.int32))
    for here, there in zip(held, sent_places(skip, shapes), strict=True):
        np.testing.assert_array_equal(np.asarray(here)[0, ..., 0].transpose(2, 0, 1), there)
        assert 0 < there.sum() < there.size


def test_codebooks_have_the_scale_that_the_paper_starts_from():
    codebooks = init_codebooks(jax.random.key(0), get_preset("tiny"))
    assert set(codebooks) == {"key", "high", "medium", "low"}
    assert codebooks["medium"][0].shape == (2, 64, 16)
    np.testing.assert_allclose(np.std(codebooks["key"][0]), np.sqrt(2 / (5 * 16)), rtol=0.01)


def test_parameters_of_tiny_keep_their_names_and_shapes():
    """Trained models on disk depend on them; a change here is a breaking change."""
    params, _ = jax.eval_shape(lambda: init_params(jax.random.key(0), get_preset("tiny")))
    shapes = {"/".join(k.key for k in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    assert len(shapes) == 184
    assert shapes["encoder/stack/inward/dense/kernel"] == (192, 96)
    assert shapes["context_decoder/keep/dense/kernel"] == (96, 96)
    assert shapes["context_encoder/attention_0/bias"] == (4, 16, 64)
    assert shapes["quantizer/encode_affines_0/scale"] == (4, 128)
    assert shapes["quantizer/restore_heads_2/block_1/conv/kernel"] == (3, 3, 128, 64)
    assert shapes["decoder/output/outward/dense/kernel"] == (4 * 96, 192)
