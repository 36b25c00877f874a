"""Models of which each half was trained apart."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from cbvc_jax.errors import ModelError
from cbvc_jax.model import KEYFRAME_NETWORKS, CodecModel, init_params
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.training.join import join, main
from cbvc_jax.weights import load_model, save_model
from tests.mini_preset import DISPLACING_MINI


@pytest.fixture
def other(tmp_path):
    """A model of the same preset with other weights."""
    save_model(tmp_path / "other", DISPLACING_MINI, *init_params(jax.random.key(7), DISPLACING_MINI), "")
    return load_model(tmp_path / "other")


def test_keyframes_are_of_the_first_model_and_the_rest_of_the_second(displacing_model, other, tmp_path, capsys):
    assert main([str(displacing_model.path), str(other.path), "--out", str(tmp_path / "joined")]) == 0
    joined = load_model(tmp_path / "joined")
    assert joined.sha256.hex() in capsys.readouterr().out
    frame = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    y_ref = np.random.default_rng(1).random((1, 8, 8, 192), np.float32)
    for kind, reference, origin in ((KEYFRAME, None, displacing_model), ("high", y_ref, other)):
        pictures = []
        for model in (joined, origin):
            network, variables = CodecModel(DISPLACING_MINI), {"params": model.params}
            y = network.apply(variables, frame, method="latents")
            codes = network.apply(variables, y, reference, model.codebooks[kind], kind, method="encode")
            pictures.append(network.apply(variables, [c.codewords for c in codes], reference, kind, method="restore"))
        np.testing.assert_array_equal(*pictures)


def test_no_network_of_predicted_frames_is_the_keyframes(displacing_model, other):
    params, codebooks, tables = join(displacing_model, other)
    for name, part in params.items():
        origin = displacing_model if name in KEYFRAME_NETWORKS else other
        assert part is origin.params[name]
    assert all(codebooks[rate] is other.codebooks[rate] for rate in DISPLACING_MINI.rates) and tables is None


def test_models_that_share_networks_are_refused(model, displacing_model):
    with pytest.raises(ModelError, match="presets differ"):
        join(model, displacing_model)
    with pytest.raises(ModelError, match="share networks"):
        join(model, model)
