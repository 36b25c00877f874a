"""Files read through FFmpeg: colour tags, pixel formats, timestamps, rotation, and every kind of damage."""

from __future__ import annotations

import itertools
import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from cbvc_jax.errors import VideoError
from cbvc_jax.video import VideoInfo, create_video, open_video
from cbvc_jax.video.color import rgb_to_yuv

from .films import av_frame, exact_rgb, exact_yuv, smooth, write_film

MATRIX_CODES = {"bt601": 6, "bt709": 1, "bt2020": 9}
CLIP = Path(__file__).parents[2] / "cbvc_jax/assets/clip/city_cc0.mp4"


def planes_444(height=36, width=50, shift=0.0):
    exact = exact_yuv(smooth(height, width, shift), "bt601", False)
    return [np.rint(exact[..., c]).astype(np.uint8) for c in range(3)]


def film(path, count=3, pix_fmt="yuv444p", **kwargs):
    return write_film(path, [av_frame(planes_444(shift=0.1 * i), pix_fmt) for i in range(count)], **kwargs)


def mp4(path, count=30, height=36, width=50):
    info = VideoInfo(width, height, Fraction(1, 25), Fraction(25))
    with create_video(path, info) as out:
        for number in range(count):
            out.write(smooth(height, width, 0.1 * number), number)
    return path


def read(path, **kwargs):
    with open_video(path, **kwargs) as video:
        return video.info, list(video), video.notes


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize(("color_range", "code"), [("limited", 1), ("full", 2)])
def test_tags_decide_the_colour(tmp_path, matrix, color_range, code):
    path = film(tmp_path / "a.mkv", colorspace=MATRIX_CODES[matrix], color_range=code)
    info, frames, notes = read(path)
    assert (info.matrix, info.color_range, info.bit_depth) == (matrix, color_range, 8)
    assert notes == []
    for number, frame in enumerate(frames):
        exact = exact_rgb(planes_444(shift=0.1 * number), matrix, color_range == "full")
        assert np.abs(frame.rgb - exact).max() <= 0.501


def test_untagged_colour_goes_by_the_rule_and_can_be_overridden(tmp_path):
    small = film(tmp_path / "small.mkv")
    assert read(small)[0].matrix == "bt601"
    assert read(small)[0].color_range == "limited"
    info, frames, _ = read(small, matrix="bt2020", color_range="full")
    assert (info.matrix, info.color_range) == ("bt2020", "full")
    assert np.abs(frames[0].rgb - exact_rgb(planes_444(), "bt2020", True)).max() <= 0.501
    large = write_film(tmp_path / "large.mkv", [av_frame(planes_444(720, 64), "yuv444p")])
    assert read(large)[0].matrix == "bt709"
    with pytest.raises(VideoError, match="bt601, bt709 or bt2020"):
        open_video(small, matrix="rgb")


def test_pixel_formats(tmp_path):
    """The same picture in many formats comes out the same, as near as each can hold it."""
    rgb = smooth(36, 50)
    y, u, v = planes_444()
    exact = exact_rgb((y, u, v), "bt601", False)
    _, u2, v2 = rgb_to_yuv(rgb, "bt601", "limited")
    ten = [plane.astype("<u2") * 4 for plane in (y, u, v)]
    cases = [
        ("ffv1", "yuv444p10le", ten, 0.6),
        ("ffv1", "yuv420p", [y, u2, v2], 4.5),
        ("ffv1", "yuv420p10le", [plane.astype("<u2") * 4 for plane in (y, u2, v2)], 4.5),
        ("rawvideo", "nv12", [y, np.stack([u2, v2], -1)], 4.5),
        ("rawvideo", "bgr24", [rgb[..., ::-1]], np.abs(rgb - exact).max()),
        ("ffv1", "yuva444p", [y, u, v, np.full_like(y, 255)], 0.6),
    ]
    for codec, pix_fmt, planes, tolerance in cases:
        space = 0 if pix_fmt == "bgr24" else 6
        path = write_film(tmp_path / f"{pix_fmt}.nut", [av_frame(planes, pix_fmt)], codec, colorspace=space)
        info, (frame,), _ = read(path)
        assert np.abs(frame.rgb - exact)[1:-1, 1:-1].max() <= tolerance, pix_fmt
        assert info.bit_depth == (10 if "10" in pix_fmt else 8)
        assert info.matrix == ("rgb" if pix_fmt == "bgr24" else "bt601")


