"""Two frames of 1920x1024 through a paper-size model: times, peak memory, and whether both sides agree.

    python -m cbvc_jax.benchmarks.paper_size --preset wca4 [--append docs/paper_size.md]

Random weights: time and memory do not depend on them. A keyframe and a predicted frame go through `Encoder`, and their
indices through `Decoder`. Every program compiles on its first call; XLA's own account of that is taken off the times.
Peak memory is the largest resident size of the process, compilation included: one preset a process.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cbvc_jax import markdown
from cbvc_jax.codec import Decoder, Encoder
from cbvc_jax.model import init_params
from cbvc_jax.presets import PRESETS, get_preset
from cbvc_jax.process import peak_bytes
from cbvc_jax.weights import Model

HEADER = (
    *("preset", "size", "rate", "compile, s", "encode key, s", "encode predicted, s", "decode key, s"),
    *("decode predicted, s", "peak, GiB", "decoder = encoder"),
)


class Row(NamedTuple):
    """One line of the table; times in seconds without compilation, which is `compile_s` for all programs."""

    preset: str
    height: int
    width: int
    rate: str
    compile_s: float
    encode_s: tuple[float, ...]
    decode_s: tuple[float, ...]
    peak_bytes: int
    same: bool

    def __str__(self) -> str:
        times = (f"{seconds:.1f}" for seconds in (*self.encode_s, *self.decode_s))
        same = "bit-equal" if self.same else "differs"
        size, memory = f"{self.width}x{self.height}", f"{self.peak_bytes / 2**30:.1f}"
        return markdown.row((self.preset, size, self.rate, f"{self.compile_s:.0f}", *times, memory, same))


class _Stopwatch:
    """Times calls, with tracing and compilation on an account of their own."""

    def __init__(self):
        self.compile_s = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            self.compile_s += duration_secs

    def __call__(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds of `call` without compilation, until nothing is in flight, and its result."""
        start, compiled = time.perf_counter(), self.compile_s
        out = call()
        # The encoder's reference, too, is still being computed when it returns.
        jax.block_until_ready(jax.live_arrays())
        return time.perf_counter() - start - (self.compile_s - compiled), out


def measure(name: str, height: int, width: int, rate: str) -> Row:
    """Codes two frames of random pixels with the preset called `name`; ModelError if there is none, or no such rate."""
    preset = get_preset(name)
    model = Model(name, preset, *init_params(jax.random.key(0), preset), bytes(32))
    jax.block_until_ready((model.params, model.codebooks))
    pixels = np.random.default_rng(0)
    frames = [pixels.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(2)]
    encoder, decoder, stopwatch = Encoder(model, height, width, rate), Decoder(model, height, width), _Stopwatch()
    encode_s, decode_s, same = [], [], True
    for frame in frames:
        seconds, coded = stopwatch(lambda frame=frame: encoder.push(frame))
        encode_s.append(seconds)
        seconds, decoded = stopwatch(lambda coded=coded: decoder.push(coded.rate, coded.indices))
        decode_s.append(seconds)
        same = same and np.array_equal(decoded, encoder.reconstruction())
    return Row(name, height, width, rate, stopwatch.compile_s, tuple(encode_s), tuple(decode_s), peak_bytes(), same)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints a markdown table of one row and returns 0, or 1 if encoder and decoder differ."""
    parser = argparse.ArgumentParser(prog="python -m cbvc_jax.benchmarks.paper_size", description=__doc__)
    parser.add_argument("--preset", required=True, choices=list(PRESETS))
    parser.add_argument("--size", default="1920x1024", metavar="WxH", help="of the frames (default: %(default)s)")
    parser.add_argument("--rate", default="high", help="of the predicted frame (default: %(default)s)")
    parser.add_argument("--append", type=Path, metavar="FILE", help="add the row to the end of this file too")
    args = parser.parse_args(argv)
    width, height = map(int, args.size.split("x"))
    row = measure(args.preset, height, width, args.rate)
    print(f"{markdown.head(HEADER)}\n{row}")
    if args.append:
        with args.append.open("a") as file:
            file.write(f"{row}\n")
    return 0 if row.same else 1


if __name__ == "__main__":
    sys.exit(main())
