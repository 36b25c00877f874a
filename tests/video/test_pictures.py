"""Pictures as video: their order, their kinds, and what is said of those that do not fit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from cbvc_jax.errors import VideoError
from cbvc_jax.video import VideoInfo, create_video, open_video
from cbvc_jax.video.pictures import list_pictures, read_picture

from .films import smooth

RATE = Fraction(25)


def save(folder, names, height=12, width=10):
    for number, name in enumerate(names):
        Image.fromarray(np.full((height, width, 3), number, np.uint8)).save(folder / name)


def test_folder_is_read_in_natural_order(tmp_path):
    save(tmp_path, ["f1.png", "f2.png", "f10.png", "f11.bmp"])
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_text("nor this")
    with open_video(tmp_path) as video:
        assert video.info == VideoInfo(10, 12, 1 / RATE, RATE, "rgb", "full", 4)
        frames = list(video)
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [0, 1, 2, 3]
    assert [frame.timestamp for frame in frames] == [0, 1, 2, 3]
    with open_video(tmp_path, frame_rate=50) as video:
        assert video.info.time_base * 50 == 1


def test_numbered_names(tmp_path):
    save(tmp_path, ["out_00009.png", "out_00010.png", "out_1.png", "out_100000.png", "xout_00011.png"])
    names = [file.name for file in list_pictures(tmp_path / "out_%05d.png")]
    assert names == ["out_00009.png", "out_00010.png", "out_100000.png"]
    assert list_pictures(tmp_path / "out_%d.png")[0].name == "out_1.png"
    with pytest.raises(VideoError, match="no pictures"):
        open_video(tmp_path / "none_%05d.png")


def test_kinds_of_picture(tmp_path):
    rgb = smooth(9, 14)
    for suffix in ("png", "bmp", "tif", "ppm"):
        Image.fromarray(rgb).save(tmp_path / f"a.{suffix}")
        assert np.array_equal(read_picture(tmp_path / f"a.{suffix}"), rgb)
    Image.fromarray(rgb).save(tmp_path / "a.jpg", quality=95, subsampling=0)
    assert np.abs(read_picture(tmp_path / "a.jpg").astype(int) - rgb).max() <= 6
    Image.fromarray(np.full((2, 2), 32896, np.uint16)).save(tmp_path / "deep.png")
    assert (read_picture(tmp_path / "deep.png") == 128).all()
    Image.new("RGBA", (2, 2), (200, 100, 50, 128)).save(tmp_path / "glass.png")
    assert read_picture(tmp_path / "glass.png")[0, 0].tolist() == [100, 50, 25]
    Image.new("L", (2, 2), 77).save(tmp_path / "gray.png")
    assert (read_picture(tmp_path / "gray.png") == 77).all()


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.fromarray(smooth(8, 16))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "phone.png", exif=exif)
    turned = read_picture(tmp_path / "phone.png")
    assert np.array_equal(turned, np.rot90(smooth(8, 16), -1))


def test_one_picture_is_a_video_of_one_frame(tmp_path):
    save(tmp_path, ["a.png"])
    with open_video(tmp_path / "a.png") as video:
        assert video.info.frames == 1
        assert len(list(video)) == 1


def test_another_size_is_an_error_that_names_the_file(tmp_path):
    save(tmp_path, ["a1.png", "a2.png"])
    save(tmp_path, ["a3.png"], height=13)
    with (
        open_video(tmp_path) as video,
        pytest.raises(VideoError, match=r"a3\.png is 10x13 .* a1\.png is 10x12"),
    ):
        list(video)


def test_damage_names_the_file(tmp_path):
    (tmp_path / "a.png").write_bytes(b"text")
    with pytest.raises(VideoError, match=r"a\.png is not a picture"):
        open_video(tmp_path)
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(whole)
    (tmp_path / "a.png").write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(VideoError, match=r"a\.png cannot be read as a picture"):
        open_video(tmp_path)
    with pytest.raises(VideoError, match="does not exist"):
        open_video(tmp_path / "missing.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(VideoError, match="holds no pictures"):
        open_video(empty)


def test_a_claim_of_a_giant_picture_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20000, 2)).save(tmp_path / "wide.png")
    with pytest.raises(VideoError, match=r"wide\.png: a frame of 20000x2"):
        read_picture(tmp_path / "wide.png")


def test_written_sequences_are_lossless_and_replace_older_ones(tmp_path):
    pictures = [smooth(11, 13, shift) for shift in range(4)]
    info = VideoInfo(13, 11, 1 / RATE, RATE, "rgb", "full")
    for target, pattern in (("out.png", "out_%05d.png"), ("deep/er/", "deep/er"), ("n%03d.png", "n%03d.png")):
        for count in (4, 2):
            with create_video(f"{tmp_path}/{target}", info) as out:
                for number in range(count):
                    out.write(pictures[number], number)
            with open_video(tmp_path / pattern) as video:
                frames = list(video)
            assert len(frames) == count
            assert all(np.array_equal(frame.rgb, picture) for frame, picture in zip(frames, pictures, strict=False))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "deep", "n001.png", "n002.png", "out_00001.png", "out_00002.png",
    ]  # fmt: skip
    with pytest.raises(VideoError, match="exist already"):
        create_video(tmp_path / "out.png", info, overwrite=False)


def test_a_sequence_given_up_leaves_the_older_one(tmp_path):
    info = VideoInfo(4, 4, 1 / RATE, RATE)
    with create_video(f"{tmp_path}/", info) as out:
        out.write(np.zeros((4, 4, 3), np.uint8), 0)
    with pytest.raises(KeyboardInterrupt), create_video(f"{tmp_path}/", info) as out:
        out.write(np.ones((4, 4, 3), np.uint8), 0)
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["frame_00001.png"]
    assert not read_picture(tmp_path / "frame_00001.png").any()
