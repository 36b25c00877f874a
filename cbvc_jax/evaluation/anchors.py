"""Conventional codecs to measure against: a clip through x264 or x265 at constant quality, and what came out.

    clip --- ffmpeg: libx265 --> raw stream (its bytes: the rate) --- open_video --> RGB --.
      '--- open_video --> RGB -------------------------------------------------------------+-- compare --> AnchorPoint

Both sides become RGB by the same reader, with the clip's matrix and range. A file of YUV goes to the encoder as it is
stored, at 8 bits and 4:2:0; sources of RGB (pictures) are piped in and converted by ffmpeg.

    python -m cbvc_jax.evaluation.anchors CLIP --codec x265 --crf 25 30 35 --bpp 0.07
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cbvc_jax.errors import CbvcError, UsageError, VideoError
from cbvc_jax.evaluation.compare import Comparison, Frame, compare
from cbvc_jax.evaluation.curve import quality_at_bpp
from cbvc_jax.video import ColorRange, Matrix, VideoInfo, open_video
from cbvc_jax.video.frames import DEFAULT_FRAME_RATE, default_matrix

DESCRIPTION = "Encode a clip with x264 or x265 and measure rate and quality."
INSTALL = "pip install 'cbvc-jax[anchors]'"
DEFAULT_CRFS = (22.0, 26.0, 30.0, 34.0, 38.0)
MAX_CRF = 51.0


@dataclass(frozen=True)
class _Encoder:
    library: str
    option: str
    suffix: str
    container: str
    # Encoders write their own settings into the stream as text, 2 kB or less that code nothing: these leave it out.
    parameters: str = ""
    arguments: tuple[str, ...] = ()


ENCODERS = {
    # Under "zerolatency" x264 makes a slice of each thread; one thread makes the same bytes on every machine.
    "x264": _Encoder(
        "libx264", "-x264-params", ".264", "h264", ":threads=1", ("-bsf:v", "filter_units=remove_types=6")
    ),
    "x265": _Encoder("libx265", "-x265-params", ".265", "hevc", ":info=0"),
}


@dataclass(frozen=True)
class AnchorSettings:
    """How to encode; the defaults are those of the learned-video-codec literature.

    Attributes:
      codec: "x264" or "x265".
      keyint: frames from one keyframe to the next, at most.
      preset, tune: the encoder's own words; "zerolatency" codes without B frames and lookahead.
      frames: how many frames to use from the start; None for all.
      crop: (width, height) in pixels of the centre to use, even numbers; None for the whole frame.
    """

    codec: str = "x265"
    keyint: int = 12
    preset: str = "medium"
    tune: str = "zerolatency"
    frames: int | None = None
    crop: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.codec not in ENCODERS:
            raise UsageError(f"unknown anchor codec {self.codec!r}; known are {', '.join(ENCODERS)}")
        if self.keyint < 1 or (self.frames is not None and self.frames < 1):
            raise UsageError("keyint and frames must be at least 1")
        if self.crop is not None and (min(self.crop) < 2 or any(side % 2 for side in self.crop)):
            raise UsageError(
                f"a crop of {self.crop[0]}x{self.crop[1]} cannot be coded as 4:2:0; its sides must be even"
            )


@dataclass(frozen=True)
class AnchorPoint:
    """One encoding of one clip, and all that is needed to make it again.

    Attributes:
      clip: file name of the clip.
      command: the ffmpeg command line that wrote the stream, to be read by a shell.
      ffmpeg_version: as the program names itself; its build fixes the encoder's version too.
      matrix, color_range: how the YUV of both sides was turned into RGB.
      stream_bytes: length of the raw stream.
      bpp: its bits a pixel of all frames.
      comparison: quality of every frame.
    """

    clip: str
    codec: str
    crf: float
    settings: AnchorSettings
    command: str
    ffmpeg_version: str
    matrix: str
    color_range: str
    stream_bytes: int
    bpp: float
    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        shallow = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return shallow | {"settings": asdict(self.settings), "comparison": self.comparison.to_dict()}


def run_anchor(clip: str | Path, crf: float, settings: AnchorSettings | None = None) -> AnchorPoint:
    """The rate and quality of `clip` encoded at constant rate factor `crf`, 0 (best) to 51.

    Raises:
      UsageError: ffmpeg is not installed, or a setting makes no sense for the clip.
      VideoError: the clip cannot be read, or ffmpeg fails on it.
    """
    settings = settings or AnchorSettings()
    if not 0 <= crf <= MAX_CRF:
        raise UsageError(f"a CRF of {crf:g} is out of range: it goes from 0 to {MAX_CRF:g}")
    ffmpeg = find_ffmpeg()
    with open_video(clip) as video:
        info = video.info
    from_rgb = info.matrix == "rgb"
    matrix: Matrix = default_matrix(info.height) if from_rgb else info.matrix
    color_range: ColorRange = "limited" if from_rgb else info.color_range
    arguments = encoder_arguments(clip, crf, settings, info)
    with tempfile.TemporaryDirectory() as folder:
        stream = Path(folder) / f"stream{ENCODERS[settings.codec].suffix}"
        _encode([ffmpeg, *arguments], stream, _rgb_frames(clip, settings.frames, None) if from_rgb else iter(()))
        stream_bytes = stream.stat().st_size
        with open_video(stream, matrix=matrix, color_range=color_range) as decoded:
            reference = _rgb_frames(clip, settings.frames, settings.crop)
            comparison = compare(reference, (frame.rgb for frame in decoded), matrix=matrix)
    pixels = comparison.width * comparison.height * len(comparison.frames)
    return AnchorPoint(
        clip=Path(clip).name,
        codec=settings.codec,
        crf=crf,
        settings=settings,
        command=shlex.join(["ffmpeg", *arguments]),
        ffmpeg_version=_version(ffmpeg),
        matrix=matrix,
        color_range=color_range,
        stream_bytes=stream_bytes,
        bpp=8 * stream_bytes / pixels,
        comparison=comparison,
    )


def anchor_quality(points: Sequence[AnchorPoint], bpp: float, metric: str = "psnr_rgb_db") -> float:
    """The anchor's quality at `bpp`, interpolated between its measured points as in `quality_at_bpp`.

    Args:
      points: encodings of one clip that differ in CRF alone, at least two.
      bpp: the wanted rate in bits a pixel.
      metric: a field of `FrameQuality`, whose mean over the frames is meant.

    Raises:
      UsageError: `bpp` lies outside the measured rates, or the points do not belong together or lack the metric.
    """
    if len({(point.clip, point.settings, len(point.comparison.frames)) for point in points}) != 1:
        raise UsageError("a curve takes encodings of one clip with the same settings")
    qualities = [point.comparison.mean(metric) for point in points]
    if None in qualities:
        raise UsageError(f"{metric} is not available for frames of this size")
    return quality_at_bpp([point.bpp for point in points], [q for q in qualities if q is not None], bpp)


def find_ffmpeg() -> str:
    """Path of the ffmpeg binary of the package imageio-ffmpeg; raises UsageError where that is not installed."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"anchors need an ffmpeg with libx264 and libx265: {INSTALL}") from error


