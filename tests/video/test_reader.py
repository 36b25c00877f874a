"""`open_video` on raw files and odd arguments, and how the reader behaves as a stream."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from cbvc_jax.errors import VideoError
from cbvc_jax.video import VideoInfo, create_video, open_video
from cbvc_jax.video.color import rgb_to_yuv, yuv_to_rgb

from .films import smooth


def raw(path, count=3, height=12, width=17, shift=0):
    planes = [rgb_to_yuv(smooth(height, width, 0.1 * i), "bt709", "limited") for i in range(count)]
    kind = np.dtype("<u2") if shift else np.uint8
    path.write_bytes(b"".join((p.astype(kind) << shift).tobytes() for frame in planes for p in frame))
    return [yuv_to_rgb(frame, "bt709", "limited") for frame in planes]


def test_raw_video(tmp_path):
    path = tmp_path / "a.yuv"
    expected = raw(path)
    with open_video(path, size=(17, 12), matrix="bt709", frame_rate=30) as video:
        assert video.info == VideoInfo(17, 12, Fraction(1, 30), Fraction(30), "bt709", "limited", 3)
        frames = list(video)
    assert all(np.array_equal(frame.rgb, rgb) for frame, rgb in zip(frames, expected, strict=True))
    assert [frame.timestamp for frame in frames] == [0, 1, 2]


def test_raw_video_of_ten_bits_goes_by_its_name(tmp_path):
    path = tmp_path / "a_10bit.yuv"
    expected = raw(path, shift=2)
    with open_video(path, size=(17, 12), matrix="bt709") as video:
        assert video.info.bit_depth == 10
        assert all(np.array_equal(frame.rgb, rgb) for frame, rgb in zip(video, expected, strict=True))


def test_raw_video_needs_a_size_that_fits(tmp_path):
    path = tmp_path / "a.yuv"
    raw(path)
    with pytest.raises(VideoError, match="give the size"):
        open_video(path)
    with pytest.raises(VideoError, match="not a whole number"):
        open_video(path, size=(16, 12))
    with pytest.raises(VideoError, match="20000x12"):
        open_video(path, size=(20000, 12))
    path.write_bytes(b"")
    with pytest.raises(VideoError, match="is empty"):
        open_video(path, size=(16, 12))


def test_senseless_arguments(tmp_path):
    with pytest.raises(VideoError, match="frame rate"):
        open_video(tmp_path, frame_rate=0)
    with pytest.raises(VideoError, match="each side"):
        open_video(tmp_path, size=(0, 4))


def test_a_closed_reader_gives_no_more_frames(tmp_path):
    path = tmp_path / "a.y4m"
    with create_video(path, VideoInfo(16, 16, Fraction(1, 25), Fraction(25))) as out:
        for number in range(4):
            out.write(smooth(16, 16), number)
    video = open_video(path)
    assert next(iter(video)).timestamp == 0
    assert next(iter(video)).timestamp == 1
    video.close()
    video.close()
    assert list(video) == []


def test_memory_is_bounded(tmp_path):
    """A long video takes no more memory than a short one: frames come and go one at a time."""
    frame = b"FRAME\n" + bytes(320 * 240 * 3 // 2)
    path = tmp_path / "long.y4m"
    path.write_bytes(b"YUV4MPEG2 W320 H240 F25:1\n" + frame * 40)
    tracemalloc.start()
    with open_video(path) as video:
        count = sum(1 for _ in video)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40
    assert peak < 3_000_000
