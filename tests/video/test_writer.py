"""Written files: what they hold and how they are tagged, and that they appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from cbvc_jax.errors import VideoError
from cbvc_jax.video import PipeClosedError, VideoInfo, create_video, open_video

from .films import smooth

RATE = Fraction(25)


def info_of(width=64, height=48, **kwargs):
    return VideoInfo(width, height, **{"time_base": 1 / RATE, "frame_rate": RATE, **kwargs})


def write(target, info, count=5, **kwargs):
    with create_video(target, info, **kwargs) as out:
        for number in range(count):
            out.write(smooth(info.height, info.width, 0.1 * number), number)


def read(path):
    with open_video(path) as video:
        return video.info, list(video)


def files(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "m4v"])
@pytest.mark.parametrize(
    ("matrix", "color_range", "code"),
    [("bt601", "limited", 6), ("bt709", "limited", 1), ("bt709", "full", 1), ("bt2020", "limited", 9)],
)
def test_h264_keeps_the_picture_and_its_colour_tags(tmp_path, suffix, matrix, color_range, code):
    path = tmp_path / f"a.{suffix}"
    write(path, info_of(matrix=matrix, color_range=color_range), crf=4)
    info, frames = read(path)
    assert (info.matrix, info.color_range, info.frame_rate) == (matrix, color_range, RATE)
    assert len(frames) == 5
    for number, frame in enumerate(frames):
        assert np.abs(frame.rgb.astype(int) - smooth(48, 64, 0.1 * number)).mean() < 2
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, context.colorspace) == ("yuvj420p" if color_range == "full" else "yuv420p", code)


@pytest.mark.parametrize(("width", "height"), [(63, 48), (64, 47), (1, 1), (2, 2), (3, 5), (48, 64)])
def test_any_size_can_be_written(tmp_path, width, height):
    for name in ("a.mp4", "a.mkv", "a.y4m"):
        write(tmp_path / name, info_of(width, height))
        info, frames = read(tmp_path / name)
        assert (info.width, info.height, len(frames)) == (width, height, 5)


def test_an_rgb_source_is_written_as_bt709_limited(tmp_path):
    for name in ("a.mp4", "a.y4m"):
        write(tmp_path / name, info_of(matrix="rgb", color_range="full"))
        info, _ = read(tmp_path / name)
        assert (info.matrix, info.color_range) == ("bt709", "limited")


@pytest.mark.parametrize(
    ("time_base", "rate", "stamps"),
    [
        (Fraction(1, 12800), Fraction(25), [0, 512, 1024]),
        (Fraction(1001, 30000), Fraction(30000, 1001), [0, 1, 2, 3]),
        (Fraction(1, 90000), None, [0, 3003, 3004, 9000, 90001]),
        (Fraction(1, 1000000), Fraction(30), [0, 33333, 66667, 100000]),
        (Fraction(1, 25), Fraction(25), [7, 8, 11]),
    ],
)
def test_mp4_keeps_timestamps_exactly(tmp_path, time_base, rate, stamps):
    with create_video(tmp_path / "a.mp4", info_of(time_base=time_base, frame_rate=rate)) as out:
        for stamp in stamps:
            out.write(smooth(48, 64), stamp)
    info, frames = read(tmp_path / "a.mp4")
    assert [frame.timestamp * info.time_base for frame in frames] == [stamp * time_base for stamp in stamps]
    if len(stamps) > 3 and rate:
        assert abs(info.frame_rate / rate - 1) < 0.02


def test_matroska_keeps_milliseconds(tmp_path):
    with create_video(tmp_path / "a.mkv", info_of(time_base=Fraction(1, 90000))) as out:
        for stamp in (0, 3003, 9009):
            out.write(smooth(48, 64), stamp)
    info, frames = read(tmp_path / "a.mkv")
    assert [frame.timestamp * info.time_base * 1000 for frame in frames] == [0, 33, 100]


def test_an_old_output_stays_until_the_new_one_is_whole(tmp_path):
    for name in ("a.mp4", "a.y4m"):
        path = tmp_path / name
        write(path, info_of(), 3)
        before = path.read_bytes()
        with pytest.raises(KeyError), create_video(path, info_of()) as out:
            out.write(smooth(48, 64), 0)
            raise KeyError
        assert path.read_bytes() == before
        with pytest.raises(VideoError, match="no frames"):
            create_video(path, info_of()).close()
        with pytest.raises(VideoError, match="exists already"):
            create_video(path, info_of(), overwrite=False)
        assert path.read_bytes() == before
    assert files(tmp_path) == ["a.mp4", "a.y4m"]


def test_a_link_keeps_pointing_where_it_does(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "a.y4m").symlink_to(tmp_path / "real" / "b.y4m")
    write(tmp_path / "a.y4m", info_of())
    assert (tmp_path / "a.y4m").is_symlink()
    assert files(tmp_path / "real") == ["b.y4m"]


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    for target, words in (
        ("a.avi", "cannot tell what to write"),
        ("a", "cannot tell what to write"),
        ("none/a.mp4", "does not exist"),
        ("none/a.png", "does not exist"),
    ):
        with pytest.raises(VideoError, match=words):
            create_video(tmp_path / target, info_of())
    with pytest.raises(VideoError, match="CRF"):
        create_video(tmp_path / "a.mp4", info_of(), crf=60)
    assert files(tmp_path) == ["folder.mp4"]


def test_frames_that_do_not_fit(tmp_path):
    with pytest.raises(VideoError, match="takes frames"), create_video(tmp_path / "a.mp4", info_of()) as out:
        out.write(smooth(48, 63), 0)
    with pytest.raises(VideoError, match="takes frames"), create_video(tmp_path / "a.mp4", info_of()) as out:
        out.write(smooth(48, 64).astype(np.float32), 0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(VideoError, match="must increase"), create_video(tmp_path / "a.mp4", info_of()) as out:
        out.write(smooth(48, 64), 1)
        out.write(smooth(48, 64), 1)
    out = create_video(tmp_path / "b.mp4", info_of())
    out.write(smooth(48, 64), 0)
    out.close()
    out.close()
    with pytest.raises(VideoError, match="has been closed"):
        out.write(smooth(48, 64), 1)
    assert files(tmp_path) == ["b.mp4"]


@pytest.mark.parametrize(("width", "time_base"), [(0, Fraction(1)), (20000, Fraction(1)), (8, Fraction(0))])
def test_senseless_descriptions(width, time_base):
    with pytest.raises(VideoError):
        VideoInfo(width, 8, time_base)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_said(tmp_path):
    (tmp_path / "a.y4m").symlink_to("/dev/full")
    with pytest.raises(VideoError, match="disk is full"):
        write(tmp_path / "a.y4m", info_of(640, 480))


LIMITED = """
import resource, signal, sys
import numpy as np
from fractions import Fraction
from cbvc_jax.errors import VideoError
from cbvc_jax.video import VideoInfo, create_video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
noise = np.random.default_rng(0)
try:
    with create_video(sys.argv[1], VideoInfo(128, 128, Fraction(1, 25), Fraction(25))) as out:
        for number in range(60):
            out.write(noise.integers(0, 256, (128, 128, 3)).astype(np.uint8), number)
