"""Batches from prepared data sets are those of the folders that they were made of."""

from __future__ import annotations

import importlib
import shutil
import sys

import numpy as np
import pytest

from cbvc_jax.data.batches import BatchShape, ClipBatches, prefetch
from cbvc_jax.data.clips import load_all
from cbvc_jax.errors import UsageError, VideoError

tfds = pytest.importorskip("tensorflow_datasets")

SHAPE = BatchShape(batch=4, frames=4, chunks=2, crop=64, still_share=0.3)


@pytest.fixture(scope="module")
def load(data_dir):
    from cbvc_jax.data.tfds.reader import load_prepared

    return lambda names, min_side=64, **kwargs: load_prepared(names, data_dir, min_side, **kwargs)


@pytest.mark.parametrize("name", ["vimeo90k_septuplet:1.0.0", "video_folder/threes:1.0.0"])
def test_batches_are_those_of_the_folder(load, vimeo, videos, tmp_path, name):
    folder = vimeo if "vimeo" in name else videos
    ours = ClipBatches(load(name), SHAPE, seed=3)
    theirs = ClipBatches(load_all(str(folder), tmp_path / "cache", 64), SHAPE, seed=3)
    assert [len(clip.frames) for clip in ours.videos] == [len(clip.frames) for clip in theirs.videos]
    for n in (5, 0, 1):
        np.testing.assert_array_equal(ours(n), theirs(n))


def test_batches_do_not_depend_on_processes_threads_or_order(load):
    batches = ClipBatches(load("video_folder/threes, vimeo90k_septuplet"), SHAPE, seed=1)
    whole = list(prefetch(batches, 0, 6, workers=4))
    fresh = ClipBatches(load("video_folder/threes, vimeo90k_septuplet"), SHAPE, seed=1)
    for n in (4, 2, 5):
        np.testing.assert_array_equal(np.concatenate([fresh(n, (0, 1)), fresh(n, (1, 4))]), whole[n])


def test_small_clips_are_left_out_and_splits_chosen(load):
    assert [clip.name for clip in load("video_folder/threes")] == [
        "cut.mp4#0",
        "cut.mp4#1",
        "deep/other.mp4#0",
        "still.png#0",
    ]
    assert len(load("video_folder/threes", 16)) == 5
    assert len(load("vimeo90k_septuplet", split="test")) == 1
    with pytest.raises(VideoError, match="no clip of at least 512 pixels"):
        load("video_folder/threes", 512)


@pytest.mark.parametrize("name", ["vimeo90k_septuplets:1.0.0", "vimeo90k_septuplet:2.0.0", "vimeo:90k", ""])
def test_a_typo_is_told_with_the_nearest_name(load, name):
    with pytest.raises(UsageError, match=f"no data set '{name}' .* nearest is 'vi.*1.0.0'"):
        load(name)


def test_no_data_sets_at_all_are_told(tmp_path):
    from cbvc_jax.data.tfds.reader import load_prepared

    with pytest.raises(UsageError, match="prepares one"):
        load_prepared("vimeo90k_septuplet", tmp_path / "none", 64)


def test_a_data_set_without_video_and_a_missing_split_are_told(load, tmp_path):
    from cbvc_jax.data.tfds.reader import load_prepared

    class Numbers(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"n": tfds.features.Scalar(np.int64)})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield 0, {"n": 1}

    Numbers(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    with pytest.raises(UsageError, match="no feature 'video'"):
        load_prepared("numbers", tmp_path, 64)
    with pytest.raises(UsageError, match="no split 'test'"):
        load("video_folder/threes", split="test")


def test_a_damaged_record_is_told(load, data_dir, tmp_path):
    from cbvc_jax.data.tfds.reader import load_prepared

    shutil.copytree(data_dir / "vimeo90k_septuplet", tmp_path / "vimeo90k_septuplet")
    (file,) = tmp_path.glob("*/*/*-test.array_record*")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(VideoError, match=r"record 0 of vimeo90k_septuplet \(test\) cannot be read"):
        load_prepared("vimeo90k_septuplet", tmp_path, 64, "test")[0].frames[0]


def test_the_command_prepares_and_tells(videos, vimeo, data_dir, capsys):
    from cbvc_jax.data.tfds.__main__ import main

    place = ["--data-dir", str(data_dir), "--folder", str(videos)]
    main(["video_folder/threes", "--frames", "3", *place])
    assert capsys.readouterr().out.endswith("video_folder/threes:1.0.0 (train: 7 records)\n")
    for name, message in (
        ("video_folders", "nearest is 'video_folder'"),
        ("vimeo90k_septuplet/mine", "neither a name"),
        ("video_folder", "need a name"),
    ):
        with pytest.raises(SystemExit, match=message):
            main([name, "--frames", "4", *place])


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.delitem(sys.modules, "cbvc_jax.data.tfds", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UsageError, match=r"cbvc-jax\[tfds\]"):
        importlib.import_module("cbvc_jax.data.tfds")
