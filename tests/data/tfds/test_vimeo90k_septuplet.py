"""The data set is what the lists say, in their order, with the PNGs as they were downloaded."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from cbvc_jax.data.vimeo import load_vimeo
from cbvc_jax.errors import VideoError
from tests.data.tfds.conftest import TEST, TRAIN

tfds = pytest.importorskip("tensorflow_datasets")


def test_splits_and_pixels_are_those_of_the_folder(vimeo, data_dir):
    builder = tfds.builder("vimeo90k_septuplet", data_dir=data_dir)
    assert builder.info.full_name == "vimeo90k_septuplet/1.0.0"
    for split, names in (("train", TRAIN), ("test", TEST)):
        source = builder.as_data_source(split)
        assert [record["sequence"].decode() for record in source] == list(names)
        for record, clip in zip(source, load_vimeo(vimeo, split), strict=True):
            assert len(record["video"]) == 7
            for t, frame in enumerate(record["video"]):
                np.testing.assert_array_equal(frame, clip.frames[t])


def test_pictures_are_not_encoded_again(vimeo, data_dir):
    from cbvc_jax.data.tfds.reader import load_prepared

    for clip, name in zip(load_prepared("vimeo90k_septuplet", data_dir, 64), TRAIN, strict=True):
        for t in (0, 6):
            source, _ = clip.frames.picture(t)
            assert source.read() == (vimeo / "sequences" / name / f"im{t + 1}.png").read_bytes()


def test_keys_keep_the_order_and_spread_over_the_heaps(vimeo):
    """Records that do not fit in memory go through 1000 heaps by their key: none may get them all."""
    from tensorflow_datasets.core.shuffle import get_bucket_number

    from cbvc_jax.data.tfds import Vimeo90kSeptuplet

    builder = Vimeo90kSeptuplet(data_dir="unused")
    keys = [key for key, _ in builder._generate_examples(vimeo / "sequences", list(TRAIN))]
    assert keys == sorted(set(keys))
    assert [get_bucket_number(key, 1000) for key in keys] == [0, 333, 666]


@pytest.mark.slow
def test_a_data_set_that_does_not_fit_in_memory_keeps_the_order(vimeo, tmp_path, monkeypatch):
    """Slow because TFDS writes its heaps with TensorFlow, which takes long to import."""
    pytest.importorskip("tensorflow")
    from tensorflow_datasets.core import shuffle

    from cbvc_jax.data.tfds.prepare import prepare

    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)
    prepare("vimeo90k_septuplet", vimeo, tmp_path)
    source = tfds.builder("vimeo90k_septuplet", data_dir=tmp_path).as_data_source("train")
    assert [record["sequence"].decode() for record in source] == list(TRAIN)


def _without_folder(folder):
    shutil.rmtree(folder)


def _without_list(folder):
    (folder / "sep_testlist.txt").unlink()


def _cut_short(folder):
    file = folder / "sequences" / TEST[0] / "im3.png"
    file.write_bytes(file.read_bytes()[:-40])


def _another_size(folder):
    Image.new("RGB", (64, 64)).save(folder / "sequences" / TEST[0] / "im3.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_folder, "(?s)does not exist.*sep_trainlist.txt"),
        (_without_list, "sep_testlist.txt' cannot be read"),
        (_cut_short, "im3.png' cannot be read"),
        (_another_size, "im3.png' is not RGB of 448x256"),
    ],
)
def test_what_is_missing_or_damaged_is_told(vimeo, tmp_path, damage, message):
    from cbvc_jax.data.tfds.prepare import prepare

    folder = tmp_path / "vimeo"
    shutil.copytree(vimeo, folder)
    damage(folder)
    with pytest.raises(VideoError, match=message):
        prepare("vimeo90k_septuplet", folder, tmp_path / "tfds")
    assert not list((tmp_path / "tfds").glob("vimeo90k_septuplet/*"))
