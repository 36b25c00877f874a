"""Folders of videos become shots: cuts split them, repetitions go, damaged files are left out."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from cbvc_jax.data.clips import kept_frames, load_clips, split_shots
from cbvc_jax.errors import VideoError
from cbvc_jax.video import VideoInfo, create_video


def test_a_cut_splits_and_a_repetition_is_left_out(moving):
    first, second = moving(4, 64, 64), 255 - moving(3, 64, 64)
    frames = [*first[:2], first[1], *first[2:], *second]
    shots = list(split_shots(frames))
    assert [len(s) for s in shots] == [4, 3]
    np.testing.assert_array_equal(shots[0], first)
    assert [(kept.shot, kept.number) for kept in kept_frames(frames)] == [
        *((0, n) for n in (0, 1, 3, 4)),
        (1, 5),
        (1, 6),
        (1, 7),
    ]


def test_fast_motion_stays_one_shot():
    """Stripes that move by half their width: every pixel in two changes by 160 levels, and nothing is cut."""
    stripes = np.repeat(np.uint8([0, 160, 0, 160]), 32)[:, None, None] * np.ones((1, 64, 3), np.uint8)
    frames = [np.roll(stripes, 16 * t, axis=0) for t in range(6)]
    assert [len(shot) for shot in split_shots(frames)] == [6]


def test_a_folder_is_decoded_once_and_damage_is_left_out(tmp_path, moving):
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    with create_video(folder / "deep" / "a.mp4", VideoInfo(64, 64, Fraction(1, 25), Fraction(25)), crf=0) as video:
        for t, frame in enumerate(moving(5, 64, 64)):
            video.write(frame, t)
    Image.fromarray(moving(1, 70, 80)[0]).save(folder / "still.png")
    Image.fromarray(moving(1, 20, 80)[0]).save(folder / "small.png")
    (folder / "broken.mp4").write_bytes(b"not a video")
    clips = load_clips(folder, tmp_path / "cache", min_side=64)
    assert [(c.name, c.frames.shape) for c in clips] == [("a.mp4#0", (5, 64, 64, 3)), ("still.png#0", (1, 70, 80, 3))]
    assert [c.is_still for c in clips] == [False, True]
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    again = load_clips(folder, tmp_path / "cache", min_side=64)
    np.testing.assert_array_equal(again[0].frames, clips[0].frames)
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}


def test_no_folder_and_an_empty_one_are_told(tmp_path):
    with pytest.raises(VideoError, match="not a folder"):
        load_clips(tmp_path / "none", tmp_path, 64)
    with pytest.raises(VideoError, match="no usable"):
        load_clips(tmp_path, tmp_path / "cache", 64)