def encoder_arguments(clip: str | Path, crf: float, settings: AnchorSettings, info: VideoInfo) -> list[str]:
    """What follows `ffmpeg` on its command line; the raw stream goes to standard output."""
    encoder = ENCODERS[settings.codec]
    filters = []
    if settings.crop is not None:
        width, height = settings.crop
        left, top = _crop_origin(info.width, info.height, settings.crop)
        filters.append(f"crop={width}:{height}:{left}:{top}")
    if info.matrix == "rgb":
        rate = info.frame_rate or DEFAULT_FRAME_RATE
        size = f"{info.width}x{info.height}"
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", size, "-framerate", str(rate), "-i", "pipe:0"]
        filters.append(f"scale=out_color_matrix={default_matrix(info.height)}:out_range=tv:flags=bicubic+accurate_rnd")
    else:
        source = ["-i", f"file:{clip}"]
    return [
        *("-hide_banner", "-nostdin", *source, "-map", "0:v:0", "-fps_mode", "passthrough"),
        *(("-frames:v", str(settings.frames)) if settings.frames else ()),
        *(("-vf", ",".join(filters)) if filters else ()),
        *("-pix_fmt", "yuv420p", "-c:v", encoder.library, "-preset", settings.preset, "-tune", settings.tune),
        *(encoder.option, f"crf={crf:g}:keyint={settings.keyint}{encoder.parameters}", *encoder.arguments),
        *("-f", encoder.container, "pipe:1"),
    ]


