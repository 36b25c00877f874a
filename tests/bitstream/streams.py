"""Streams for the tests of this room: one small fixed stream, and strategies for any other."""

from __future__ import annotations

import io
import random
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from cbvc_jax.bitstream import FIXED_VERSION, FrameRecord, StreamHeader, StreamReader, StreamWriter
from cbvc_jax.bitstream.mutate import random_stream
from cbvc_jax.geometry import GROUPS, stage_grids

PAPER_SIZES = (8192, 2048, 512)
RATES = (("high", PAPER_SIZES), ("medium", (64, 2048, 512)), ("low", (8, 2048, 512)))

valid_streams = st.integers(0, 2**32 - 1).map(lambda seed: random_stream(random.Random(seed)))
"""Streams of any header and 1 to 6 small frames."""


def header(width: int = 40, height: int = 20, **fields) -> StreamHeader:
    """A header of the paper's codebook sizes, 30 frames a second, GOP 4, unless `fields` say otherwise."""
    values = {
        "model_sha256": bytes(range(32)),
        "width": width,
        "height": height,
        "time_base": Fraction(1, 30),
        "frame_rate": Fraction(30),
        "color_matrix": "bt709",
        "color_range": "limited",
        "gop": 4,
        "key_sizes": PAPER_SIZES,
        "predicted_sizes": RATES,
        "version": FIXED_VERSION,
    }
    return StreamHeader(**{**values, **fields})


def indices(head: StreamHeader, rate: str, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Random indices of one frame for the codebooks called `rate`."""
    sizes = head.key_sizes if rate == "key" else dict(head.predicted_sizes)[rate]
    draw = np.random.default_rng(seed)
    grids = stage_grids(head.height, head.width)
    return tuple(draw.integers(0, k, (GROUPS, *grid)) for k, grid in zip(sizes, grids, strict=True))


def write_frames(writer: StreamWriter, frames: int, gop: int | None = None) -> None:
    """Writes random frames at ticks 0, 1, 2 ..., a keyframe first in every `gop`, the rates by turns."""
    head = writer.header
    for i in range(frames):
        key = i % (gop or head.gop) == 0
        rate = "key" if key else head.rates[i % len(head.rates)]
        writer.write("key" if key else "predicted", rate, i, indices(head, rate, seed=i))


def stream(frames: int = 10, head: StreamHeader | None = None, *, finish: bool = True) -> bytes:
    """A stream of `frames` random frames."""
    file = io.BytesIO()
    writer = StreamWriter(file, head or header())
    write_frames(writer, frames)
    if finish:
        writer.finish()
    return file.getvalue()


def read_all(data: bytes) -> list[FrameRecord]:
    """Every frame of a sound stream."""
    return list(StreamReader(io.BytesIO(data)))


def same_frame(a: FrameRecord, b: FrameRecord) -> bool:
    """Whether two records say the same about a frame."""
    fields = ("kind", "rate", "number", "timestamp")
    skips = a.skip is b.skip is None or np.array_equal(a.skip, b.skip)  # pyright: ignore
    return (
        skips and all(getattr(a, f) == getattr(b, f) for f in fields) and all(map(np.array_equal, a.indices, b.indices))
    )
