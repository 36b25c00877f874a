"""Known failures are found where they are, and a picture shows each."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from cbvc_jax.video import VideoInfo, create_video


@pytest.fixture(scope="module")
def script(example):
    return example("known_failures")


def test_places_are_where_the_errors_are(script):
    noise = np.random.default_rng(0).integers(0, 255, (160, 400, 3), dtype=np.uint8)
    noise[:, 150:290] = 90
    sources = [noise, noise]
    keyframe, last = noise.copy(), noise.copy()
    # All over the left end from the keyframe on; new in the middle; less in the lowest lines, and where it is flat.
    keyframe[:64, :96] ^= 128
    last[:64, :96] ^= 128
    last[:64, 300:396] ^= 64
    last[96:160, 40:136] ^= 32
    last[50:114, 170:266] += 5
    found = script.places(sources, [keyframe, last])
    assert {name: place[:2] for name, place in found.items()} == {
        "texture": (0, 0),
        "motion": (0, 300),
        "lower edge": (96, 40),
        "smooth": (50, 170),
    }
    assert found["smooth"][2].endswith("error 5.0 levels")


def test_a_picture_shows_every_place(script, tmp_path, moving, model_folder, capsys):
    clip, output = tmp_path / "clip.mp4", tmp_path / "failures.png"
    with create_video(clip, VideoInfo(128, 80, Fraction(1, 25), Fraction(25))) as video:
        for number, rgb in enumerate(moving(3, 80, 128)):
            video.write(rgb, number)
    options = ["--model", str(model_folder), "--output", str(output)]
    assert script.main(["--input", str(clip), *options]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    with Image.open(output) as picture:
        assert picture.size == (2 * 288 + 3, 4 * (192 + 24))
    with create_video(clip, VideoInfo(64, 48, Fraction(1, 25), Fraction(25))) as video:
        video.write(np.zeros((48, 64, 3), np.uint8), 0)
    assert script.main(["--input", str(clip), *options]) == 1
    assert "too small" in capsys.readouterr().err
