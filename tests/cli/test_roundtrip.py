"""From a video to a stream and back: what comes out has size, number and times of the frames that went in."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from video.films import av_frame, write_film

from cbvc_jax.bitstream import StreamReader
from cbvc_jax.video import VideoInfo, create_video, open_video

from .conftest import FRAMES, GOP, HEIGHT, WIDTH, names


def read(path, **options):
    with open_video(path, **options) as video:
        return video.info, list(video)


def there_and_back(cbvc, tmp_path, source, suffix="mp4", *options):
    """Info and frames of `source` after encoding and decoding."""
    coded, shown = tmp_path / "a.cbv", tmp_path / f"a.{suffix}"
    assert cbvc("encode", source, coded, "--model", "random", "--rate", "low", *options).status == 0
    assert cbvc("decode", coded, shown).status == 0
    return read(shown)


def test_encode_info_decode_metrics(cbvc, tmp_path, clip, stream):
    facts = json.loads(cbvc("info", stream, "--json").out)
    assert (facts["width"], facts["height"], facts["frames"], facts["complete"]) == (WIDTH, HEIGHT, FRAMES, True)
    assert facts["frames_by_rate"] == {"key": 3, "low": 4}
    assert facts["gop"] == GOP
    assert sum(facts["frames_by_coding"].values()) == FRAMES
    assert facts["payload_bytes"] <= facts["payload_bytes_at_fixed_length"]
    assert set(facts["bytes_by_stage"]) == set(facts["bytes_by_stage_at_fixed_length"]) == {"key", "low"}
    assert facts["size_bytes"] == stream.stat().st_size
    assert facts["bpp"] == pytest.approx(8 * stream.stat().st_size / (WIDTH * HEIGHT * FRAMES), abs=1e-6)
    table = cbvc("info", stream).out
    assert re.search(rf"^frames +{FRAMES}$", table, re.MULTILINE)
    assert re.search(r"^complete +yes$", table, re.MULTILINE)

    outcome = cbvc("decode", stream, tmp_path / "out.mp4")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    info, frames = read(tmp_path / "out.mp4")
    assert (info.width, info.height, info.frame_rate, len(frames)) == (WIDTH, HEIGHT, 25, FRAMES)

    of_stream = json.loads(cbvc("metrics", clip, stream, "--json").out)
    of_video = json.loads(cbvc("metrics", clip, tmp_path / "out.mp4", "--json").out)
    assert of_stream["frame_count"] == FRAMES
    assert of_video["mean"]["psnr_y_db"] == pytest.approx(of_stream["mean"]["psnr_y_db"], abs=0.5)
    assert "PSNR RGB" in cbvc("metrics", clip, stream, "--frames", 2, "--model", "random").out


def test_a_fixed_index_coding(cbvc, tmp_path, clip):
    coded = tmp_path / "a.cbv"
    assert cbvc("encode", clip, coded, "--model", "random", "--coding", "fixed").status == 0
    facts = json.loads(cbvc("info", coded, "--json").out)
    assert facts["version"] == "1.0"
    assert facts["frames_by_coding"] == {"fixed": FRAMES}
    assert facts["payload_bytes"] == facts["payload_bytes_at_fixed_length"]


def test_a_quality_and_a_target(cbvc, tmp_path, clip):
    sizes = {}
    for name, options in {
        "q10": ("--quality", "10"),
        "q100": ("--quality", "100"),
        "high": ("--rate", "high"),
        "bpp": ("--target-bpp", "0.2"),
        "bitrate": ("--bitrate", "15.36k"),
    }.items():
        coded = tmp_path / f"{name}.cbv"
        outcome = cbvc("encode", clip, coded, "--model", "random", "--coding", "adaptive", *options)
        assert outcome.status == 0
        sizes[name] = coded.read_bytes()
        if name in ("bpp", "bitrate"):
            assert "bits that were asked for" in outcome.err, "seven frames are too few for a target"
    assert len(sizes["q10"]) < len(sizes["q100"])
    assert sizes["q100"] == sizes["high"]
    # 15,360 bits a second at 25 frames a second are 0.2 bits for each of 64 x 48 pixels.
    assert sizes["bpp"] == sizes["bitrate"]


def test_a_cut_begins_a_gop_and_a_quality_skips_what_stands_still(cbvc, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    folder = tmp_path / "scenes"
    folder.mkdir()
    for i, picture in enumerate([np.zeros_like(noise)] * 3 + [noise] * 4):
        Image.fromarray(picture).save(folder / f"{i}.png")

    def records(*options):
        assert cbvc("encode", folder, tmp_path / "scenes.cbv", "--model", "random", *options).status == 0
        with (tmp_path / "scenes.cbv").open("rb") as file:
            return list(StreamReader(file))

    assert [r.kind == "key" for r in records()] == [True, False, False, True, False, False, False]
    whole = records("--quality", "60", "--no-cuts")
    assert [r.kind == "key" for r in whole] == [True] + [False] * 6
    assert all(r.skip is not None for r in whole[1:3])
    assert all(r.skip is None for r in records("--no-cuts"))


def test_a_long_way_without_a_keyframe_is_told(cbvc, tmp_path):
    (tmp_path / "long").mkdir()
    for i in range(130):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / "long" / f"{i:03}.png")
    command = ("encode", tmp_path / "long", tmp_path / "long.cbv", "--model", "random", "--no-cuts", "--gop")
    told = cbvc(*command, "1000").err
    assert "128 and more frames without a keyframe" in told and "export.fading" in told
    assert cbvc(*command, "64").err == ""
    assert cbvc(*command, "1000", "--frames", "100").err == ""


def test_gops_at_once_make_the_same_file(cbvc, tmp_path, clip, stream):
    command = ("encode", clip, tmp_path / "two.cbv", "--model", "random", "--rate", "low", "--gop", "3", "--parallel")
    assert cbvc(*command, "2").status == 0
    assert (tmp_path / "two.cbv").read_bytes() == stream.read_bytes()
    for parallel in ("1", "2"):
        assert cbvc("decode", stream, tmp_path / f"{parallel}.y4m", "--parallel", parallel).status == 0
    assert (tmp_path / "1.y4m").read_bytes() == (tmp_path / "2.y4m").read_bytes()
    (tmp_path / "two.cbv").unlink()
    with pytest.raises(SystemExit):
        cbvc(*command, "0")
    assert (
        "cannot be coded at once" in cbvc("encode", clip, tmp_path / "q.cbv", "--quality", "50", "--parallel", "2").err
    )
    assert "only JAX" in cbvc("decode", stream, tmp_path / "b.y4m", "--backend", "jax-export", "--parallel", "2").err


def test_decode_writes_pictures_and_y4m(cbvc, tmp_path, stream):
    (tmp_path / "folder").mkdir()
    assert cbvc("decode", stream, tmp_path / "folder").status == 0
    assert cbvc("decode", stream, tmp_path / "out.y4m").status == 0
    assert len(names(tmp_path / "folder")) == FRAMES
    _, pictures = read(tmp_path / "folder")
    _, video = read(tmp_path / "out.y4m")
    luma = np.array([pictures[3].rgb, video[3].rgb]) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma[0] - luma[1]).mean() < 4, "the same picture but for the chroma that 4:2:0 leaves out"


def test_from_a_time_and_some_frames_only(cbvc, tmp_path, stream):
    assert cbvc("decode", stream, tmp_path / "all").status == 1, "a name without an ending is not guessed at"
    for name, options in (("all/", ()), ("some/", ("--from", "0.16", "--frames", "2"))):
        assert cbvc("decode", stream, f"{tmp_path}/{name}", *options).status == 0
    assert names(tmp_path / "some") == ["frame_00001.png", "frame_00002.png"]
    for number in (1, 2):
        later = (tmp_path / "some" / f"frame_{number:05d}.png").read_bytes()
        assert later == (tmp_path / "all" / f"frame_{number + 4:05d}.png").read_bytes()


def test_encode_some_frames_scaled_and_retimed(cbvc, tmp_path, clip):
    options = ("--frames", 2, "--size", "48x64", "--frame-rate", "30000/1001")
    info, frames = there_and_back(cbvc, tmp_path, clip, "mp4", *options)
    assert (info.width, info.height, info.frame_rate, len(frames)) == (48, 64, Fraction(30000, 1001), 2)


@pytest.mark.parametrize(("width", "height"), [(47, 33), (48, 64), (1, 1)])
def test_odd_portrait_and_tiny_frames(cbvc, tmp_path, moving, width, height):
    for number, rgb in enumerate(moving(2, height, width)):
        with create_video(tmp_path / f"in_{number}.png", VideoInfo(width, height, Fraction(1, 25))) as picture:
            picture.write(rgb, 0)
    source = tmp_path / "in_0_00001.png"
    info, frames = there_and_back(cbvc, tmp_path, source)
    assert (info.width, info.height, len(frames)) == (width, height, 1)


def test_a_10_bit_source(cbvc, tmp_path):
    ramp = np.tile(np.linspace(64, 940, WIDTH).astype(np.uint16), (HEIGHT, 1))
    chroma = np.full((HEIGHT // 2, WIDTH // 2), 512, np.uint16)
    source = write_film(tmp_path / "in.mkv", [av_frame([ramp, chroma, chroma], "yuv420p10le")] * 2)
    assert read(source)[0].bit_depth == 10
    info, frames = there_and_back(cbvc, tmp_path, source)
    assert (info.width, info.height, len(frames)) == (WIDTH, HEIGHT, 2)


def test_uneven_times_come_back(cbvc, tmp_path, moving):
    stamps = [0, 40, 50, 200, 201]
    with create_video(tmp_path / "in.mp4", VideoInfo(WIDTH, HEIGHT, Fraction(1, 1000))) as video:
        for stamp, rgb in zip(stamps, moving(len(stamps), HEIGHT, WIDTH), strict=True):
            video.write(rgb, stamp)
    info, frames = there_and_back(cbvc, tmp_path, tmp_path / "in.mp4")
    assert [f.timestamp * info.time_base * 1000 for f in frames] == stamps


def test_raw_yuv(cbvc, tmp_path, refused):
    source = tmp_path / "in.yuv"
    source.write_bytes(bytes(range(256)) * (WIDTH * HEIGHT * 3 // 2 // 256) * 2)
    info, frames = there_and_back(cbvc, tmp_path, source, "mp4", "--size", f"{WIDTH}x{HEIGHT}")
    assert (info.width, info.height, len(frames)) == (WIDTH, HEIGHT, 2)
    refused("without a header", "encode", source, tmp_path / "b.cbv", "--model", "random")
