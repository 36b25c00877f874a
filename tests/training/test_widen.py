"""A larger model that begins as a smaller one makes the same indices and pictures, and its copies learn apart."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cbvc_jax import presets
from cbvc_jax.errors import ModelError
from cbvc_jax.model import CodecModel, init_params
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.training.start import start_from_model
from cbvc_jax.training.state import init_state
from cbvc_jax.training.widen import can_widen, widen
from cbvc_jax.weights import Model, save_model
from tests.mini_preset import MINI
from tests.training.mini import mini_config

WIDE = dataclasses.replace(
    MINI,
    name="wide",
    latent_channels=2 * MINI.latent_channels,
    stage_channels=3 * MINI.stage_channels,
    codeword_dim=2 * MINI.codeword_dim,
    heads=2 * MINI.heads,
    encoder_depth=MINI.encoder_depth + 1,
    decoder_depth=MINI.decoder_depth + 2,
    context_depth=MINI.context_depth,
    quantizer_depth=MINI.quantizer_depth + 1,
)


@pytest.fixture(scope="module")
def narrow() -> Model:
    """The mini preset with no parameter at zero or one, so that none goes unseen."""
    params, codebooks = init_params(jax.random.key(0), MINI)
    leaves, tree = jax.tree_util.tree_flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [v + 0.1 * jax.random.normal(k, v.shape) for k, v in zip(keys, leaves, strict=True)]
    return Model("narrow", MINI, jax.tree_util.tree_unflatten(tree, noisy), codebooks, bytes(32))


@functools.partial(jax.jit, static_argnums=0)
def code(preset, params, codebooks, frames):
    """Indices and pictures of a keyframe and a frame predicted from it."""
    apply: Any = functools.partial(CodecModel(preset).apply, {"params": params})
    y = apply(frames, method="latents")
    kind = preset.rates[0]
    first = apply(y[:1], None, codebooks[KEYFRAME], KEYFRAME, method="encode")
    y_ref = apply([c.codewords for c in first], None, KEYFRAME, method="restore")
    second = apply(y[1:], y_ref, codebooks[kind], kind, method="encode")
    y_hat = apply([c.codewords for c in second], y_ref, kind, method="restore")
    pictures = apply(jnp.concatenate([y_ref, y_hat]), method="picture")
    return [c.indices for c in (*first, *second)], pictures


@pytest.fixture(scope="module")
def frames():
    return jax.random.uniform(jax.random.key(3), (2, 64, 64, 3))


@pytest.mark.slow
def test_the_larger_model_does_what_the_smaller_one_does(narrow, frames):
    params, codebooks = widen(jax.random.key(5), narrow, WIDE)
    indices, pictures = code(MINI, narrow.params, narrow.codebooks, frames)
    wide_indices, wide_pictures = code(WIDE, params, codebooks, frames)
    assert len({i.tobytes() for i in map(np.asarray, indices)}) > 1
    for one, other in zip(indices, wide_indices, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(wide_pictures, pictures, atol=1e-4 * float(np.abs(pictures).max()))


def test_copies_of_a_channel_are_told_apart_by_their_gradients(narrow, frames):
    params, codebooks = widen(jax.random.key(5), narrow, WIDE)

    def loss(p):
        return jnp.mean(jnp.square(code(WIDE, p, codebooks, frames)[1] - frames))

    gradient = jax.grad(loss)(params)["encoder"]["stack"]["inward"]["dense"]["kernel"]
    one, other = np.split(np.asarray(gradient), 2, axis=1)
    assert np.linalg.norm(one - other) > 0.1 * np.linalg.norm(one)


def test_weights_are_as_large_as_those_of_a_layer_of_the_new_width(narrow):
    params, _ = widen(jax.random.key(5), narrow, WIDE)
    old, new = (p["context_decoder"]["block_0"]["conv"]["kernel"] for p in (narrow.params, params))
    ratio = np.asarray(new).std() / np.asarray(old).std()
    assert ratio == pytest.approx(0.5**0.5, rel=0.1)  # twice the inputs


@pytest.mark.parametrize(
    "change",
    [
        {"latent_channels": MINI.latent_channels + 2},
        {"decoder_depth": MINI.decoder_depth - 1},
        {"window": 2 * MINI.window},
        {"key_sizes": (2, 2, 2)},
    ],
)
def test_what_is_no_multiple_is_refused(narrow, change):
    other = dataclasses.replace(WIDE, **change)
    assert not can_widen(MINI, other)
    with pytest.raises(ModelError, match="'wide' cannot begin as 'narrow'"):
        widen(jax.random.key(0), narrow, other)


@pytest.fixture
def config(narrow, tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "mini", MINI)
    monkeypatch.setitem(presets.PRESETS, "wide", WIDE)
    save_model(tmp_path / "narrow", MINI, narrow.params, narrow.codebooks, "")
    config = mini_config()
    config.init_from, config.rates = str(tmp_path / "narrow"), MINI.rates
    return config


def test_training_starts_from_a_smaller_model(narrow, config):
    config.preset = "wide"
    state = start_from_model(init_state(config), config)
    book, average = np.asarray(state.codebooks[KEYFRAME][0]), state.averages[KEYFRAME][0]
    np.testing.assert_allclose(book, np.tile(narrow.codebooks[KEYFRAME][0], 2), atol=1e-3)  # float16 on disk
    np.testing.assert_allclose(average.total, book * average.count[..., None], rtol=1e-6)


def test_training_starts_from_a_model_with_more_rates(narrow, config, tmp_path):
    config.rates = ("low",)
    state = start_from_model(init_state(config), config)
    assert set(state.codebooks) == {KEYFRAME, "low"}
    rows = (p["quantizer"]["decode_affines_1"]["scale"] for p in (state.params, narrow.params))
    np.testing.assert_allclose(next(rows), next(rows)[np.array([0, 3])], atol=1e-3)  # float16 on disk

    # And not the other way round.
    save_model(tmp_path / "low", MINI.with_rates("low"), state.params, state.codebooks, "")
    config.init_from, config.rates = str(tmp_path / "low"), ("high", "low")
    with pytest.raises(ModelError, match="has no rate high"):
        start_from_model(state, config)
