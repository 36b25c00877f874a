"""The presets of most tests: they train, export and compile in seconds."""

from __future__ import annotations

import dataclasses

from cbvc_jax.presets import Preset

MINI = Preset(
    name="mini",
    blocks="compact",
    latent_channels=16,
    stage_channels=16,
    codeword_dim=4,
    key_sizes=(32, 16, 8),
    predicted_sizes=(("high", (32, 16, 8)), ("medium", (16, 16, 8)), ("low", (8, 32, 16))),
    heads=2,
    head_dim=8,
    encoder_depth=0,
    decoder_depth=1,
    context_depth=1,
    quantizer_depth=0,
)

DISPLACING_MINI = dataclasses.replace(
    MINI, name="displacing-mini", latent_channels=192, width=16, codeword_dim=6, context="displacement"
)
