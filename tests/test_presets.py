"""The family as data: look-ups by name and rate, and the errors of unknown ones."""

from __future__ import annotations

import dataclasses

import pytest

from cbvc_jax.errors import ModelError
from cbvc_jax.presets import KEYFRAME, PRESETS, get_preset


def test_names():
    assert list(PRESETS) == ["wca4", "ca64", "resblock", "light", "small", "tiny"]
    assert all(get_preset(name).name == name for name in PRESETS)


def test_unknown_name():
    with pytest.raises(ModelError, match=r"no preset 'big'.*wca4.*tiny"):
        get_preset("big")


def test_ablations_differ_from_wca4_in_one_thing():
    base = dataclasses.asdict(get_preset("wca4"))
    for name, fields in {
        "ca64": {"window": 64, "window_padding": 0},
        "resblock": {"context": "resblock"},
        "light": {"decoder": "light"},
    }.items():
        assert dataclasses.asdict(get_preset(name)) == {**base, "name": name, **fields}


def test_codebook_sizes():
    preset = get_preset("tiny")
    assert preset.codebook_sizes(KEYFRAME) == (8192, 2048, 512)
    assert preset.codebook_sizes("low") == (8, 2048, 512)
    with pytest.raises(ModelError, match=r"'tiny' has no rate 'ultra'.*high, medium, low"):
        preset.codebook_sizes("ultra")


def test_a_model_of_some_rates():
    preset = get_preset("wca4").with_rates("low")
    assert preset.rates == ("low",)
    assert preset.codebook_sizes("low") == (8, 2048, 512)
    with pytest.raises(ModelError, match="no rate 'high'; it has: low"):
        preset.codebook_sizes("high")
    with pytest.raises(ModelError):
        preset.with_rates("high")
