"""Conventional codecs to measure against: a clip through x264, x265, SVT-AV1 or VVenC at constant quality.

A file of YUV goes to the encoder as it is stored, at 4:2:0; sources of RGB (pictures) are piped in and converted by
ffmpeg. What comes out is the raw stream, whose bytes are the rate.

The commands of the paper's Table 7 are `x264-crf`, `x264-qp`, `x265-crf` and `x265-qp`: preset medium, tune
zerolatency, which codes without B frames and lookahead. Left out here is what changes no picture: `verbose=1`, and `-s`
at the clip's own size. Added is what leaves the encoder's settings, text of up to 2 kB, out of the stream, and one
thread for x264, which else makes a slice of each thread: fewer bits, and the same ones on every machine.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from cbvc_jax.errors import UsageError, VideoError
from cbvc_jax.evaluation.clips import Clip
from cbvc_jax.evaluation.ffmpeg import has_encoder, run_ffmpeg
from cbvc_jax.video.frames import DEFAULT_FRAME_RATE, default_matrix
from cbvc_jax.video.reader import TEN_BITS

PAPER_GOP, OTHER_GOP = 12, 32
BASELINE = "x265-crf-gop12"
"""What others are compared with where nothing else is asked for."""
PATTERN = re.compile(
    r"(x264-crf|x264-qp|x265-crf|x265-qp|x265-medium|x265-slow|svtav1|vvenc)(?:-gop([1-9][0-9]{0,3}))?"
)
NAMES = "x264-crf, x264-qp, x265-crf, x265-qp, x265-medium, x265-slow, svtav1, vvenc, each with -gopN or without"


@dataclass(frozen=True)
class _Codec:
    library: str
    suffix: str
    container: str
    qualities: tuple[int, ...]
    worst: int
    pixel_format: str = "yuv420p"


_CODECS = {
    "x264": _Codec("libx264", ".264", "h264", (51, 46, 41, 36, 31, 27, 23), 51),
    "x265": _Codec("libx265", ".265", "hevc", (51, 46, 41, 36, 31, 27, 23), 51),
    "svtav1": _Codec("libsvtav1", ".obu", "obu", (63, 57, 51, 45, 39, 33, 27), 63),
    "vvenc": _Codec("libvvenc", ".266", "vvc", (57, 52, 47, 42, 37, 32, 27), 63, "yuv420p10le"),
}


@dataclass(frozen=True)
class Anchor:
    """One way to use a conventional codec.

    Attributes:
      name: what the command line and the report call it, such as "x265-crf-gop12".
      codec: "x264", "x265", "svtav1" or "vvenc".
      control: "crf" or "qp": what its qualities are.
      gop: frames from one keyframe to the next, at most.
      options: of the encoder, without quality and GOP.
    """

    name: str
    codec: str
    control: str
    gop: int
    options: tuple[str, ...]

    @property
    def library(self) -> str:
        return _CODECS[self.codec].library

    @property
    def qualities(self) -> tuple[int, ...]:
        """CRFs or QPs that span about 0.01 to 0.2 bpp on most clips, coarsest first."""
        return _CODECS[self.codec].qualities

    @property
    def decimals(self) -> int:
        """Of its quality: CRFs of x264 and x265 may be fractions."""
        return 1 if self.control == "crf" and self.codec != "svtav1" else 0


def find_anchor(name: str) -> Anchor:
    """The anchor called `name`; `-gopN` sets its GOP, which is 12 for those of the paper's Table 7 and 32 for others.

    Raises:
      UsageError: there is none of that name, or the ffmpeg at hand is missing or lacks its encoder.
    """
    match = PATTERN.fullmatch(name)
    if match is None:
        raise UsageError(f"there is no anchor '{name}'; known are {NAMES}")
    codec, _, mode = match[1].partition("-")
    paper = mode in ("crf", "qp")
    gop = int(match[2]) if match[2] else (PAPER_GOP if paper else OTHER_GOP)
    control = "qp" if mode == "qp" or codec == "vvenc" else "crf"
    if codec == "svtav1":
        options = ("-preset", "6")
    elif codec == "vvenc":
        # Perceptual adaptation of the quantiser, on by default, costs PSNR.
        options = ("-preset", "medium", "-qpa", "0")
    else:
        options = ("-preset", mode if mode == "slow" else "medium", *(("-tune", "zerolatency") if paper else ()))
    anchor = Anchor(f"{match[1]}-gop{gop}", codec, control, gop, options)
    if not has_encoder(anchor.library):
        raise UsageError(f"the ffmpeg at hand has no {anchor.library}, which '{name}' needs")
    return anchor


def check_quality(anchor: Anchor, quality: float) -> None:
    """Returns nothing; raises UsageError if `quality` is no CRF or QP of the anchor's codec."""
    worst = _CODECS[anchor.codec].worst
    if not 0 <= quality <= worst:
        raise UsageError(f"{anchor.name}: a {anchor.control.upper()} of {quality:g} is out of range 0 to {worst}")


