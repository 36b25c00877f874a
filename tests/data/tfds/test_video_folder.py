"""Chunks of one scene each, with where they come from, and the exact frames of the reader of folders."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from cbvc_jax.data.clips import load_clips
from cbvc_jax.errors import UsageError, VideoError

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def builder(data_dir):
    return tfds.builder_from_directory(data_dir / "video_folder/threes/1.0.0")


def test_chunks_end_with_their_scene_and_say_where_they_begin(builder):
    seen = [
        (record["clip"].decode(), int(record["first_frame"]), len(record["video"]), float(record["frame_rate"]))
        for record in builder.as_data_source("train")
    ]
    # Frame 2 of cut.mp4 repeats frame 1, and a scene begins with frame 6; broken.mp4 cannot be read.
    assert seen == [
        ("cut.mp4#0", 0, 3, 25),
        ("cut.mp4#0", 4, 2, 25),
        ("cut.mp4#1", 6, 3, 25),
        ("deep/other.mp4#0", 0, 3, 30),
        ("deep/other.mp4#0", 3, 1, 30),
        ("small.mp4#0", 0, 3, 25),
        ("still.png#0", 0, 1, 25),
    ]


def test_frames_are_those_that_a_folder_gives(builder, videos, tmp_path):
    shots: dict[bytes, list[np.ndarray]] = {}
    for record in builder.as_data_source("train"):
        shots.setdefault(record["clip"], []).extend(record["video"])
    clips = load_clips(videos, tmp_path / "cache", min_side=16)
    for frames, clip in zip(shots.values(), clips, strict=True):
        np.testing.assert_array_equal(np.stack(frames), clip.frames)


def test_folders_train_and_test_are_the_splits(videos, tmp_path):
    from cbvc_jax.data.tfds.prepare import prepare

    for split, file in (("train", "cut.mp4"), ("test", "deep/other.mp4")):
        (tmp_path / "parts" / split).mkdir(parents=True)
        shutil.copy(videos / file, tmp_path / "parts" / split)
    said = prepare("video_folder", tmp_path / "parts", tmp_path / "tfds")
    assert said == "video_folder/default:1.0.0 (test: 1 records, train: 2 records)"


def test_what_makes_no_data_set_is_told(tmp_path):
    from cbvc_jax.data.tfds.prepare import prepare

    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").touch()
    with pytest.raises(VideoError, match="no video or photograph in"):
        prepare("video_folder", tmp_path / "empty", tmp_path)
    (tmp_path / "empty/broken.mp4").write_bytes(b"not a video")
    with pytest.raises(VideoError, match=r"no video or photograph .* can be read"):
        prepare("video_folder", tmp_path / "empty", tmp_path)
    with pytest.raises(VideoError, match="does not exist or is empty"):
        prepare("video_folder", tmp_path / "none", tmp_path)
    with pytest.raises(UsageError, match="chunks of -1 frames"):
        prepare("video_folder/few", tmp_path, tmp_path, frames=-1)


def test_keys_grow_with_the_frame_whatever_the_container_says():
    from cbvc_jax.data.tfds.video_folder import _place

    for expected in (None, 10, 1000):
        keys = [_place(number, expected, 1 << 100) for number in range(0, 500, 3)]
        assert keys == sorted(set(keys)) and keys[-1] < 1 << 100
