"""`cbvc encode IN OUT`: a video, a folder of pictures, raw YUV or Y4M on a pipe -> a `.cbv` stream."""

from __future__ import annotations

import argparse
import itertools
import re
from fractions import Fraction
from typing import Any

from cbvc_jax.cli.output import open_output
from cbvc_jax.cli.progress import note, progress
from cbvc_jax.errors import UsageError, VideoError
from cbvc_jax.presets import RATES

DEFAULT_RATE = "high"


def add_parser(subparsers: Any) -> None:
    """Adds this subcommand."""
    parser = subparsers.add_parser("encode", help="video to .cbv", description=__doc__)
    parser.add_argument("input", metavar="IN", help="video file, folder of pictures, .yuv (with --size), or - for Y4M")
    parser.add_argument("output", metavar="OUT", help=".cbv file, or - for standard output")
    parser.add_argument("--model", help="name or folder of the model (default: the bundled one)")
    parser.add_argument("--rate", choices=RATES, default=DEFAULT_RATE, help="codebooks of predicted frames")
    parser.add_argument("--gop", type=int, default=32, help="a keyframe every so many frames (default 32)")
    parser.add_argument("--frames", type=int, help="encode no more than this")
    parser.add_argument("--size", help="WxH: the size of raw YUV, or a size to scale to")
    parser.add_argument("--frame-rate", type=_rate, help="frames a second, e.g. 25 or 30000/1001")
    parser.add_argument("--matrix", choices=("bt601", "bt709", "bt2020"), help="how to read YUV, in place of its tags")
    parser.add_argument("--range", choices=("limited", "full"), help="the same for the range of its values")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Encodes and returns 0."""
    if args.frames is not None and args.frames < 1:
        raise UsageError(f"--frames {args.frames}: there must be at least one")
    size = parse_size(args.size) if args.size else None
    from cbvc_jax.cache import use_compilation_cache
    from cbvc_jax.codec import encode
    from cbvc_jax.video import open_video
    from cbvc_jax.weights import DEFAULT_MODEL, load_model

    use_compilation_cache()
    model = load_model(args.model or DEFAULT_MODEL)
    with open_video(
        args.input, size=size, frame_rate=args.frame_rate, matrix=args.matrix, color_range=args.range
    ) as video:
        counts = [n for n in (video.info.frames, args.frames) if n is not None]
        with open_output(args.output) as file, progress("encode", min(counts, default=None)) as bar:
            coded = 0
            for _ in encode(itertools.islice(video, args.frames), file, model, video.info, args.rate, args.gop):
                coded += 1
                bar.update()
            if not coded:
                raise VideoError(f"{args.input} holds no frames; nothing was written")
        for text in video.notes:
            note(text)
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from "WxH"."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise UsageError(f"--size {text}: give width and height in pixels as WxH, e.g. 352x288")
    return int(match[1]), int(match[2])


def _rate(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of frames a second") from None