def encode_anchor(clip: Clip, anchor: Anchor, quality: float, folder: Path) -> Path:
    """Writes the raw stream into `folder` and returns its path.

    Args:
      clip: what to encode.
      anchor: how.
      quality: CRF or QP, 0 (best) to 51, or to 63 for SVT-AV1 and VVenC.
      folder: an existing folder.

    Raises:
      VideoError: ffmpeg fails on the clip.
    """
    stream = folder / f"stream{_CODECS[anchor.codec].suffix}"
    data = (frame.tobytes() for frame in clip.rgb()) if clip.info.matrix == "rgb" else iter(())
    run_ffmpeg(
        encoder_arguments(clip, anchor, quality, str(clip.path)), "ffmpeg could not encode the clip", stream, data
    )
    if stream.stat().st_size == 0:
        raise VideoError(f"ffmpeg made nothing of {clip.path}")
    return stream


def command_line(clip: Clip, anchor: Anchor, quality: float) -> str:
    """The command that makes the stream, to be read by a shell in the clip's folder."""
    return shlex.join(["ffmpeg", *encoder_arguments(clip, anchor, quality, clip.path.name)])


def encoder_arguments(clip: Clip, anchor: Anchor, quality: float, file: str) -> list[str]:
    """What follows `ffmpeg` on its command line; the raw stream goes to standard output."""
    from_rgb = clip.info.matrix == "rgb"
    filters = []
    if clip.crop is not None and not from_rgb:
        filters.append("crop={}:{}:{}:{}".format(*clip.crop, *clip.crop_origin))
    if from_rgb:
        filters.append(
            f"scale=out_color_matrix={default_matrix(clip.info.height)}:out_range=tv:flags=bicubic+accurate_rnd"
        )
    codec = _CODECS[anchor.codec]
    return [
        *("-hide_banner", "-nostdin", *_source(clip, file), "-map", "0:v:0", "-fps_mode", "passthrough"),
        *(("-frames:v", str(clip.frames)) if clip.frames else ()),
        *(("-vf", ",".join(filters)) if filters else ()),
        *("-pix_fmt", codec.pixel_format, "-c:v", codec.library, *anchor.options, *_quality(anchor, quality)),
        *("-f", codec.container, "pipe:1"),
    ]


def _source(clip: Clip, file: str) -> list[str]:
    rate = str(clip.info.frame_rate or DEFAULT_FRAME_RATE)
    if clip.info.matrix == "rgb":
        raw = ("rgb24", f"{clip.width}x{clip.height}", "pipe:0")
    elif clip.size is not None:
        layout = "yuv420p10le" if TEN_BITS.search(clip.path.name) else "yuv420p"
        raw = (layout, f"{clip.info.width}x{clip.info.height}", f"file:{file}")
    else:
        return ["-i", f"file:{file}"]
    return ["-f", "rawvideo", "-pix_fmt", raw[0], "-video_size", raw[1], "-framerate", rate, "-i", raw[2]]


def _quality(anchor: Anchor, quality: float) -> list[str]:
    settings = f"{anchor.control}={quality:g}:keyint={anchor.gop}"
    if anchor.codec == "x264":
        # The settings are a message (SEI, type 6) of the stream.
        return ["-x264-params", f"{settings}:threads=1", "-bsf:v", "filter_units=remove_types=6"]
    if anchor.codec == "x265":
        # Zerolatency has one frame thread of itself; more would make the stream depend on the machine.
        threads = "" if "-tune" in anchor.options else ":frame-threads=1"
        return ["-x265-params", f"{settings}:info=0{threads}"]
    gop = ["-vvenc-params", f"IntraPeriod={anchor.gop}"] if anchor.codec == "vvenc" else ["-g", str(anchor.gop)]
    return [f"-{anchor.control}", f"{quality:g}", *gop]
