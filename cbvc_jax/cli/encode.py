"""`cbvc encode IN OUT`: a video, a folder of pictures, raw YUV or Y4M on a pipe -> a `.cbv` stream."""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING, Any

from cbvc_jax.bitstream import STREAM_CODINGS
from cbvc_jax.cli.arguments import bits_a_second, check_frames, frame_rate, parse_size, positive
from cbvc_jax.cli.input import check_stdin
from cbvc_jax.cli.progress import note, progress
from cbvc_jax.errors import UsageError, VideoError
from cbvc_jax.presets import RATES

if TYPE_CHECKING:
    from cbvc_jax.rate_control import RateControl
    from cbvc_jax.video import VideoInfo
    from cbvc_jax.weights import Model

DEFAULT_RATE = "high"
LONG_GOP = 128
"""Frames from one keyframe to the next, beyond which the user is told what may come of it."""
FADING_MODELS = ("tiny",)
"""Bundled models that were trained to let differences fade."""
TOLERANCE = 0.03
"""A target missed by more than this share is told to the user."""


def add_parser(subparsers: Any) -> None:
    """Adds this subcommand."""
    parser = subparsers.add_parser("encode", help="video to .cbv", description=__doc__)
    parser.add_argument("input", metavar="IN", help="video file, folder of pictures, .yuv (with --size), or - for Y4M")
    parser.add_argument("output", metavar="OUT", help=".cbv file, or - for standard output")
    parser.add_argument("--model", help="name or folder of the model (default: the bundled one)")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "--rate", choices=RATES, default=DEFAULT_RATE, help="codebooks of predicted frames; the nearest codewords"
    )
    amount.add_argument("--quality", type=float, metavar="Q", help="0 .. 100: rate and price of bits from one scale")
    amount.add_argument("--target-bpp", type=float, metavar="BITS", help="bits a pixel that the stream shall take")
    amount.add_argument("--bitrate", type=bits_a_second, metavar="BITS", help="bits a second, e.g. 300k or 1.5M")
    parser.add_argument("--gop", type=int, default=32, help="a keyframe at least every so many frames (default 32)")
    parser.add_argument("--no-cuts", action="store_true", help="no keyframes where a new scene begins")
    parser.add_argument(
        "--coding",
        choices=STREAM_CODINGS,
        help="of the indices: the same bits for every frame; as few as the frames before allow (default of --rate); "
        "or that with blocks that stay as they were, where that costs less (default otherwise)",
    )
    parser.add_argument(
        "--effort",
        type=int,
        default=0,
        metavar="N",
        help="0 .. 9: a search with the decoder for indices that make a better picture: the more, the slower: "
        "1 takes some 4 times as long as 0, the default, 4 some 7 times with a quality and more with a rate",
    )
    parser.add_argument("--frames", type=int, help="encode no more than this")
    parser.add_argument(
        "--parallel", type=positive, default=1, metavar="N", help="GOPs coded at once, to the same stream (with --rate)"
    )
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
    from cbvc_jax.codec import encode, usual_coding
    from cbvc_jax.rate_control import setting_for
    from cbvc_jax.video import open_video
    from cbvc_jax.weights import DEFAULT_MODEL, bundled_models, load_model

    check_distinct(args.input, args.output)
    use_compilation_cache()
    model = load_model(args.model or DEFAULT_MODEL)
    with open_video(
        args.input, size=size, frame_rate=args.frame_rate, matrix=args.matrix, color_range=args.range
    ) as video:
        count = min((n for n in (video.info.frames, args.frames) if n is not None), default=None)
        rate, price = args.rate, 0.0
        if args.quality is not None:
            setting = setting_for(args.quality, model.preset.rates)
            rate, price = setting.rate, setting.price
        control = _control(args, video.info, model, count)
        coding = args.coding or usual_coding(args.quality is not None or control is not None)
        with open_output(args.output) as file, progress(f"encode, {model.name}", count) as bar:
            coded = 0
            frames: Any = itertools.islice(video, args.frames)
            choices: Any = {"price": price, "control": control, "cuts": not args.no_cuts, "effort": args.effort}
            for _ in encode(frames, file, model, video.info, rate, args.gop, coding, parallel=args.parallel, **choices):
                coded += 1
                bar.update()
            if not coded:
                raise VideoError(f"{args.input} holds no frames; nothing was written")
        for text in video.notes:
            note(text)
        fades = model.path in (bundled_models().get(name) for name in FADING_MODELS)
        if args.gop > LONG_GOP and coded > LONG_GOP and not fades:
            note(
                f"over {LONG_GOP} and more frames without a keyframe, other machines may come to show other pictures "
                "than this one does, if the model was not trained to let differences fade (python -m "
                f"cbvc_jax.export.fading {args.output} tells); a smaller --gop ends that"
            )
        if control is not None and abs(control.ratio - 1.0) > TOLERANCE:
            note(f"the stream has {control.ratio:.2f} times the bits that were asked for: {_why(control)}")
    return 0


def _control(args: argparse.Namespace, info: VideoInfo, model: Model, count: int | None) -> RateControl | None:
    """What holds the target that was asked for, if one was."""
    from cbvc_jax.rate_control import RateControl

    if args.target_bpp is not None:
        frame_bits = args.target_bpp * info.width * info.height
    elif args.bitrate is None:
        return None
    elif not info.frame_rate:
        raise UsageError("--bitrate needs a frame rate, which this input does not tell: add --frame-rate")
    else:
        frame_bits = float(args.bitrate / info.frame_rate)
    return RateControl(frame_bits, args.gop, model.preset.rates, count)


def _why(control: RateControl) -> str:
    from cbvc_jax.rate_control import MAX_QUALITY, MIN_QUALITY

    if control.quality <= MIN_QUALITY:
        return "this model needs as many at the least"
    if control.quality >= MAX_QUALITY:
        return "this model has no use for more"
    return "it ended before they were made up for"
