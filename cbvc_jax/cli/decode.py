"""`cbvc decode IN OUT`: a `.cbv` stream -> a video file, Y4M or numbered pictures."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import Any

from cbvc_jax.cli.arguments import check_frames, positive, seconds
from cbvc_jax.cli.input import open_input
from cbvc_jax.cli.progress import note, progress
from cbvc_jax.errors import BitstreamError, UsageError


def add_parser(subparsers: Any) -> None:
    """Adds this subcommand."""
    parser = subparsers.add_parser("decode", help=".cbv to video", description=__doc__)
    parser.add_argument("input", metavar="IN", help=".cbv file, or - for standard input")
    parser.add_argument("output", metavar="OUT", help=".mp4, .mkv, .y4m, .png (numbered), folder/, or - for Y4M")
    parser.add_argument("--model", help="name or folder of the model (default: the installed one it names)")
    parser.add_argument("--backend", help="jax, jax-export, tensorflow, onnxruntime, openvino, wasm, litert or iree")
    parser.add_argument("--export", metavar="DIR", help="what the backend runs (default: made with cbvc export, kept)")
    parser.add_argument("--from", dest="start", type=seconds, default=Fraction(0), metavar="T", help="begin at T s")
    parser.add_argument("--frames", type=int, help="decode no more than this")
    parser.add_argument("--parallel", type=positive, default=1, metavar="N", help="GOPs decoded at once (on JAX)")
    parser.add_argument("--max-pixels", type=int, metavar="N", help="refuse larger frames (default: those beyond 8K)")
    parser.add_argument("--conceal", action="store_true", help="go on after damage, from the next keyframe")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Decodes and returns 0, or 1 if the stream was cut short or damaged: what could be decoded is written then."""
    check_frames(args.frames)
    from cbvc_jax.stream import MAX_PIXELS, StreamDecoder
    from cbvc_jax.video import create_video

    damage: BitstreamError | None = None
    with open_input(args.input) as file:
        on_jax = args.export is None and args.backend in (None, "jax")
        decoding: dict[str, Any] = {"model": _model(args)} if on_jax else {"decoder": _exported(args)}
        limit = MAX_PIXELS if args.max_pixels is None else args.max_pixels
        decoding |= {"conceal": args.conceal, "start": args.start, "max_pixels": limit, "parallel": args.parallel}
        stream = StreamDecoder(file, **decoding)
        shown = 0
        with create_video(args.output, stream.info) as video, progress("decode", args.frames) as bar:
            frames = iter(stream)
            while args.frames is None or shown < args.frames:
                try:
                    frame = next(frames, None)
                except BitstreamError as error:
                    if not shown:
                        raise
                    damage = error
                    break
                if frame is None:
                    break
                video.write(frame.rgb, frame.timestamp)
                shown += 1
                bar.update()
            if not shown:
                why = f" ({stream.losses[0].reason})" if stream.losses else ""
                start = f"{float(args.start):g} s"
                raise UsageError(f"{args.input} has no frames from {start} on{why}; nothing was written")
    for loss in stream.losses:
        lost = "an unknown number of frames" if loss.frames_lost is None else f"{loss.frames_lost} frames"
        note(f"{args.input}: {loss.reason}: lost {lost}, bytes {loss.offset} to {loss.end_offset}")
    if damage is not None:
        note(f"{args.input}: {damage}; the {shown} frames before it were written to {args.output}")
        return 1
    return 0


def _model(args: argparse.Namespace) -> Any:
    from cbvc_jax.cache import use_compilation_cache
    from cbvc_jax.weights import load_model

    use_compilation_cache()
    return load_model(args.model) if args.model else None


def _exported(args: argparse.Namespace) -> Any:
    from cbvc_jax.export.backends import default_backend, open_backend, open_export

    if args.export is None:
        return open_backend(args.backend, args.model)
    if args.model:
        raise UsageError("--model and --export: an exported decoder brings its model along; give one of them")
    return open_export(args.backend or default_backend(args.export), args.export)