except VideoError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file sizes")
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.y4m", "a.png"])
def test_an_output_that_cannot_grow_is_removed(tmp_path, name):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / name)], capture_output=True, text=True, check=True
    )
    assert "cannot be written" in done.stdout
    assert files(tmp_path) == []


PIPE = """
import sys
import numpy as np
from fractions import Fraction
from cbvc_jax.video import PipeClosedError, VideoInfo, create_video, open_video
if sys.argv[1] == "copy":
    with open_video("-") as video, create_video("-", video.info) as out:
        for frame in video:
            out.write(frame.rgb, frame.timestamp)
else:
    try:
        with create_video("-", VideoInfo(64, 48, Fraction(1, 25), Fraction(25))) as out:
            for number in range(100000):
                out.write(np.zeros((48, 64, 3), np.uint8), number)
    except PipeClosedError as error:
        print(error, file=sys.stderr)
        raise SystemExit(7) from None
"""


def test_pipes_carry_y4m(tmp_path):
    write(tmp_path / "a.y4m", info_of(matrix="bt2020"))
    data = (tmp_path / "a.y4m").read_bytes()
    done = subprocess.run([sys.executable, "-c", PIPE, "copy"], input=data, capture_output=True, check=True)
    assert done.stderr == b""
    (tmp_path / "b.y4m").write_bytes(done.stdout)
    first, second = read(tmp_path / "a.y4m"), read(tmp_path / "b.y4m")
    assert first[0] == second[0]
    for a, b in zip(first[1], second[1], strict=True):
        assert np.abs(a.rgb.astype(int) - b.rgb)[2:-2, 2:-2].max() <= 2


def test_a_closed_pipe_is_a_quiet_typed_error():
    assert issubclass(PipeClosedError, VideoError)
    with subprocess.Popen(
        [sys.executable, "-c", PIPE, "endless"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1000)
        process.stdout.close()
        words = process.stderr.read().decode()
    assert process.returncode == 7
    assert words.strip() == "the program that read standard output has closed the pipe"


def test_the_video_room_does_not_import_jax():
    code = "import sys, cbvc_jax.video; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
