"""A preset and a configuration that train in seconds."""

from __future__ import annotations

import ml_collections
import numpy as np
import pytest
from PIL import Image

from cbvc_jax import presets
from configs import base

MINI = presets.Preset(
    name="mini",
    blocks="compact",
    latent_channels=16,
    stage_channels=16,
    codeword_dim=4,
    key_sizes=(32, 16, 8),
    predicted_sizes=(("high", (32, 16, 8)), ("low", (8, 16, 8))),
    heads=2,
    head_dim=8,
    encoder_depth=0,
    decoder_depth=1,
    context_depth=1,
    quantizer_depth=0,
)


@pytest.fixture
def mini(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "mini", MINI)
    return MINI


@pytest.fixture
def config(mini, tmp_path, moving) -> ml_collections.ConfigDict:
    """Four steps of keyframes, six of GOPs, both with a warm-up, on photographs."""
    folder = tmp_path / "data"
    folder.mkdir()
    for i, frame in enumerate(moving(3, 96, 112)):
        noise = np.random.default_rng(i).integers(0, 40, frame.shape, dtype=np.uint8)
        Image.fromarray(np.minimum(frame, 215) + noise).save(folder / f"{i}.png")
    config = base.get_config()
    config.preset = "mini"
    config.rates = ("high", "low")
    config.lr = 1e-3
    config.data.folders = str(folder)
    config.data.cache = str(tmp_path / "cache")
    config.phases = ml_collections.ConfigDict(
        {
            "keyframes": base.phase(steps=4, batch=4, frames=1, crop=64, still_share=1.0, key_warmup=2),
            "gops": base.phase(steps=6, batch=2, frames=3, chunks=2, crop=64, still_share=1.0, predicted_warmup=2),
        }
    )
    config.phase_order = ("keyframes", "gops")
    config.log_every, config.images_every, config.checkpoint_every = 2, 4, 3
    return config
