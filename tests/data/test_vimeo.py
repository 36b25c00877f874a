"""Vimeo-90k in its own layout, and raw video by the names of the test sets."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from cbvc_jax.data.batches import BatchShape, ClipBatches
from cbvc_jax.data.clips import load_all, load_clips
from cbvc_jax.data.raw import parse_name
from cbvc_jax.data.vimeo import load_vimeo
from cbvc_jax.errors import VideoError


@pytest.fixture
def vimeo(tmp_path, moving):
    folder = tmp_path / "vimeo_septuplet"
    for i, name in enumerate(("00001/0001", "00001/0002", "00002/0001")):
        (folder / "sequences" / name).mkdir(parents=True)
        for t, frame in enumerate(moving(7 + i, 64, 96)[i:]):
            Image.fromarray(frame).save(folder / "sequences" / name / f"im{t + 1}.png")
    (folder / "sep_trainlist.txt").write_text("00001/0001\n00002/0001\n")
    (folder / "sep_testlist.txt").write_text("00001/0002\n\n")
    return folder


def test_septuplets_are_those_of_the_lists(vimeo, moving, tmp_path):
    clips = load_all(str(vimeo), tmp_path / "cache", 64)
    assert [c.name for c in clips] == ["00001/0001", "00002/0001"]
    assert [c.name for c in load_vimeo(vimeo, "test")] == ["00001/0002"]
    assert len(clips[1].frames) == 7 and not clips[1].is_still
    np.testing.assert_array_equal(clips[1].frames[3, 8:40, 16:], moving(9, 64, 96)[5, 8:40, 16:])


def test_batches_come_from_septuplets(vimeo):
    batches = ClipBatches(load_vimeo(vimeo), BatchShape(2, 7, 1, 64, 0.0), seed=0)
    assert batches(3).shape == (2, 7, 64, 64, 3)
    np.testing.assert_array_equal(batches(3)[1:], batches(3, (1, 2)))


def test_what_is_missing_is_told(vimeo):
    (vimeo / "sequences/00002/0001/im4.png").unlink()
    with pytest.raises(VideoError, match="im4"):
        load_vimeo(vimeo)[1].frames[3]
    (vimeo / "sep_trainlist.txt").write_text("00009/0001\n")
    with pytest.raises(VideoError, match="no clip 00009/0001"):
        load_vimeo(vimeo)
    (vimeo / "sep_testlist.txt").write_text("")
    with pytest.raises(VideoError, match="names no clip"):
        load_vimeo(vimeo, "test")


@pytest.mark.parametrize(
    ("name", "size", "rate"),
    [
        ("Beauty_1920x1080_120fps_420_8bit_YUV.yuv", (1920, 1080), 120),
        ("Bosphorus_3840x2160_120fps_420_10bit_YUV.yuv", (3840, 2160), 120),
        ("BasketballDrive_1920x1080_50.yuv", (1920, 1080), 50),
        ("RaceHorses_416x240_30.yuv", (416, 240), 30),
        ("videoSRC01_1920x1080_30.yuv", (1920, 1080), 30),
        ("foreman_352x288.yuv", (352, 288), None),
    ],
)
def test_names_of_the_test_sets(name, size, rate):
    assert parse_name(name) == (size, Fraction(rate) if rate else None)


def test_raw_video_in_a_folder_is_read(tmp_path):
    y, uv = np.full((2, 64, 96), 90, np.uint8), np.full((2, 2, 32, 48), 128, np.uint8)
    y[1] = 200
    data = b"".join(y[t].tobytes() + uv[t].tobytes() for t in range(2))
    (tmp_path / "Grey_96x64_50fps_420_8bit_YUV.yuv").write_bytes(data)
    (clip,) = load_clips(tmp_path, tmp_path / "cache", 64)[:1]
    assert clip.frames.shape[1:] == (64, 96, 3)
    assert abs(int(clip.frames[0, 0, 0, 0]) - (90 - 16) * 255 / 219) <= 1
    (tmp_path / "unnamed.yuv").write_bytes(data)
    with pytest.raises(VideoError, match="must hold its size"):
        parse_name(tmp_path / "unnamed.yuv")
