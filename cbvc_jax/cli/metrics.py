"""`cbvc metrics REF TEST`: PSNR in RGB and in Y'CbCr 4:2:0, and MS-SSIM, frame by frame and on average."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from cbvc_jax.cli.arguments import check_frames, parse_size
from cbvc_jax.cli.input import check_stdin, open_input


def add_parser(subparsers: Any) -> None:
    """Adds this subcommand."""
    parser = subparsers.add_parser("metrics", help="compare two videos", description=__doc__)
    parser.add_argument("reference", metavar="REF", help="video, folder of pictures, or .yuv with --size")
    parser.add_argument("test", metavar="TEST", help="the same; a .cbv is decoded first")
    parser.add_argument("--model", help="name or folder of the model of a .cbv (default: the installed one it names)")
    parser.add_argument("--frames", type=int, help="compare no more than this")
    parser.add_argument("--size", help="WxH of raw YUV")
    parser.add_argument("--json", action="store_true", help="every frame, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the comparison and returns 0."""
    check_frames(args.frames)
    size = parse_size(args.size)
    check_stdin(args.reference)
    check_stdin(args.test)
    from cbvc_jax.cache import use_compilation_cache
    from cbvc_jax.evaluation.compare import compare, format_table
    from cbvc_jax.stream import StreamDecoder
    from cbvc_jax.video import open_video
    from cbvc_jax.weights import load_model

    use_compilation_cache()
    with open_video(args.reference, size=size if _suffix(args.reference) == ".yuv" else None) as reference:
        matrix = "bt709" if reference.info.matrix == "rgb" else reference.info.matrix
        rgb = (frame.rgb for frame in itertools.islice(reference, args.frames))
        if _suffix(args.test) == ".cbv":
            with open_input(args.test) as file:
                model = load_model(args.model) if args.model else None
                frames = (f.rgb for f in itertools.islice(StreamDecoder(file, model), args.frames))
                comparison = compare(rgb, frames, matrix=matrix)
        else:
            with open_video(args.test, size=size if _suffix(args.test) == ".yuv" else None) as test:
                frames = (f.rgb for f in itertools.islice(test, args.frames))
                comparison = compare(rgb, frames, matrix=matrix)
    print(json.dumps(comparison.to_dict(), indent=2) if args.json else format_table(comparison))
    return 0


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()
