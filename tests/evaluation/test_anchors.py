from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image

from cbvc_jax.errors import UsageError, VideoError
from cbvc_jax.evaluation import ffmpeg
from cbvc_jax.evaluation.anchors import (
    Anchor,
    check_quality,
    command_line,
    encode_anchor,
    encoder_arguments,
    find_anchor,
)
from cbvc_jax.evaluation.clips import Clip, find_clips
from cbvc_jax.evaluation.measure import AnchorSettings, Task, measure
from cbvc_jax.video import VideoInfo, open_video

pytest.importorskip("imageio_ffmpeg")

COUNT, HEIGHT, WIDTH = 9, 64, 96
INFO = VideoInfo(WIDTH, HEIGHT, Fraction(1, 25), Fraction(25), "bt601", "limited")
TABLE_7 = ("x264-crf", "x264-qp", "x265-crf", "x265-qp")


def moving_pattern(number):
    at = np.arange(HEIGHT)[:, None] + np.arange(WIDTH) + 3 * number
    waves = [127 + 100 * np.sin(at / period) for period in (9, 13, 17)]
    return np.stack(waves, axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A short film, coded without loss as 4:2:0."""
    path = tmp_path_factory.mktemp("anchors") / "a clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_pattern(number), format="rgb24")))
        container.mux(stream.encode())
    return path


def point(source, name, quality, **options):
    (clip,) = find_clips([str(source)], **options)
    return measure(Task(clip, AnchorSettings(find_anchor(name), quality)))


def keyframes(stream):
    """Positions of the frames that are coded alone, as PyAV sees them."""
    with av.open(str(stream)) as container:
        return [number for number, frame in enumerate(container.decode(video=0)) if frame.pict_type == PictureType.I]


@pytest.mark.parametrize("name", [*TABLE_7, "x265-medium", "x265-slow", "svtav1", "vvenc"])
def test_every_anchor_codes_what_is_decoded_again(film, name):
    anchor = find_anchor(name)
    fine, coarse = (point(film, name, quality, frames=6) for quality in (anchor.qualities[-1], anchor.qualities[2]))
    assert fine["frames"] == coarse["frames"] == 6
    assert fine["bytes"] > coarse["bytes"] > 0
    assert fine["bpp"] == 8 * fine["bytes"] / (6 * WIDTH * HEIGHT)
    assert fine["mean"]["psnr_rgb_db"] > coarse["mean"]["psnr_rgb_db"] > 12
    assert fine["mean"]["psnr_rgb_db"] > 30
    assert (fine["matrix"], fine["range"], fine["gop"]) == ("bt601", "limited", 12 if name in TABLE_7 else 32)
    assert fine["versions"]["ffmpeg"].startswith("ffmpeg version")


@pytest.mark.parametrize("name", ["x264-qp-gop4", "x265-crf-gop4", "svtav1-gop4"])
def test_the_gop_is_the_one_asked_for(film, tmp_path, name):
    (clip,) = find_clips([str(film)])
    assert keyframes(encode_anchor(clip, find_anchor(name), 30, tmp_path)) == [0, 4, 8]


def test_a_point_is_the_same_every_time(film):
    timing = {"encode_fps": None, "decode_fps": None}
    assert point(film, "x265-slow", 30) | timing == point(film, "x265-slow", 30) | timing


def test_bytes_are_those_of_the_raw_stream(film, tmp_path):
    (clip,) = find_clips([str(film)])
    stream = encode_anchor(clip, find_anchor("x264-crf"), 30, tmp_path)
    data = stream.read_bytes()
    assert data.startswith(b"\x00\x00\x00\x01") and b"x264" not in data
    assert point(film, "x264-crf", 30)["bytes"] == len(data)


def test_both_sides_are_cropped_alike(film):
    record = point(film, "x265-crf", 5, crop=(66, 30))
    assert (record["width"], record["height"], record["crop"]) == (66, 30, [66, 30])
    assert record["mean"]["psnr_rgb_db"] > 38


def test_pictures_are_piped_in(tmp_path):
    for number in range(COUNT):
        Image.fromarray(moving_pattern(number)).save(tmp_path / f"{number}.png")
    record = point(tmp_path, "x265-crf", 5, frames=4, crop=(64, 48))
    assert (record["frames"], record["matrix"], record["range"]) == (4, "bt601", "limited")
    assert record["mean"]["psnr_rgb_db"] > 38


@pytest.mark.parametrize(("suffix", "dtype", "shift"), [("", np.uint8, 0), ("_10bit", "<u2", 2)])
def test_raw_video_as_the_test_sets_come(film, tmp_path, suffix, dtype, shift):
    raw = tmp_path / f"Clip_{WIDTH}x{HEIGHT}_120fps_420{suffix}.yuv"
    with av.open(str(film)) as container, raw.open("wb") as file:
        for frame in container.decode(video=0):
            file.write((frame.to_ndarray(format="yuv420p").astype(dtype) << shift).tobytes())
    record = point(raw, "x265-crf", 10, frames=3)
    assert (record["width"], record["height"], record["frames"]) == (WIDTH, HEIGHT, 3)
    assert record["mean"]["psnr_rgb_db"] > 38
    assert record["frame_rate"] == "120" and "-framerate 120" in record["command"]


def test_folders_of_test_sets_as_people_have_them(film, tmp_path):
    raw = bytes(WIDTH * HEIGHT * 3 // 2)
    for name in ("HEVC/ClassB/Kimono1_96x64_24.yuv", "HEVC/ClassB/Cactus_96x64_50.yuv", "UVG/Beauty/Beauty_96x64.yuv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(raw)
    for clip in ("one", "two"):
        (tmp_path / "pictures" / clip).mkdir(parents=True)
        Image.fromarray(moving_pattern(0)).save(tmp_path / "pictures" / clip / "im001.png")
    clips = find_clips([str(tmp_path)])
    assert [(c.dataset, c.name) for c in clips] == [
        *(("ClassB", "Cactus_96x64_50"), ("ClassB", "Kimono1_96x64_24"), ("UVG", "Beauty_96x64")),
        *(("pictures", "one"), ("pictures", "two")),
    ]
    assert [c.info.frame_rate for c in clips[:3]] == [50, 24, 25]
    assert len(list(clips[0].rgb())) == 1
    assert {c.dataset for c in find_clips([str(tmp_path)], dataset="all")} == {"all"}


def test_a_crop_to_multiples_is_each_clip_s_own(film, tmp_path):
    (clip,) = find_clips([str(film)], crop=64)
    assert (clip.crop, clip.width, clip.height) == ((64, 64), 64, 64)
    assert find_clips([str(film)], crop=32)[0].crop is None
    with pytest.raises(UsageError, match="too small for a crop to multiples of 128"):
        find_clips([str(film)], crop=128)


def test_failures_of_ffmpeg_are_told_in_its_words(film, tmp_path):
    (clip,) = find_clips([str(film)])
    with pytest.raises(VideoError, match="could not encode"):
        encode_anchor(clip, Anchor("odd", "x264", "crf", 12, ("-preset", "none such")), 20, tmp_path)


@pytest.mark.parametrize(("name", "words"), [
    ("x264-crf", "libx264 -preset medium -tune zerolatency -x264-params crf=27:keyint=12:threads=1 "
     "-bsf:v filter_units=remove_types=6 -f h264"),
    ("x265-qp-gop32", "libx265 -preset medium -tune zerolatency -x265-params qp=27:keyint=32:info=0 -f hevc"),
    ("x265-slow", "libx265 -preset slow -x265-params crf=27:keyint=32:info=0:frame-threads=1 -f hevc"),
])  # fmt: skip
def test_the_commands_are_those_of_the_literature(name, words):
    clip = Clip(Path("/films/in.mp4"), "films", 96, (64, 32), None, INFO)
    assert command_line(clip, find_anchor(name), 27) == (
        "ffmpeg -hide_banner -nostdin -i file:in.mp4 -map 0:v:0 -fps_mode passthrough -frames:v 96 "
        f"-vf crop=64:32:16:16 -pix_fmt yuv420p -c:v {words} pipe:1"
    )
    assert "file:/films/in.mp4" in encoder_arguments(clip, find_anchor(name), 27, "/films/in.mp4")


def test_a_missing_ffmpeg_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UsageError, match=r"pip install 'cbvc-jax\[anchors\]'"):
        ffmpeg.find_ffmpeg()


@pytest.mark.parametrize("name", ["vp9", "x265", "x265-crf-gop0", "x265-crf-gop", "x264-slow", "x265-crf gop12"])
def test_unknown_anchors_are_refused(name):
    with pytest.raises(UsageError, match="known are x264-crf"):
        find_anchor(name)


def test_an_ffmpeg_without_the_encoder_is_told(monkeypatch):
    monkeypatch.setattr("cbvc_jax.evaluation.anchors.has_encoder", lambda library: library != "libvvenc")
    with pytest.raises(UsageError, match="has no libvvenc, which 'vvenc' needs"):
        find_anchor("vvenc")
    assert find_anchor("svtav1").gop == 32


@pytest.mark.parametrize(("name", "quality"), [("x265-crf", 52), ("x264-qp", -1), ("svtav1", 64)])
def test_qualities_out_of_range_are_refused(name, quality):
    with pytest.raises(UsageError, match="out of range 0 to"):
        check_quality(find_anchor(name), quality)


def test_clips_are_found_and_refused(film, tmp_path):
    for name in ("b.mkv", "a.mkv"):
        (tmp_path / name).write_bytes(film.read_bytes())
    (tmp_path / "notes.txt").write_text("no clip")
    clips = find_clips([str(tmp_path)])
    assert [(c.name, c.dataset) for c in clips] == [("a", tmp_path.name), ("b", tmp_path.name)]
    assert len(list(clips[0].rgb())) == COUNT
    with open_video(film) as video:
        np.testing.assert_array_equal(next(clips[0].rgb()), next(iter(video)).rgb)
    with pytest.raises(UsageError, match="two clips are called 'a'"):
        find_clips([str(tmp_path / "a.mkv"), str(tmp_path)])
    with pytest.raises(UsageError, match="does not fit"):
        find_clips([str(film)], crop=(128, 32))
    with pytest.raises(UsageError, match="must be even"):
        find_clips([str(film)], crop=(33, 32))
    with pytest.raises(VideoError, match="does not exist"):
        find_clips([str(tmp_path / "none.mp4")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="is empty"):
        find_clips([str(tmp_path / "empty")])
