"""Writes the conformance streams of the bundled models again: `python -m tests.conformance.write [NAME...]`.

All of them, or those that are named. They are made once for a model (`tests.conformance.check` says what they are): a
decoder that no longer agrees with them is wrong, not they.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import cbvc_jax
from cbvc_jax.codec import Encoder, stream_header

from .check import FOLDER, hash_of_frame, hash_of_indices, load_facts, one_below_the_other

CLIP = Path(cbvc_jax.__file__).parent / "assets" / "clip" / "city_cc0.mp4"


@dataclasses.dataclass(frozen=True)
class Example:
    """One stream: what it is an example of, its size (width, height), how it is encoded, what its picture keeps, and
    the bundled model that makes it."""

    shows: str
    size: tuple[int, int]
    options: dict[str, Any]
    frames: int = 6
    every: int = 1
    model: str = "tiny"


STREAMS = {
    "fixed": Example("fixed length, format 1.0, a GOP of 4", (96, 64), {"rate": "low", "gop": 4, "coding": "fixed"}),
    "adaptive": Example("adaptive index coding", (96, 64), {"rate": "medium"}),
    "priced": Example("indices chosen by their bits", (96, 64), {"rate": "high", "price": 2000.0}),
    "still": Example(
        "blocks that are skipped, format 1.2", (96, 64), {"rate": "high", "price": 300.0, "coding": "skipping"}
    ),
    "controlled": Example("rates that change from frame to frame", (64, 64), {}),
    "odd": Example("a size that is no multiple of anything", (53, 37), {"rate": "high", "gop": 3}),
    "pixel": Example("a single pixel", (1, 1), {"rate": "low"}),
    "keyframes": Example("a GOP of 1, portrait", (34, 130), {"gop": 1}, frames=3, every=2),
    "cut": Example("a cut, where a keyframe begins a GOP", (96, 64), {"rate": "low"}, frames=8, every=2),
    "long": Example("a GOP of 96", (80, 48), {"rate": "low", "gop": 96}, frames=98, every=4),
    "large": Example("1920x1024", (1920, 1024), {"rate": "low"}, frames=3, every=16),
    "displaced": Example("blocks from elsewhere in the reference", (96, 64), {"rate": "high"}, model="small"),
    "displaced-skipping": Example(
        "the same, chosen by their bits, with blocks that stay, move or follow, format 1.4",
        (250, 150),
        {"rate": "medium", "price": 200.0, "coding": "skipping"},
        model="small",
    ),
    "displaced-long": Example(
        "the same, a GOP of 64", (80, 48), {"rate": "low", "gop": 64}, frames=64, every=4, model="small"
    ),
}


def main(names: Sequence[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    streams = load_facts()["streams"] if names else {}
    for name in names or STREAMS:
        example, file = STREAMS[name], FOLDER / f"{name}.cbv"
        model = cbvc_jax.load_model(example.model)
        file.write_bytes(_encoded(name, example, model))
        with file.open("rb") as stream:
            frames = [frame.rgb for frame in cbvc_jax.StreamDecoder(stream, model)]
        Image.fromarray(one_below_the_other(frames, example.every)).save(FOLDER / f"{name}.png", optimize=True)
        streams[name] = {
            "shows": example.shows,
            "model": model.sha256.hex(),
            "width": example.size[0],
            "height": example.size[1],
            "every": example.every,
            "indices_sha256": hash_of_indices(file),
            "frames_sha256": [hash_of_frame(frame) for frame in frames],
        }
    facts = {"streams": {name: streams[name] for name in STREAMS}}
    (FOLDER / "streams.json").write_text(json.dumps(facts, indent=2) + "\n")


def _encoded(name: str, example: Example, model: cbvc_jax.Model) -> bytes:
    with cbvc_jax.open_video(CLIP, size=example.size) as video:
        frames = list(itertools.islice(video, example.frames))
    # The clip may be shorter: then it runs back.
    frames = [frames[i if i < len(frames) else 2 * len(frames) - 2 - i] for i in range(example.frames)]
    frames = [cbvc_jax.VideoFrame(frame.rgb.copy(), i) for i, frame in enumerate(frames)]
    if name == "still":
        # The right half moves.
        for frame in frames[1:]:
            frame.rgb[:, : example.size[0] // 2] = frames[0].rgb[:, : example.size[0] // 2]
    if name == "cut":
        for frame in frames[example.frames // 2 :]:
            frame.rgb[:] = 255 - frame.rgb[::-1]
    file = io.BytesIO()
    if name == "controlled":
        with cbvc_jax.StreamWriter(file, stream_header(model, video.info)) as writer:
            encoder = Encoder(model, video.info.height, video.info.width)
            for frame, rate in zip(frames, ("high", "low", "low", "medium", "high", "high"), strict=True):
                coded = encoder.push(frame.rgb, rate=rate)
                writer.write(coded.kind, coded.rate, frame.timestamp, coded.indices)
    else:
        for _ in cbvc_jax.encode(frames, file, model, video.info, **example.options):
            pass
    return file.getvalue()


if __name__ == "__main__":
    main(sys.argv[1:])
