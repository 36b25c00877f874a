"""Training that goes on from a model: of the same preset, with as many rates or fewer."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest

from cbvc_jax import presets
from cbvc_jax.errors import ModelError
from cbvc_jax.model import CodecModel, init_params, quantizer_kinds
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.training.start import start_from_model
from cbvc_jax.training.state import init_state
from cbvc_jax.weights import load_model, save_model
from tests.mini_preset import DISPLACING_MINI, MINI
from tests.training.mini import mini_config


@pytest.fixture(params=[MINI, DISPLACING_MINI], ids=["attention", "displacement"])
def preset(request, monkeypatch):
    for preset in (MINI, DISPLACING_MINI):
        monkeypatch.setitem(presets.PRESETS, preset.name, preset)
    return request.param


@pytest.fixture
def started(preset, tmp_path):
    """(configuration that goes on from a random model, its parameters)."""
    params, codebooks = init_params(jax.random.key(4), preset)
    save_model(tmp_path / "random", preset, params, codebooks, "")
    config = mini_config()
    config.preset, config.init_from, config.rates = preset.name, str(tmp_path / "random"), preset.rates
    return config, params


def test_training_starts_from_a_model_with_more_rates(started, preset, tmp_path):
    config, params = started
    config.rates = ("low",)
    state = start_from_model(init_state(config), config)
    assert set(state.codebooks) == {KEYFRAME, "low"}
    for network, kinds in quantizer_kinds(preset).items():
        new, old = (p[network]["decode_affines_1"]["scale"] for p in (state.params, params))
        kept = [row for row, kind in enumerate(kinds) if kind in (KEYFRAME, "low")]
        np.testing.assert_allclose(new, np.asarray(old)[kept], atol=1e-3)  # float16 on disk

    # And not the other way round.
    save_model(tmp_path / "low", preset.with_rates("low"), state.params, state.codebooks, "")
    config.init_from, config.rates = str(tmp_path / "low"), ("high", "low")
    with pytest.raises(ModelError, match="has no rate high"):
        start_from_model(state, config)


def test_codewords_count_as_their_averages_say(started):
    config, _ = started
    state = start_from_model(init_state(config), config)
    book, average = np.asarray(state.codebooks[KEYFRAME][0]), state.averages[KEYFRAME][0]
    np.testing.assert_allclose(average.total, book * average.count[..., None], rtol=1e-6)


def test_a_displacing_model_may_grow(tmp_path, monkeypatch):
    params, codebooks = init_params(jax.random.key(4), DISPLACING_MINI)
    save_model(tmp_path / "random", DISPLACING_MINI, params, codebooks, "")
    larger = dataclasses.replace(DISPLACING_MINI, detail_depth=1, detail_width=24, key_depth=1, interpolation="cubic")
    for preset in (MINI, larger):
        monkeypatch.setitem(presets.PRESETS, preset.name, preset)
    config = mini_config()
    config.preset, config.init_from, config.rates = larger.name, str(tmp_path / "random"), larger.rates
    state = start_from_model(init_state(config), config)
    frame = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    model = load_model(tmp_path / "random")
    for kind, y_ref in ((KEYFRAME, None), ("high", np.random.default_rng(1).random((1, 8, 8, 192), np.float32))):
        pictures = []
        for preset, of_preset in ((DISPLACING_MINI, model.params), (larger, state.params)):
            run = functools.partial(CodecModel(preset).apply, {"params": of_preset})
            y = run(frame, method="latents")
            codes = run(y, y_ref, model.codebooks[kind], kind, method="encode")
            pictures.append(run([0.0 * c.codewords for c in codes], y_ref, kind, method="restore"))
        # Nothing is displaced, so that interpolation plays no part.
        np.testing.assert_allclose(pictures[1], pictures[0], atol=1e-5)

    # What a model has is not taken from it, nor is it made wider.
    save_model(tmp_path / "grown", larger, state.params, state.codebooks, "")
    config.init_from = str(tmp_path / "grown")
    for other in (DISPLACING_MINI, dataclasses.replace(larger, detail_width=32)):
        monkeypatch.setitem(presets.PRESETS, other.name, other)
        with pytest.raises(ModelError, match="as configured differs"):
            start_from_model(init_state(config), config)


def test_another_preset_is_refused(started, preset):
    config, _ = started
    (config.preset,) = {MINI.name, DISPLACING_MINI.name} - {preset.name}
    with pytest.raises(ModelError, match=f"of preset '{preset.name}', and '{config.preset}' as configured differs"):
        start_from_model(init_state(config), config)
