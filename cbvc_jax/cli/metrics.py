"""`cbvc metrics REF TEST`: PSNR in RGB and in Y'CbCr 4:2:0, and MS-SSIM, frame by frame and on average."""

from __future__ import annotations

import argparse
import itertools
import json
from typing import Any

from cbvc_jax.cli.encode import parse_size


def add_parser(subparsers: Any) -> None:
    """Adds this subcommand."""
    parser = subparsers.add_parser("metrics", help="compare two videos", description=__doc__)
    parser.add_argument("reference", metavar="REF", help="video, folder of pictures, or .yuv with --size")
    parser.add_argument("test", metavar="TEST", help="the same; a .cbv is decoded first")
    parser.add_argument("--frames", type=int, help="compare no more than this")
    parser.add_argument("--size", help="WxH of raw YUV")
    parser.add_argument("--json", action="store_true", help="every frame, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the comparison and returns 0."""
    from cbvc_jax.cache import use_compilation_cache
    from cbvc_jax.codec import StreamDecoder
    from cbvc_jax.evaluation.compare import compare, format_table
    from cbvc_jax.video import open_video

    use_compilation_cache()
    size = parse_size(args.size) if args.size else None
    with open_video(args.reference, size=size if args.reference.endswith(".yuv") else None) as reference:
        matrix = "bt709" if reference.info.matrix == "rgb" else reference.info.matrix
        rgb = (frame.rgb for frame in itertools.islice(reference, args.frames))
        if args.test.endswith(".cbv"):
            from cbvc_jax.cli.input import open_input

            with open_input(args.test) as file:
                frames = (f.rgb for f in itertools.islice(iter(StreamDecoder(file)), args.frames))
                comparison = compare(rgb, frames, matrix=matrix)
        else:
            with open_video(args.test, size=size if args.test.endswith(".yuv") else None) as test:
                frames = (f.rgb for f in itertools.islice(test, args.frames))
                comparison = compare(rgb, frames, matrix=matrix)
    print(json.dumps(comparison.to_dict(), indent=2) if args.json else format_table(comparison))
    return 0
