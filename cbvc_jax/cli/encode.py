"""`cbvc encode IN OUT`: a video, a folder of pictures, raw YUV or Y4M on a pipe -> a `.cbv` stream."""

from __future__ import annotations

import argparse
import itertools
from typing import Any

from cbvc_jax.bitstream import STREAM_CODINGS
from cbvc_jax.cli.arguments import check_frames, frame_rate, parse_size
from cbvc_jax.cli.input import check_stdin
from cbvc_jax.cli.progress import note, progress
from cbvc_jax.errors import VideoError
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
    parser.add_argument(
        "--coding",
        choices=STREAM_CODINGS,
        default="adaptive",
        help="of the indices: as few bits as the frames before allow (default), or the same bits for every frame",
    )
    parser.add_argument("--frames", type=int, help="encode no more than this")
    parser.add_argument("--size", help="WxH: the size of raw YUV, or a size to scale to")
    parser.add_argument("--frame-rate", type=frame_rate, help="frames a second, e.g. 25 or 30000/1001")
    parser.add_argument("--matrix", choices=("bt601", "bt709", "bt2020"), help="how to read YUV, in place of its tags")
    parser.add_argument("--range", choices=("limited", "full"), help="the same for the range of its values")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Encodes and returns 0."""
    check_frames(args.frames)
    size = parse_size(args.size)
    check_stdin(args.input)
    from cbvc_jax.cache import use_compilation_cache
    from cbvc_jax.cli.output import check_distinct, open_output
    from cbvc_jax.codec import encode
    from cbvc_jax.video import open_video
    from cbvc_jax.weights import DEFAULT_MODEL, load_model

    check_distinct(args.input, args.output)
    use_compilation_cache()
    model = load_model(args.model or DEFAULT_MODEL)
    with open_video(
        args.input, size=size, frame_rate=args.frame_rate, matrix=args.matrix, color_range=args.range
    ) as video:
        counts = [n for n in (video.info.frames, args.frames) if n is not None]
        with open_output(args.output) as file, progress("encode", min(counts, default=None)) as bar:
            coded = 0
            frames = itertools.islice(video, args.frames)
            for _ in encode(frames, file, model, video.info, args.rate, args.gop, args.coding):  # pyright: ignore
                coded += 1
                bar.update()
            if not coded:
                raise VideoError(f"{args.input} holds no frames; nothing was written")
        for text in video.notes:
            note(text)
    return 0
