"""Writes the conformance streams of the bundled model again: `python -m tests.conformance.write`.

Each stream NAME.cbv lies beside NAME.png, its decoded frames one below the other; streams.json says what every stream
is an example of. They are made once for a model: a decoder that no longer agrees with them is wrong, not they.
"""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import cbvc_jax
from cbvc_jax.codec import Encoder, stream_header

FOLDER = Path(__file__).parent / "streams"
CLIP = Path(cbvc_jax.__file__).parent / "assets" / "clip" / "city_cc0.mp4"
FRAMES = 6
STREAMS: dict[str, tuple[str, tuple[int, int], dict[str, Any]]] = {
    "fixed": ("fixed length, format 1.0, a GOP of 4", (96, 64), {"rate": "low", "gop": 4, "coding": "fixed"}),
    "adaptive": ("adaptive index coding", (96, 64), {"rate": "medium"}),
    "priced": ("indices chosen by their bits", (96, 64), {"rate": "high", "price": 2000.0}),
    "still": ("blocks that are skipped, format 1.2", (96, 64), {"rate": "high", "price": 300.0, "coding": "skipping"}),
    "controlled": ("rates that change from frame to frame", (64, 64), {}),
    "odd": ("a size that is no multiple of anything", (53, 37), {"rate": "high", "gop": 3}),
    "pixel": ("a single pixel", (1, 1), {"rate": "low"}),
}


def decoded(stream: bytes, model: cbvc_jax.Model) -> np.ndarray:
    """Frames of a stream, one below the other, uint8 [frames * height, width, 3]."""
    return np.concatenate([frame.rgb for frame in cbvc_jax.StreamDecoder(io.BytesIO(stream), model)])


def main() -> None:
    model = cbvc_jax.load_model()
    FOLDER.mkdir(exist_ok=True)
    facts = {"model": model.sha256.hex(), "streams": {}}
    for name, (what, size, options) in STREAMS.items():
        with cbvc_jax.open_video(CLIP, size=size) as video:
            frames = list(itertools.islice(video, FRAMES))
        if name == "still":
            # The right half moves.
            for frame in frames[1:]:
                frame.rgb[:, : size[0] // 2] = frames[0].rgb[:, : size[0] // 2]
        file = io.BytesIO()
        if name == "controlled":
            with cbvc_jax.StreamWriter(file, stream_header(model, video.info)) as writer:
                encoder = Encoder(model, video.info.height, video.info.width)
                for frame, rate in zip(frames, ("high", "low", "low", "medium", "high", "high"), strict=True):
                    coded = encoder.push(frame.rgb, rate=rate)
                    writer.write(coded.kind, coded.rate, frame.timestamp, coded.indices)
        else:
            for _ in cbvc_jax.encode(frames, file, model, video.info, **options):
                pass
        (FOLDER / f"{name}.cbv").write_bytes(file.getvalue())
        Image.fromarray(decoded(file.getvalue(), model)).save(FOLDER / f"{name}.png", optimize=True)
        facts["streams"][name] = {"shows": what, "frames": FRAMES, "width": size[0], "height": size[1]}
    (FOLDER / "streams.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
