"""What the adaptive index coding saves over fixed length, and what it costs in time.

python -m cbvc_jax.benchmarks.coding FILE.cbv... [--pictures] [--tables MODEL]

Each stream is written anew in memory in both codings and read back. Gains are of whole files, and of the payloads of
predicted frames by stage. Times are medians over the predicted frames, in ms of processor time a frame: coding
and decoding the indices, records included, and with --pictures decoding the picture (the model must be installed).
With --tables, the last columns have adaptive coding from the initial tables of MODEL on, whose codebooks have the
streams' sizes: what it saves over that from uniform ones on, of whole files, keyframes and predicted frames.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cbvc_jax import markdown
from cbvc_jax.bitstream import (
    STREAM_CODINGS,
    FrameRecord,
    IndexTables,
    StreamCoding,
    StreamHeader,
    StreamReader,
    StreamWriter,
)
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.weights import Model, load_model

WARM_FRAMES = 2
COLUMNS = (
    *("stream", "size", "frames", "rate", "fixed", "adaptive", "saved"),
    *("by stage", "code ms", "decode ms", "picture ms"),
)
TABLE_COLUMNS = ("with tables", "saved by them", "of keyframes", "of predicted frames")


@dataclasses.dataclass(frozen=True)
class Trial:
    """A stream in one coding.

    Attributes:
      size_bytes: of the file.
      key_bytes, other_bytes: of the payloads of keyframes, and of predicted frames.
      stage_bytes: of predicted frames, by stage.
      write_ms, read_ms: medians over predicted frames.
    """

    size_bytes: int
    key_bytes: int
    other_bytes: int
    stage_bytes: tuple[int, ...]
    write_ms: float
    read_ms: float


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints markdown tables."""
    parser = argparse.ArgumentParser(prog="python -m cbvc_jax.benchmarks.coding", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path)
    parser.add_argument("--pictures", action="store_true", help="time the decoding of pictures, too")
    parser.add_argument("--tables", metavar="MODEL", help="name or folder of a model with initial tables")
    args = parser.parse_args(argv)
    try:
        model = None if args.tables is None else _with_tables(args.tables)
        print(markdown.head(COLUMNS if model is None else (*COLUMNS, *TABLE_COLUMNS)))
        for path in args.files:
            header, records = _read(path, model)
            fixed, coded = run(header, records, "fixed"), run(header, records, "adaptive")
            stages = zip(fixed.stage_bytes, coded.stage_bytes, strict=True)
            cells = [
                path.stem,
                f"{header.width}x{header.height}",
                str(len(records)),
                ", ".join(sorted({r.rate for r in records if r.kind == "predicted"})),
                str(fixed.size_bytes),
                str(coded.size_bytes),
                _gain(fixed.size_bytes, coded.size_bytes),
                ", ".join(_gain(a, b) for a, b in stages),
                f"{coded.write_ms:.2f}",
                f"{coded.read_ms:.2f}",
                f"{picture_ms(header, records):.2f}" if args.pictures else "-",
            ]
            if model is not None:
                tabled = run(header, records, "adaptive", model.tables)
                cells += [str(tabled.size_bytes), _gain(coded.size_bytes, tabled.size_bytes)]
                cells += [_gain(coded.key_bytes, tabled.key_bytes), _gain(coded.other_bytes, tabled.other_bytes)]
            print(markdown.row(cells), flush=True)
    except (CbvcError, OSError) as error:
        sys.exit(f"coding: {error}")
    return 0


def _with_tables(name: str) -> Model:
    model = load_model(name)
    if model.tables is None:
        raise UsageError(f"model '{name}' has no initial tables")
    return model


def _read(path: Path, model: Model | None) -> tuple[StreamHeader, list[FrameRecord]]:
    with path.open("rb") as file:
        reader = StreamReader(file)
        if model is not None and model.sha256 == reader.header.model_sha256:
            reader.use_tables(model.tables)
        return reader.header, list(reader)


def run(
    header: StreamHeader,
    records: Sequence[FrameRecord],
    coding: StreamCoding,
    tables: IndexTables | None = None,
) -> Trial:
    """Writes the frames in `coding` and reads them back; an AssertionError if they are not the same."""
    file = io.BytesIO()
    writer = StreamWriter(file, dataclasses.replace(header, version=STREAM_CODINGS[coding]), tables)
    write_ms = [_timed(lambda r=r: writer.write(r.kind, r.rate, r.timestamp, r.indices, r.skip))[0] for r in records]
    writer.finish()
    file.seek(0)
    reader = StreamReader(file)
    reader.use_tables(tables)
    reads = [_timed(reader.next_record) for _ in records]
    back = [record for _, record in reads]
    assert all(all(map(np.array_equal, a.indices, b.indices)) for a, b in zip(records, back, strict=True))
    predicted = [i for i, r in enumerate(records) if r.kind == "predicted"]
    other_bytes = sum(back[i].payload_bytes for i in predicted)
    return Trial(
        size_bytes=writer.size_bytes,
        key_bytes=sum(record.payload_bytes for record in back) - other_bytes,
        other_bytes=other_bytes,
        stage_bytes=tuple(sum(sizes) for sizes in zip(*(back[i].stage_bytes for i in predicted), strict=True)),
        write_ms=_median([write_ms[i] for i in predicted]),
        read_ms=_median([reads[i][0] for i in predicted]),
    )


def picture_ms(header: StreamHeader, records: Sequence[FrameRecord]) -> float:
    """Median time of decoding a predicted frame from its indices."""
    from cbvc_jax.cache import use_compilation_cache
    from cbvc_jax.codec import Decoder
    from cbvc_jax.weights import find_model

    use_compilation_cache()
    decoder = Decoder(find_model(header.model_sha256), header.height, header.width)
    times = [_timed(lambda r=r: np.asarray(decoder.push(r.rate, r.indices)))[0] for r in records]
    return _median([t for t, r in zip(times, records, strict=True) if r.kind == "predicted"][WARM_FRAMES:])


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return 1000 * (time.process_time() - start), result


def _median(times: Sequence[float]) -> float:
    return statistics.median(times) if times else 0.0


def _gain(before: int, after: int) -> str:
    return f"{100 * (1 - after / before):.1f} %" if before else "-"


if __name__ == "__main__":
    sys.exit(main())
