"""A made-up Vimeo-90k and a folder of videos, prepared once."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from cbvc_jax.video import VideoInfo, create_video

TRAIN = ("00002/0001", "00001/0003", "00001/0001")
TEST = ("00001/0002",)


@pytest.fixture(scope="session")
def vimeo(tmp_path_factory, moving):
    """Three septuplets to train, in an order of the list's own, and one to test."""
    folder, frame = tmp_path_factory.mktemp("data") / "vimeo_septuplet", moving(1, 256, 448)[0]
    for i, name in enumerate((*TRAIN, *TEST)):
        (folder / "sequences" / name).mkdir(parents=True)
        for t in range(7):
            picture = Image.fromarray(np.roll(frame, (9 * i, 4 * t), (0, 1)))
            picture.save(folder / "sequences" / name / f"im{t + 1}.png", compress_level=1)
    (folder / "sep_trainlist.txt").write_text("\n".join(TRAIN) + "\n")
    (folder / "sep_testlist.txt").write_text("\n".join(TEST) + "\n\n")
    return folder


@pytest.fixture(scope="session")
def videos(tmp_path_factory, moving):
    """A video with a cut and a repeated frame, one in a subfolder, a photograph, a small video, and a damaged one."""
    folder = tmp_path_factory.mktemp("data") / "videos"
    (folder / "deep").mkdir(parents=True)

    def write(name, frames, rate=25):
        info = VideoInfo(frames[0].shape[1], frames[0].shape[0], Fraction(1, rate), Fraction(rate))
        with create_video(folder / name, info, crf=0) as video:
            for t, frame in enumerate(frames):
                video.write(frame, t)

    first, second = moving(5, 64, 96), moving(3, 64, 96) // 8
    write("cut.mp4", [*first[:2], first[1], *first[2:], *second])
    write("deep/other.mp4", moving(4, 80, 64), rate=30)
    write("small.mp4", moving(3, 48, 48))
    Image.fromarray(moving(1, 70, 80)[0]).save(folder / "still.png")
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory, vimeo, videos):
    """Where both lie as data sets: vimeo90k_septuplet, and video_folder/threes in chunks of three frames."""
    from cbvc_jax.data.tfds.prepare import prepare

    folder = tmp_path_factory.mktemp("tfds")
    assert (
        prepare("vimeo90k_septuplet", vimeo, folder) == "vimeo90k_septuplet:1.0.0 (test: 1 records, train: 3 records)"
    )
    prepare("video_folder/threes", videos, folder, frames=3)
    return folder
