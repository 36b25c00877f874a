"""How fast a difference between two decoders fades: `python -m cbvc_jax.export.fading FILE.cbv`.

    keyframe --> y_hat --------> predicted, predicted, ...   y_hat of each
                   '-- + noise --> predicted, predicted, ...   y_hat of each, and how far it is from the one above

Backends differ by a rounding in every frame, and a predicted frame takes over what the one before differs by. If r(t)
is the share of a small difference that is left after t frames, then r(0) + r(1) + ... is how many times what a single
frame brings can have gathered: the sum bounds the drift while differences are small. Where r grows, nothing does.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cbvc_jax.bitstream import StreamReader
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.evaluation.report.tables import Table, markdown
from cbvc_jax.export.backends import ExportedDecoder, Steps
from cbvc_jax.export.backends.jax import load
from cbvc_jax.weights import Model, find_model, load_model

NOISE = 1e-3
"""RMS of the noise as a share of that of the keyframe's y_hat: far above float32's rounding, far below what is seen."""
POSITIONS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


class _Recorded:
    """Steps that keep the last y_hat, and that add noise to the first."""

    def __init__(self, steps: Steps, noise: float):
        self._steps, self._noise = steps, noise
        self.y_hat: Any = None

    def __call__(self, kind: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
        x_hat, y_hat = self._steps(kind, arguments)
        y_hat = np.asarray(y_hat)
        if self.y_hat is None and self._noise:
            random = np.random.default_rng(0).standard_normal(y_hat.shape, np.float32)
            y_hat = y_hat + self._noise * float(np.sqrt(np.mean(np.square(y_hat)))) * random
        self.y_hat = y_hat
        return x_hat, y_hat


def fading(stream: Path, model: Model | None = None, frames: int | None = None) -> list[float]:
    """r(t): the share of a small random difference in the first y_hat that is left after t frames, by RMS; r(0) is 1.

    Args:
      stream: a `.cbv` file. It is followed to its second keyframe, which takes over nothing.
      model: by default the installed one that the stream names.
      frames: no more than these.

    Raises:
      BitstreamError, ModelError: as of `StreamDecoder`. UsageError: the stream has no frames.
    """
    with stream.open("rb") as file:
        reader = StreamReader(file)
        header = reader.header
        model = find_model(header.model_sha256) if model is None else model
        reader.use_tables(model.tables)
        steps = load(model)
        both = _Recorded(steps, 0.0), _Recorded(steps, NOISE)
        decoders = [ExportedDecoder(one, header.height, header.width) for one in both]
        left: list[float] = []
        for record in itertools.islice(reader, frames):
            if left and record.kind == "key":
                break
            for decoder in decoders:
                decoder.push_float(record.rate, record.indices, record.skip)
            left.append(float(np.sqrt(np.mean(np.square(both[1].y_hat - both[0].y_hat)))))
    if not left:
        raise UsageError(f"{stream} has no frames")
    return [value / left[0] for value in left]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what is left of a difference, by frame, and returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m cbvc_jax.export.fading", description="How fast a difference between two decoders fades."
    )
    parser.add_argument("stream", type=Path, metavar="FILE.cbv")
    parser.add_argument("--model", help="name or folder of the model (default: the installed one the stream names)")
    parser.add_argument("--frames", type=int, help="no more than these")
    args = parser.parse_args(argv)
    try:
        left = fading(args.stream, load_model(args.model) if args.model else None, args.frames)
    except (CbvcError, OSError) as error:
        print(f"fading: {error}", file=sys.stderr)
        return 1
    rows = [(str(t), f"{left[t]:.1e}") for t in (*(t for t in POSITIONS if t < len(left) - 1), len(left) - 1)]
    note = f"The sum over {len(left)} frames: {math.fsum(left):.2f} times what a single frame brings."
    print(
        markdown(
            Table(f"Fading in {args.stream.name}", note, ("frames later", "share left (RMS of y_hat)"), tuple(rows))
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
