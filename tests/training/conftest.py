"""A configuration that trains in seconds."""

from __future__ import annotations

import ml_collections
import numpy as np
import pytest
from PIL import Image

from cbvc_jax import presets
from configs import base


@pytest.fixture
def mini(monkeypatch, mini_preset):
    monkeypatch.setitem(presets.PRESETS, "mini", mini_preset)
    return mini_preset


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
