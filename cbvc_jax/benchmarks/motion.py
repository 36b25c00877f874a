"""What predicted frames gather: PSNR by frame of a picture that moves by so many pixels a frame, one keyframe.

    python -m cbvc_jax.benchmarks.motion CLIP... [--speeds 0 1 2 4] [--rates high low] [--frames 17] [--side 192]

Each clip's first frame is seen through a square that moves to the right. A codec that keeps what it has sent gains with
every frame, however the picture moves. PSNR is over RGB, without a margin of 32 pixels where the picture comes in; the
mean over clips. Pictures too small for the fastest speed are left out of all, so that rows compare.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence

import numpy as np

from cbvc_jax import markdown
from cbvc_jax.codec import Encoder
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.evaluation.clips import find_clips
from cbvc_jax.evaluation.metrics import psnr_rgb
from cbvc_jax.weights import Model, load_model

MARGIN = 32


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints a markdown table."""
    parser = argparse.ArgumentParser(
        prog="python -m cbvc_jax.benchmarks.motion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("clips", nargs="+", metavar="CLIP")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--speeds", nargs="+", type=int, default=[0, 1, 2, 4], help="pixels a frame")
    parser.add_argument("--rates", nargs="+", default=["high", "low"])
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--side", type=int, default=192, help="of the square in pixels (default: %(default)s)")
    args = parser.parse_args(argv)
    from cbvc_jax.cache import use_compilation_cache

    use_compilation_cache()
    try:
        if args.side <= 2 * MARGIN or args.frames < 1 or min(args.speeds) < 0:
            raise UsageError(f"the side must be more than {2 * MARGIN} pixels, frames 1 or more, speeds 0 or more")
        model = load_model(args.model)
        for rate in args.rates:
            model.preset.codebook_sizes(rate)
        reach = args.side + max(args.speeds) * (args.frames - 1)
        pictures = [next(iter(clip.rgb())) for clip in find_clips(args.clips, 1)]
        pictures = [p for p in pictures if p.shape[0] >= args.side and p.shape[1] >= reach]
        if not pictures:
            raise UsageError(f"no picture is {reach}x{args.side} or larger: ask for fewer frames, or less speed")
        shown = sorted({0, *(2**n for n in range(args.frames.bit_length()) if 2**n < args.frames)})
        print(f"{len(pictures)} pictures\n")
        print(markdown.head(("rate", "pixels a frame", *(f"frame {t}" for t in shown))))
        for rate, speed in itertools.product(args.rates, args.speeds):
            psnr = np.mean([run(model, p, rate, speed, args.frames, args.side) for p in pictures], axis=0)
            print(markdown.row((rate, str(speed), *(f"{psnr[t]:.2f} dB" for t in shown))), flush=True)
    except CbvcError as error:
        sys.exit(f"motion: {error}")
    return 0


def run(model: Model, picture: np.ndarray, rate: str, speed: int, frames: int, side: int) -> list[float]:
    """PSNR of each frame in dB, its margin left out.

    Args:
      picture: uint8 RGB [h, w, 3], at least `side` x (`side` + `speed` (`frames` - 1)).
    """
    encoder = Encoder(model, side, side, rate=rate, gop=frames, cuts=False)
    inside = slice(MARGIN, side - MARGIN)
    psnr = []
    for left in (speed * t for t in range(frames)):
        frame = np.ascontiguousarray(picture[:side, left : left + side])
        encoder.push(frame)
        pair = (one[None, inside, inside] for one in (frame, encoder.reconstruction()))
        psnr.append(float(psnr_rgb(*pair)[0]))
    return psnr


if __name__ == "__main__":
    sys.exit(main())