def test_transparency_is_laid_over_black(tmp_path):
    half = [*planes_444(), np.full((36, 50), 128, np.uint8)]
    path = write_film(tmp_path / "a.mkv", [av_frame(half, "yuva444p")], colorspace=6)
    exact = exact_rgb(half[:3], "bt601", False) * 128 / 255
    assert np.abs(read(path)[1][0].rgb - exact).max() <= 1


def test_gray(tmp_path):
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = write_film(tmp_path / "a.mkv", [av_frame([gray], "gray")])
    info, (frame,), _ = read(path)
    assert info.color_range == "full"
    assert np.array_equal(frame.rgb, np.repeat(gray[..., None], 3, -1))


def test_hdr_and_odd_matrices_are_refused(tmp_path):
    for code, name in ((16, "PQ"), (18, "HLG")):
        with pytest.raises(VideoError, match=f"HDR video \\({name}"):
            open_video(film(tmp_path / f"{name}.mkv", colorspace=9, color_trc=code))
    odd = film(tmp_path / "odd.mkv", colorspace=7)
    with pytest.raises(VideoError, match="matrix number 7"):
        open_video(odd)
    assert len(read(odd, matrix="bt709")[1]) == 3


def set_display_matrix(path, a, b, c, d):
    """Writes the matrix into the track header of an MP4: a pixel at (x, y) is shown at (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    values = (round(a * 65536), round(b * 65536), 0, round(c * 65536), round(d * 65536), 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *values)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "show"),
    [
        ((1, 0, 0, 1), lambda rgb: rgb),
        ((0, 1, -1, 0), lambda rgb: np.rot90(rgb, -1)),
        ((-1, 0, 0, -1), lambda rgb: np.rot90(rgb, 2)),
        ((0, -1, 1, 0), lambda rgb: np.rot90(rgb, 1)),
        ((-1, 0, 0, 1), lambda rgb: rgb[:, ::-1]),
        ((1, 0, 0, -1), lambda rgb: rgb[::-1]),
        ((0, 1, 1, 0), lambda rgb: np.swapaxes(rgb, 0, 1)),
    ],
)
def test_the_display_matrix_is_applied(tmp_path, matrix, show):
    path = film(tmp_path / "a.mp4", codec="libx264", options={"qp": "0"})
    set_display_matrix(path, *matrix)
    info, frames, _ = read(path)
    upright = show(exact_rgb(planes_444(), "bt601", False))
    assert (info.height, info.width) == upright.shape[:2]
    assert np.abs(frames[0].rgb - upright).max() <= 0.501


def test_other_angles_are_refused(tmp_path):
    path = film(tmp_path / "a.mp4", codec="libx264")
    set_display_matrix(path, 0.7, 0.7, -0.7, 0.7)
    with pytest.raises(VideoError, match=r"a\.mp4 .* no multiple of 90 degrees"):
        open_video(path)


def test_variable_frame_rate_passes_through(tmp_path):
    stamps = [0, 3000, 3001, 9009, 90000]
    path = film(tmp_path / "a.mp4", 5, codec="libx264", stamps=stamps, time_base=Fraction(1, 90000))
    info, frames, notes = read(path)
    times = [frame.timestamp * info.time_base for frame in frames]
    assert times == [Fraction(stamp, 90000) for stamp in stamps]
    assert notes == []
    info, frames, _ = read(path, frame_rate=Fraction(30000, 1001))
    assert info.time_base == Fraction(1001, 30000)
    assert [frame.timestamp for frame in frames] == [0, 1, 2, 3, 4]


def test_missing_timestamps_are_made_from_the_rate(tmp_path):
    whole = mp4(tmp_path / "a.mp4", 10)
    with av.open(str(whole)) as container, (tmp_path / "a.h264").open("wb") as raw:
        extra = BitStreamFilterContext("h264_mp4toannexb", container.streams.video[0])
        for packet in container.demux(video=0):
            for part in extra.filter(packet if packet.size else None):
                raw.write(bytes(part))
    info, frames, notes = read(tmp_path / "a.h264")
    steps = {b.timestamp - a.timestamp for a, b in itertools.pairwise(frames)}
    assert len(frames) == 10
    assert info.frame_rate is not None
    assert steps == {round(1 / (info.frame_rate * info.time_base))}
    assert len(notes) <= 1


def test_size_scales_and_odd_sizes_work(tmp_path):
    path = film(tmp_path / "a.mkv")
    info, frames, _ = read(path, size=(25, 18))
    assert (info.width, info.height) == (25, 18)
    averaged = smooth(36, 50).reshape(18, 2, 25, 2, 3).mean(axis=(1, 3))
    assert np.abs(frames[0].rgb - averaged)[1:-1, 1:-1].max() <= 4
    odd = write_film(tmp_path / "odd.mkv", [av_frame(planes_444(37, 21), "yuv444p")], colorspace=6)
    assert read(odd)[1][0].rgb.shape == (37, 21, 3)


def test_files_that_are_no_video(tmp_path):
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    with wave.open(str(tmp_path / "tone.wav"), "wb") as tone:
        tone.setparams((1, 2, 8000, 0, "NONE", ""))
        tone.writeframes(bytes(16000))
    for name, words in (
        ("text.mp4", "cannot be read as a video"),
        ("empty.mp4", "is empty"),
        ("tone.wav", "no video stream, only audio"),
        ("missing.mp4", "does not exist"),
        ("http://example.org/a.mp4", "does not exist"),
    ):
        with pytest.raises(VideoError, match=words):
            open_video(tmp_path / name)


def test_an_mp4_without_its_index_is_refused(tmp_path):
    data = mp4(tmp_path / "a.mp4").read_bytes()
    within = tmp_path / "within.mp4"
    within.write_bytes(data[: data.index(b"moov") + 100])
    with pytest.raises(VideoError, match=r"within\.mp4 cannot be read as a video.*index"):
        open_video(within)
    without = tmp_path / "without.mp4"
    without.write_bytes(data.replace(b"moov", b"wxyz"))
    with pytest.raises(VideoError, match=r"without\.mp4 cannot be read as a video.*index"):
        open_video(without)


def test_a_video_cut_short_gives_the_frames_that_decode(tmp_path):
    path = mp4(tmp_path / "a.mp4", 30)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    info, frames, notes = read(path)
    assert info.frames == 30
    assert 0 < len(frames) < 30
    assert any("30" in note for note in notes)


def test_a_cut_is_noted_where_frames_are_not_counted(tmp_path):
    path = mp4(tmp_path / "a.mkv", 60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    _, frames, notes = read(path)
    assert 0 < len(frames) < 60
    assert any("said to last 2.40 s" in note for note in notes)


def test_noise_in_the_middle_is_skipped_or_concealed(tmp_path):
    path = mp4(tmp_path / "a.mp4", 30)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + len(data) // 4
    data[start : start + 300] = np.random.default_rng(0).integers(0, 256, 300).astype(np.uint8).tobytes()
    path.write_bytes(data)
    _, frames, notes = read(path)
    assert 0 < len(frames) <= 30
    assert notes


def test_no_frame_that_decodes(tmp_path):
    path = mp4(tmp_path / "a.mp4", 3)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = bytes(len(data) - start)
    path.write_bytes(data)
    with pytest.raises(VideoError, match="not one frame of it can be decoded"):
        open_video(path)


def test_a_change_of_size_is_an_error_unless_a_size_is_asked_for(tmp_path):
    """Two raw H.264 streams one after the other are a stream that changes size."""
    both = b""
    for name, (height, width) in (("a", (36, 50)), ("b", (80, 96))):
        path = tmp_path / f"{name}.h264"
        with av.open(str(path), "w", format="h264") as out:
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
            for number in range(4):
                frame = av_frame(planes_444(height, width), "yuv444p")
                frame.pts = number
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        both += path.read_bytes()
    (tmp_path / "both.h264").write_bytes(both)
    with open_video(tmp_path / "both.h264") as video, pytest.raises(VideoError, match="changes from 50x36 to 96x80"):
        list(video)
    assert len(read(tmp_path / "both.h264", size=(50, 36))[1]) == 8


def test_bundled_clip():
    info, frames, notes = read(CLIP)
    assert info == VideoInfo(480, 270, info.time_base, Fraction(25), "bt709", "limited", 96, 8)
    assert len(frames) == 96
    assert frames[-1].timestamp * info.time_base == Fraction(95, 25)
    assert notes == []
