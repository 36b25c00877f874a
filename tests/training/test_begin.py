"""`small` before training: keyframes of the smaller model, predicted frames as a codec without networks."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from PIL import Image

from cbvc_jax import presets
from cbvc_jax.errors import ModelError
from cbvc_jax.model import CodecModel
from cbvc_jax.modules.blocks import pixel_unshuffle
from cbvc_jax.modules.quantizer import STAGES
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.training.begin import begin, main
from cbvc_jax.weights import load_model
from tests.mini_preset import DISPLACING_MINI, MINI

COLOURS = np.random.default_rng(0).normal(size=(8, 2, 2, 3)).repeat(64, axis=1).repeat(64, axis=2).astype(np.float32)
"""Eight pictures of 128x128 in squares of one colour each: all stages could code them."""
NOISE = np.random.default_rng(1).normal(size=COLOURS.shape).astype(np.float32)


@pytest.fixture(scope="module")
def begun(model):
    return begin(jax.random.key(1), model, DISPLACING_MINI, COLOURS + 0.01 * NOISE)


def apply(preset, params, *args, method, **static):
    run = functools.partial(CodecModel(preset).apply, {"params": params}, method=method, **static)
    return jax.jit(run)(*args)


def test_keyframes_are_those_of_the_smaller_model(model, begun):
    x = np.random.default_rng(0).random((1, 64, 128, 3), np.float32)
    found = []
    for preset, params, codebooks in ((MINI, model.params, model.codebooks), (DISPLACING_MINI, *begun)):
        y = apply(preset, params, x, method="latents")
        books = codebooks[KEYFRAME]
        codes = apply(preset, params, y, None, books, kind=KEYFRAME, method="encode")
        y_hat = apply(preset, params, [c.codewords for c in codes], None, kind=KEYFRAME, method="restore")
        found.append(([c.indices for c in codes], apply(preset, params, y_hat, method="picture")))
    (one, picture), (other, same) = found
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(picture, same, atol=1e-4)


def test_longer_codewords_have_something_to_learn(begun):
    """What reads the numbers that were added is not 0, so that a gradient reaches them."""
    params, codebooks = begun
    rows = params["quantizer"]["dequantize_heads_0"]["inward"]["dense"]["kernel"].reshape(2, 6, 16)
    assert np.abs(rows[:, 4:]).min() > 0
    assert not codebooks[KEYFRAME][0][..., 4:].any()


@pytest.mark.parametrize("stage", range(STAGES))
def test_each_stage_can_restore_what_the_finer_ones_do_not_send(begun, stage):
    params, codebooks = begun
    books = tuple(np.zeros_like(book) for book in codebooks["low"])
    y = np.asarray(pixel_unshuffle(COLOURS[:1], 8))
    nothing, options = np.zeros_like(y), {"kind": "low", "quantised_stages": stage}
    codes = apply(DISPLACING_MINI, params, y, nothing, books, method="encode", **options)
    codewords = [c.codewords for c in codes]
    assert not any(np.any(c) for c in codewords[:stage])
    y_hat = apply(DISPLACING_MINI, params, codewords, nothing, kind="low", method="restore")
    np.testing.assert_allclose(y_hat, y, atol=0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"stage_channels": 32},
        {"width": 32},
        {"codeword_dim": 2},
        {"codeword_dim": 8},
        {"heads": 4, "context": "attention"},
    ],
)
def test_a_preset_that_cannot_have_these_keyframes_is_refused(model, change):
    other = dataclasses.replace(DISPLACING_MINI, **change)
    with pytest.raises(ModelError, match="cannot begin with the keyframes"):
        begin(jax.random.key(0), model, other, COLOURS)


def test_the_command_writes_a_model(model_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(presets.PRESETS, DISPLACING_MINI.name, DISPLACING_MINI)
    (tmp_path / "clip").mkdir()
    texture = np.random.default_rng(2).normal(size=(320, 320, 3)).cumsum(0).cumsum(1)
    texture = np.uint8(255 * (texture - texture.min()) / np.ptp(texture))
    for t in range(8):
        Image.fromarray(texture[t : t + 256, 2 * t : 2 * t + 256]).save(tmp_path / "clip" / f"{t}.png")
    options = ["--model", str(model_folder), "--preset", DISPLACING_MINI.name, "--out", str(tmp_path / "out")]
    assert main([str(tmp_path / "clip"), *options]) == 0
    written = load_model(tmp_path / "out")
    assert written.sha256.hex() in capsys.readouterr().out
    assert written.preset == DISPLACING_MINI


def test_bad_input_is_one_line(model_folder, tmp_path):
    for options, words in (
        (["--model", "nothing"], "there is no model 'nothing'"),
        (["--model", str(model_folder)], "cannot begin with the keyframes"),
        (["--preset", "big"], "there is no preset 'big'"),
    ):
        with pytest.raises(SystemExit, match=words):
            main(["clip", "--out", str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()
