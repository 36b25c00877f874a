"""Checks a decoder against the conformance streams: `python -m tests.conformance.check [--backend NAME]`.

    streams/NAME.cbv      a stream of a bundled model
    streams/NAME.png      what it shows, frames one below the other; of large or many frames every N-th row and column
    streams/streams.json  what each is an example of, its model, the hash of its indices, the hash of every frame, N

Indices must be equal. Values of frames may differ by one level, few of them do: where a rounding went the other way. A
frame whose hash agrees is equal bit for bit, which no decoder has to reach.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import cbvc_jax
from cbvc_jax import markdown
from cbvc_jax.bitstream import FrameRecord
from cbvc_jax.errors import CbvcError
from cbvc_jax.export.backends import BACKENDS, MakeDecoder, open_backend
from cbvc_jax.export.worker import add_to_hash
from cbvc_jax.weights import find_model

FOLDER = Path(__file__).parent / "streams"
LEVELS = 1
"""Largest difference of a value that passes."""
EQUAL_SHARE = 0.995
"""Of the values that must be the same."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one stream.

    Attributes:
      frames: decoded; same_frames: those that are equal bit for bit.
      same_indices: the reader gave the indices that were sent.
      worst: largest difference of a value, in 8-bit levels.
      equal_share: of the values that are compared.
    """

    frames: int
    same_frames: int
    same_indices: bool
    worst: int
    equal_share: float

    @property
    def passed(self) -> bool:
        return self.same_indices and self.worst <= LEVELS and self.equal_share >= EQUAL_SHARE


def load_facts() -> dict[str, Any]:
    """What streams.json says."""
    return json.loads((FOLDER / "streams.json").read_text())


def records_of(stream: Path) -> list[FrameRecord]:
    with stream.open("rb") as file:
        reader = cbvc_jax.StreamReader(file)
        reader.use_tables(find_model(reader.header.model_sha256).tables)
        return list(reader)


def hash_of_indices(stream: Path) -> str:
    digest = hashlib.sha256()
    for record in records_of(stream):
        add_to_hash(digest, record)
    return digest.hexdigest()


def hash_of_frame(frame: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()


def one_below_the_other(frames: Iterable[np.ndarray], every: int) -> np.ndarray:
    """Every `every`-th row and column of the frames, as one picture."""
    return np.concatenate([frame[::every, ::every] for frame in frames])


def check(name: str, decoder: MakeDecoder | None = None) -> Verdict:
    """Decodes the stream `name`, with JAX or with another decoder, and compares."""
    facts, stream = load_facts()["streams"][name], FOLDER / f"{name}.cbv"
    with stream.open("rb") as file:
        frames = [frame.rgb for frame in cbvc_jax.StreamDecoder(file, decoder=decoder)]
    shown = one_below_the_other(frames, facts["every"]).astype(int)
    expected = np.asarray(Image.open(FOLDER / f"{name}.png"))
    if shown.shape != expected.shape:
        return Verdict(len(frames), 0, False, 255, 0.0)
    difference = np.abs(shown - expected)
    return Verdict(
        frames=len(frames),
        same_frames=sum(map(str.__eq__, map(hash_of_frame, frames), facts["frames_sha256"])),
        same_indices=hash_of_indices(stream) == facts["indices_sha256"],
        worst=int(difference.max()),
        equal_share=float(np.mean(difference == 0)),
    )


def main(argv: list[str] | None = None) -> int:
    """Prints a line for every stream; returns 0 if all pass."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.check", description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="jax", choices=["jax", *BACKENDS])
    args = parser.parse_args(argv)
    print(markdown.head(("stream", "frames", "indices", "frames bit-equal", "worst level", "equal values", "")))
    passed = True
    try:
        for name in load_facts()["streams"]:
            found = check(name, None if args.backend == "jax" else open_backend(args.backend))
            indices = "equal" if found.same_indices else "DIFFER"
            verdict = "pass" if found.passed else "FAIL"
            numbers = str(found.same_frames), str(found.worst), f"{found.equal_share:.2%}"
            print(markdown.row((name, str(found.frames), indices, *numbers, verdict)), flush=True)
            passed &= found.passed
    except CbvcError as error:
        print(f"check: {error}", file=sys.stderr)
        return 1
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
