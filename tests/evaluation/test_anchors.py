from __future__ import annotations

import dataclasses
import json
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cbvc_jax.errors import UsageError, VideoError
from cbvc_jax.evaluation import anchors
from cbvc_jax.evaluation.anchors import AnchorSettings, anchor_quality, encoder_arguments, run_anchor
from cbvc_jax.video import VideoInfo

COUNT, HEIGHT, WIDTH = 5, 64, 96
INFO = VideoInfo(WIDTH, HEIGHT, Fraction(1, 25), Fraction(25), "bt601", "limited")
needs_ffmpeg = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('imageio_ffmpeg')")


def moving_pattern(number):
    at = np.arange(HEIGHT)[:, None] + np.arange(WIDTH) + 3 * number
    waves = [127 + 100 * np.sin(at / period) for period in (9, 13, 17)]
    return np.stack(waves, axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A short film, coded without loss as 4:2:0."""
    path = tmp_path_factory.mktemp("anchors") / "a clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_pattern(number), format="rgb24")))
        container.mux(stream.encode())
    return path


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["x264", "x265"])
def test_a_point_says_what_was_made_and_how(clip, codec):
    point = run_anchor(clip, 20, AnchorSettings(codec, frames=3))
    assert len(point.comparison.frames) == 3
    assert (point.comparison.width, point.comparison.height) == (WIDTH, HEIGHT)
    assert point.bpp == 8 * point.stream_bytes / (3 * WIDTH * HEIGHT)
    assert 30 < point.comparison.psnr_rgb_db < 60
    assert (point.matrix, point.color_range) == ("bt601", "limited")
    assert point.ffmpeg_version.startswith("ffmpeg version")
    assert f"'file:{clip}'" in point.command and "crf=20:keyint=12" in point.command
    json.dumps(point.to_dict(), allow_nan=False)


@needs_ffmpeg
def test_rate_and_quality_fall_with_crf_and_are_the_same_every_time(clip):
    fine, coarse, again = (run_anchor(clip, crf) for crf in (15, 35, 35))
    assert fine.stream_bytes > coarse.stream_bytes
    assert fine.comparison.psnr_rgb_db > coarse.comparison.psnr_rgb_db
    assert coarse == again
    middle = anchor_quality([fine, coarse], (fine.bpp + coarse.bpp) / 2)
    assert coarse.comparison.psnr_rgb_db < middle < fine.comparison.psnr_rgb_db
    with pytest.raises(UsageError, match="outside"):
        anchor_quality([fine, coarse], 2 * fine.bpp)
    with pytest.raises(UsageError, match="not available"):
        anchor_quality([fine, coarse], fine.bpp, "ms_ssim")
    other = dataclasses.replace(coarse, settings=AnchorSettings(keyint=48))
    with pytest.raises(UsageError, match="same settings"):
        anchor_quality([fine, other], fine.bpp)


@needs_ffmpeg
def test_both_sides_are_cropped_alike(clip):
    point = run_anchor(clip, 5, AnchorSettings(crop=(66, 30)))
    assert (point.comparison.width, point.comparison.height) == (66, 30)
    assert point.comparison.psnr_rgb_db > 38


@needs_ffmpeg
def test_pictures_are_piped_in(tmp_path):
    for number in range(COUNT):
        Image.fromarray(moving_pattern(number)).save(tmp_path / f"{number}.png")
    point = run_anchor(tmp_path, 5, AnchorSettings(frames=4))
    assert len(point.comparison.frames) == 4
    assert (point.matrix, point.color_range) == ("bt601", "limited")
    assert point.comparison.psnr_rgb_db > 38


@needs_ffmpeg
def test_failures_of_ffmpeg_are_told_in_its_words(clip):
    with pytest.raises(VideoError, match="could not encode"):
        run_anchor(clip, 20, AnchorSettings(preset="no such preset"))


@needs_ffmpeg
def test_command_line_prints_table_and_json(clip, capsys):
    assert anchors.main([str(clip), "--crf", "20", "30", "--codec", "x264", "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["points"]
    wanted = (points[0]["bpp"] + points[1]["bpp"]) / 2
    assert anchors.main([str(clip), "--crf", "20", "30", "--codec", "x264", "--bpp", str(wanted)]) == 0
    table = capsys.readouterr().out
    assert "n/a" in table and f"at {wanted:.4f} bpp" in table and "-preset medium" in table
    assert anchors.main([str(clip), "--crf", "60"]) == 1
    assert "out of range" in capsys.readouterr().err


def test_the_command_is_that_of_the_literature():
    command = " ".join(encoder_arguments("in.mp4", 27, AnchorSettings(frames=96, crop=(64, 32)), INFO))
    assert command == (
        "-hide_banner -nostdin -i file:in.mp4 -map 0:v:0 -fps_mode passthrough -frames:v 96 -vf crop=64:32:16:16 "
        "-pix_fmt yuv420p -c:v libx265 -preset medium -tune zerolatency -x265-params crf=27:keyint=12:info=0 "
        "-f hevc pipe:1"
    )


def test_a_missing_ffmpeg_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UsageError, match=r"pip install 'cbvc-jax\[anchors\]'"):
        anchors.find_ffmpeg()


@pytest.mark.parametrize("settings", [{"codec": "vp9"}, {"keyint": 0}, {"frames": 0}, {"crop": (33, 32)}])
def test_senseless_settings_are_refused(settings):
    with pytest.raises(UsageError):
        AnchorSettings(**settings)


def test_a_crop_larger_than_the_frame_is_refused():
    with pytest.raises(UsageError, match="does not fit"):
        encoder_arguments(Path("in.mp4"), 27, AnchorSettings(crop=(128, 32)), INFO)