def format_points(points: Sequence[AnchorPoint]) -> str:
    """A text table of encodings of one clip: rate and mean quality of each, then how the first was made."""
    lines = [f"{'CRF':>6}{'bytes':>12}{'bpp':>9}{'PSNR RGB':>11}{'PSNR YUV':>11}{'MS-SSIM':>10}"]
    for point in points:
        quality = point.comparison
        ms_ssim = "n/a" if quality.ms_ssim is None else f"{quality.ms_ssim:.5f}"
        yuv = f"{quality.mean('psnr_yuv_db'):.3f}"
        lines.append(
            f"{point.crf:>6g}{point.stream_bytes:>12}{point.bpp:>9.4f}{quality.psnr_rgb_db:>11.3f}{yuv:>11}{ms_ssim:>10}"
        )
    first = points[0]
    lines.append(
        f"{first.clip}: {len(first.comparison.frames)} frames of {first.comparison.width}x{first.comparison.height}, "
        f"{first.matrix} {first.color_range} range"
    )
    return "\n".join([*lines, first.ffmpeg_version, first.command])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cbvc_jax.evaluation.anchors", description=DESCRIPTION)
    parser.add_argument("clip", help="the video to encode")
    parser.add_argument("--codec", choices=tuple(ENCODERS), default="x265")
    parser.add_argument("--crf", type=float, nargs="+", default=DEFAULT_CRFS, help="one encoding each, 0 to 51")
    parser.add_argument("--bpp", type=float, nargs="+", default=(), help="print the quality at these rates as well")
    parser.add_argument("--keyint", type=int, default=12, help="frames from keyframe to keyframe (default 12)")
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--tune", default="zerolatency")
    parser.add_argument("--frames", type=int, help="use only so many frames from the start")
    parser.add_argument("--crop", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="use only the centre")
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")
    flags = parser.parse_args(argv)
    try:
        crop = (flags.crop[0], flags.crop[1]) if flags.crop else None
        settings = AnchorSettings(flags.codec, flags.keyint, flags.preset, flags.tune, flags.frames, crop)
        points = [run_anchor(flags.clip, crf, settings) for crf in flags.crf]
        wanted = {bpp: anchor_quality(points, bpp) for bpp in flags.bpp}
    except CbvcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if flags.json:
        at_bpp = [{"bpp": bpp, "psnr_rgb_db": psnr} for bpp, psnr in wanted.items()]
        print(json.dumps({"points": [point.to_dict() for point in points], "at_bpp": at_bpp}, indent=1))
        return 0
    print(format_points(points))
    for bpp, psnr in wanted.items():
        print(f"at {bpp:.4f} bpp: PSNR RGB {psnr:.3f} dB")
    return 0


def _rgb_frames(clip: str | Path, limit: int | None, crop: tuple[int, int] | None) -> Iterator[Frame]:
    with open_video(clip) as video:
        left, top = _crop_origin(video.info.width, video.info.height, crop) if crop else (0, 0)
        width, height = crop or (video.info.width, video.info.height)
        for frame in islice(video, limit):
            yield frame.rgb[top : top + height, left : left + width]


def _crop_origin(width: int, height: int, crop: tuple[int, int]) -> tuple[int, int]:
    if crop[0] > width or crop[1] > height:
        raise UsageError(f"a crop of {crop[0]}x{crop[1]} does not fit into frames of {width}x{height}")
    # Even, so that the crop takes whole chroma samples.
    return (width - crop[0]) // 4 * 2, (height - crop[1]) // 4 * 2


def _encode(command: list[str], stream: Path, frames: Iterator[Frame]) -> None:
    with stream.open("wb") as output, tempfile.TemporaryFile() as log:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=log) as process:
            assert process.stdin is not None
            # A program that has given up closes the pipe; its own message, in the log, tells why.
            with suppress(BrokenPipeError), process.stdin as pipe:
                for frame in frames:
                    pipe.write(frame.tobytes())
        log.seek(0)
        text = log.read().decode(errors="replace").strip()
    if process.returncode != 0 or stream.stat().st_size == 0:
        raise VideoError("ffmpeg could not encode the clip:\n" + "\n".join(text.splitlines()[-5:]))


def _version(ffmpeg: str) -> str:
    return subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout.split(" Copyright")[
        0
    ]


if __name__ == "__main__":
    sys.exit(main())
