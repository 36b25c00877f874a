"""Cuts are found, and what only moves, flickers or fades is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from cbvc_jax.video.cuts import CutDetector


def scenes(moving, *parts):
    """Frames of several scenes, each a texture of its own brightness and size."""
    textures = [moving(n, 48, 64) * gain + offset for n, gain, offset in parts]
    return np.clip(np.concatenate(textures), 0, 255).astype(np.uint8)


def found(frames):
    detector = CutDetector()
    return [n for n, frame in enumerate(frames) if detector.push(frame)]


def test_a_cut_is_found_where_it_is(moving):
    assert found(scenes(moving, (5, 0.5, 0), (4, 0.5, 120), (6, 1.0, 0))) == [5, 9]


def test_motion_and_fades_are_no_cuts(moving):
    assert found(moving(12, 48, 64)) == []
    fade = [np.full((16, 16, 3), 20 * n, np.uint8) for n in range(12)]
    assert found(fade) == []


def test_flicker_is_a_cut_at_most_once():
    flicker = [np.full((16, 16, 3), 200 * (n % 2), np.uint8) for n in range(10)]
    assert len(found(flicker)) <= 1


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (8, 8), (17, 40)])
def test_any_size(size):
    frames = [np.full((*size, 3), level, np.uint8) for level in (10, 10, 10, 200, 200)]
    assert found(frames) == [3]
