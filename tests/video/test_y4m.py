"""The Y4M parser: what it takes, what it says of damage, and that pipes may hand out bytes as they like."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.errors import VideoError
from cbvc_jax.video import create_video, open_video
from cbvc_jax.video.frames import VideoInfo
from cbvc_jax.video.planar import PlanarFormat
from cbvc_jax.video.y4m import header_line, read_frames, read_header

from .films import exact_rgb, smooth


class Trickle(io.RawIOBase):
    """A pipe that never gives more than three bytes at a time."""

    def __init__(self, data: bytes):
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        return self._inner.read(min(3, size) if size >= 0 else 3)


def stream(tag: str = "C420jpeg", frames: int = 2, size: int = 24, extra: str = "") -> bytes:
    """4x4 pixels at 30 frames a second; `size` bytes a frame."""
    return f"YUV4MPEG2 W4 H4 F30:1 Ip A1:1 {tag}{extra}\n".encode() + (b"FRAME\n" + bytes(range(size))) * frames


def read_all(data: bytes) -> tuple[list[bytes], list[str]]:
    source = io.BytesIO(data)
    notes: list[str] = []
    header = read_header(source, "x.y4m")
    return list(read_frames(source, header, "x.y4m", notes)), notes


@pytest.mark.parametrize(
    ("tag", "layout", "siting", "bit_depth", "size"),
    [
        ("", "420", "center", 8, 24),
        ("C420", "420", "center", 8, 24),
        ("C420jpeg", "420", "center", 8, 24),
        ("C420mpeg2", "420", "left", 8, 24),
        ("C420paldv", "420", "topleft", 8, 24),
        ("C422", "422", "left", 8, 32),
        ("C444", "444", "left", 8, 48),
        ("Cmono", "gray", "left", 8, 16),
        ("Cmono10", "gray", "left", 10, 32),
        ("C420p10", "420", "left", 10, 48),
        ("C422p10", "422", "left", 10, 64),
        ("C444p12", "444", "left", 12, 96),
    ],
)
def test_chroma_tags(tag, layout, siting, bit_depth, size):
    data = stream(tag, 3, size)
    header = read_header(io.BytesIO(data), "x")
    assert header.format == PlanarFormat(4, 4, layout, bit_depth, siting)
    assert header.format.frame_bytes == size
    assert header.frame_rate == 30
    frames, notes = read_all(data)
    assert frames == [bytes(range(size))] * 3
    assert notes == []


def test_a_pipe_may_trickle():
    source = Trickle(stream(frames=3))
    assert len(list(read_frames(source, read_header(source, "-"), "-", []))) == 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not carry Y4M"),
        (b"hello world\n", "does not carry Y4M"),
        (b"YUV4MPEG2 " + b"X" * 5000, "no end"),
        (b"YUV4MPEG2 H4 F30:1\nFRAME\n", "width"),
        (b"YUV4MPEG2 W4 H-4 F30:1\nFRAME\n", "height"),
        (b"YUV4MPEG2 W4 H99999999999999999999 F30:1\nFRAME\n", "height"),
        (b"YUV4MPEG2 W4 H999999 F30:1\nFRAME\n", "16384"),
        (b"YUV4MPEG2 W0 H4 F30:1\nFRAME\n", "0x4"),
        (b"YUV4MPEG2 W4 H4 F30\nFRAME\n", "frame rate"),
        (b"YUV4MPEG2 W4 H4 F99999999999:1\nFRAME\n", "frame rate"),
        (b"YUV4MPEG2 W4 H4 F30:1 C411\nFRAME\n", "C411"),
        (b"YUV4MPEG2 W4 H4 F30:1 C444alpha\nFRAME\n", "C444alpha"),
        (b"YUV4MPEG2 W4 H4 F30:1\n", "not one whole frame"),
        (b"YUV4MPEG2 W4 H4 F30:1\nFRAME\nabc", "not one whole frame"),
        (b"YUV4MPEG2 W4 H4 F30:1\nGRAME\n" + bytes(24), "no frame begins at byte 22"),
        (stream(frames=2) + b"trailing rubbish\n", "after 2 whole frames"),
    ],
)
def test_damage_is_said(data, words):
    with pytest.raises(VideoError, match=words):
        read_all(data)


@pytest.mark.parametrize("cut", [1, 20, 24, 26, 29])
def test_a_last_frame_cut_short_is_noted(cut):
    frames, notes = read_all(stream(frames=3)[:-cut])
    assert len(frames) == 2
    assert len(notes) == 1
    assert "cut short in frame 3" in notes[0]


def test_header_fields():
    header = read_header(io.BytesIO(stream(extra=" XYSCSS=420JPEG XCOLORRANGE=FULL XMATRIX=bt2020")), "x")
    assert (header.color_range, header.matrix, header.notes) == ("full", "bt2020", ())
    header = read_header(io.BytesIO(b"YUV4MPEG2 W4 H4 F0:0 It A8:9 XMATRIX=odd\n"), "x")
    assert (header.frame_rate, header.matrix, header.color_range) == (None, None, None)
    assert "interlaced" in header.notes[0]
    assert "not square" in header.notes[1]
    line = header_line(PlanarFormat(6, 4, "420", siting="left"), Fraction(30000, 1001), "bt709", "full")
    assert line == b"YUV4MPEG2 W6 H4 F30000:1001 Ip A1:1 C420mpeg2 XCOLORRANGE=FULL XMATRIX=bt709\n"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 110))
def test_any_bytes_give_frames_or_a_video_error(rubbish, at):
    good = stream(frames=2)
    data = good[:at] + rubbish + good[at + len(rubbish) :]
    try:
        frames, _ = read_all(data)
    except VideoError:
        return
    assert frames


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63)])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("color_range", ["limited", "full"])
def test_files_keep_a_smooth_picture(tmp_path, height, width, matrix, color_range):
    pictures = [smooth(height, width, shift) for shift in (0.0, 0.1, 0.2)]
    info = VideoInfo(width, height, Fraction(1001, 30000), Fraction(30000, 1001), matrix, color_range)
    path = tmp_path / "a.y4m"
    with create_video(path, info) as out:
        for number, rgb in enumerate(pictures):
            out.write(rgb, number)
    with open_video(path) as video:
        assert video.info == VideoInfo(width, height, info.time_base, info.frame_rate, matrix, color_range, 3)
        frames = list(video)
    assert [frame.timestamp for frame in frames] == [0, 1, 2]
    for frame, rgb in zip(frames, pictures, strict=True):
        assert np.abs(frame.rgb.astype(int) - rgb)[2:-2, 2:-2].max() <= 4
    second = tmp_path / "b.y4m"
    with create_video(second, info) as out:
        for frame in frames:
            out.write(frame.rgb, frame.timestamp)
    with open_video(second) as video:
        for frame, before in zip(video, frames, strict=True):
            assert np.abs(frame.rgb.astype(int) - before.rgb)[2:-2, 2:-2].max() <= 2


def test_ten_bits_are_reduced_once(tmp_path):
    rng = np.random.default_rng(4)
    planes = rng.integers(0, 1024, (3, 8, 8)).astype("<u2")
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W8 H8 F25:1 C444p10 XCOLORRANGE=LIMITED\nFRAME\n" + planes.tobytes())
    with open_video(path) as video:
        (frame,) = video
        assert video.info.bit_depth == 10
    assert np.abs(frame.rgb - exact_rgb(planes, "bt601", False, 10)).max() <= 0.501
