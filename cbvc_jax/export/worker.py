"""One decoding of the cross-check, in a process of its own: `python -m cbvc_jax.export.worker JSON`.

The argument: {"stream", "backend", "export" or "model", "rounded_to", "devices", "frames", "out"}. Writes unrounded
frames to `out` (float32, frame after frame), and prints one line of JSON: frames, indices_sha256, load_s, fps and
peak_bytes.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cbvc_jax.bitstream import FrameRecord, IndexTables, StreamHeader, StreamReader
from cbvc_jax.export.backends import ExportedDecoder, Steps, get_backend
from cbvc_jax.export.manifest import read_manifest, read_tables
from cbvc_jax.process import peak_bytes


def main(argv: list[str]) -> int:
    """Returns 0; an error ends the process with a traceback, which the cross-check shows."""
    job = json.loads(argv[0])
    start = time.perf_counter()
    steps, tables_for = _load(job)
    load_s = time.perf_counter() - start
    digest, count, decode_s = hashlib.sha256(), 0, 0.0
    with Path(job["stream"]).open("rb") as file, Path(job["out"]).open("wb") as out:
        reader = StreamReader(file)
        tables = tables_for(reader.header)
        reader.use_tables(tables)
        decoder = ExportedDecoder(steps, reader.header.height, reader.header.width, tables)
        for record in itertools.islice(reader, job["frames"]):
            add_to_hash(digest, record)
            start = time.perf_counter()
            frame = decoder.push_float(record.rate, record.indices, record.skip)
            # The first frames of each kind compile; they are not in the speed.
            decode_s += time.perf_counter() - start if count >= 2 else 0.0
            out.write(frame.astype("<f4").tobytes())
            count += 1
    result = {
        "frames": count,
        "indices_sha256": digest.hexdigest(),
        "load_s": load_s,
        "fps": (count - 2) / decode_s if count > 2 else None,
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(result))
    return 0


def add_to_hash(digest: Any, record: FrameRecord) -> None:
    """Updates a hash with all that a record tells a decoder: its rate, its indices and its mask."""
    digest.update(record.rate.encode())
    for indices in record.indices:
        digest.update(indices.astype("<u2").tobytes())
    if record.skip is not None:
        digest.update(record.skip.tobytes())


def _load(job: dict[str, Any]) -> tuple[Steps, Callable[[StreamHeader], IndexTables | None]]:
    """(steps, what has the model's initial tables for a stream)."""
    if job["backend"] == "jax":
        from cbvc_jax.export.backends import jax
        from cbvc_jax.weights import load_model

        model = load_model(job["model"])
        return jax.load(model, job["rounded_to"], job["devices"]), lambda _: model.tables
    folder = Path(job["export"])
    manifest = read_manifest(folder)
    return get_backend(job["backend"]).load(folder, manifest), functools.partial(read_tables, folder, manifest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
