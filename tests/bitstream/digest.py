"""Prints one hash of what the given streams hold and of what they are written as again: equal on every machine.

python tests/bitstream/digest.py FILE...           reads them
python tests/bitstream/digest.py --make FOLDER     writes streams to read
"""

from __future__ import annotations

import hashlib
import io
import platform
import random
import sys
from pathlib import Path

import numpy as np

from cbvc_jax.bitstream import StreamReader, StreamWriter
from cbvc_jax.bitstream.mutate import random_stream

STREAMS = 100


def make(folder: Path) -> None:
    """Writes random streams into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(STREAMS):
        (folder / f"{seed:03d}.cbv").write_bytes(random_stream(random.Random(seed)))


def digest(paths: list[Path]) -> str:
    """SHA-256 over every field and index of every frame; an AssertionError if written again a stream is another."""
    total = hashlib.sha256()
    for path in paths:
        data = path.read_bytes()
        reader, again = StreamReader(io.BytesIO(data)), io.BytesIO()
        with StreamWriter(again, reader.header) as writer:
            for r in reader:
                total.update(repr((r.kind, r.rate, r.number, r.timestamp, r.coding, r.stage_bytes)).encode())
                for maps in r.indices:
                    total.update(maps.astype(">u2").tobytes())
                total.update(b"" if r.skip is None else r.skip.tobytes())
                writer.write(r.kind, r.rate, r.timestamp, r.indices, r.skip)
        assert again.getvalue() == data, path
    return total.hexdigest()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]))
    else:
        where = (
            f"{platform.machine()}, {sys.byteorder}-endian, Python {platform.python_version()}, NumPy {np.__version__}"
        )
        print(digest([Path(name) for name in sys.argv[1:]]), where)
