"""`make demo` on a few small frames: the files are there, and the table says what they are."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from cbvc_jax.video import VideoInfo, create_video, open_video


@pytest.fixture(scope="module")
def demo(example):
    return example("demo")


@pytest.fixture
def clip(tmp_path, moving) -> Path:
    path = tmp_path / "town_01.mp4"
    with create_video(path, VideoInfo(64, 48, Fraction(1, 25), Fraction(25))) as video:
        for number, rgb in enumerate(moving(5, 48, 64)):
            video.write(rgb, number)
    return path


def test_the_demo(demo, clip, model_folder, tmp_path, capfd):
    output = tmp_path / "demo"
    options = ["--rate", "low", "--model", str(model_folder), "--input", str(clip), "--output", str(output)]
    assert demo.main([*options, "--frames", "4"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert re.search(r"video +64x48, 4 frames\n", out)
    size = (output / "town.cbv").stat().st_size
    assert f"{size:,} bytes, {8 * size / (64 * 48 * 4):.4f} bpp, {8 * size * 25 / 4 / 1000:.0f} kbit/s" in out
    assert "n/a (frames too small)" in out
    assert re.search(r"encode +[0-9.]+ frames/s", out)
    with open_video(output / "town.mp4") as video:
        assert len(list(video)) == 4
    with Image.open(output / "side_by_side.png") as sheet:
        assert sheet.size == (2 * 64 + 4, 48 + demo.LABEL_HEIGHT)


def test_an_unknown_model_is_told_in_a_line(demo, tmp_path, capfd):
    assert demo.main(["--model", "nothing", "--output", str(tmp_path / "demo")]) == 1
    assert re.fullmatch(r"demo: there is no model 'nothing'.*\n", capfd.readouterr().err)


def test_the_bundled_clip_is_there(demo):
    with open_video(demo.CLIP) as video:
        assert (video.info.width, video.info.height, video.info.frames) == (480, 270, 96)
