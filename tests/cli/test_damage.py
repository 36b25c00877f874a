"""Streams that were cut or damaged: what is sound is shown, what is lost is said."""

from __future__ import annotations

import json

import pytest

from cbvc_jax.bitstream import StreamReader
from cbvc_jax.video import open_video

from .conftest import FRAMES, names


def frames_of(path) -> list[float]:
    """Times in seconds of the frames of a video."""
    with open_video(path) as video:
        return [float(frame.timestamp * video.info.time_base) for frame in video]


@pytest.fixture
def cut(tmp_path, stream):
    """The stream without its end, in the middle of its sixth frame."""
    with stream.open("rb") as file:
        records = list(StreamReader(file))
    path = tmp_path / "cut.cbv"
    path.write_bytes(stream.read_bytes()[: records[5].offset + 8])
    return path


@pytest.fixture
def damaged(tmp_path, stream):
    """The stream with one wrong byte in its fifth frame, the second of its second GOP."""
    with stream.open("rb") as file:
        records = list(StreamReader(file))
    data = bytearray(stream.read_bytes())
    data[records[4].offset + 6] ^= 0x55
    path = tmp_path / "damaged.cbv"
    path.write_bytes(data)
    return path


def test_a_cut_stream_is_shown_up_to_the_cut(cbvc, tmp_path, cut):
    outcome = cbvc("decode", cut, tmp_path / "out.mp4")
    assert outcome.status == 1
    assert "the 5 frames before it were written" in outcome.err
    assert outcome.err.count("\n") == 1
    assert len(frames_of(tmp_path / "out.mp4")) == 5
    facts = cbvc("info", cut, "--json")
    assert facts.status == 1
    assert json.loads(facts.out)["frames"] == 5
    assert "cut short" in json.loads(facts.out)["error"]


def test_a_stream_cut_in_its_header_or_first_frame_gives_nothing(refused, tmp_path, stream):
    for length in (3, 20, 120):
        short = tmp_path / "short.cbv"
        short.write_bytes(stream.read_bytes()[:length])
        refused("(at byte ", "decode", short, tmp_path / "out.mp4")
    assert names(tmp_path) == ["short.cbv"]


def test_damage_ends_the_video_unless_it_is_concealed(cbvc, tmp_path, damaged):
    outcome = cbvc("decode", damaged, tmp_path / "out.mp4")
    assert outcome.status == 1
    assert "the 4 frames before it were written" in outcome.err
    assert len(frames_of(tmp_path / "out.mp4")) == 4

    outcome = cbvc("decode", damaged, tmp_path / "concealed.mp4", "--conceal")
    assert outcome.status == 0
    assert "lost 2 frames" in outcome.err
    assert outcome.err.count("\n") == 1
    times = frames_of(tmp_path / "concealed.mp4")
    assert times == pytest.approx([i / 25 for i in range(FRAMES) if i not in (4, 5)])


def test_metrics_of_a_cut_stream_fail(refused, clip, cut):
    refused("cut short", "metrics", clip, cut)


def test_nothing_sound_left_is_said(refused, tmp_path, stream):
    with stream.open("rb") as file:
        end_of_header = next(StreamReader(file)).offset
    path = tmp_path / "in.cbv"
    path.write_bytes(stream.read_bytes()[:end_of_header] + b"\x00" * 500)
    refused("has no frames", "decode", path, tmp_path / "out.mp4", "--conceal")
    assert names(tmp_path) == ["in.cbv"]
