"""Reads damaged streams by the million: `python -m cbvc_jax.bitstream.fuzz --streams 1000000 --seed 0`.

A stream may be read, refused with a BitstreamError, or (with concealment) read in part. Anything else is a failure:
another exception, frames out of order, an index outside its codebook, or memory out of proportion to the bytes given.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import gc
import io
import random
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

from cbvc_jax.bitstream.errors import TruncatedError, UnsupportedError
from cbvc_jax.bitstream.mutate import falling_tables, mutate, random_stream, split
from cbvc_jax.bitstream.reader import StreamReader
from cbvc_jax.bitstream.summary import summarize
from cbvc_jax.errors import BitstreamError

CORPUS_STREAMS = 256
SAMPLES = 2000
"""Streams whose memory is traced, all in the first tenth: the tracer itself keeps about a kilobyte each time."""
MEMORY_BASE_BYTES = 1 << 22
MEMORY_RATIO = 256
"""Unpacking holds some twenty bytes a bit of one payload at its peak; the counts of a rate take up to 0.2 MiB."""

MODES = ("strict", "conceal", "pipe", "conceal pipe", "seek", "conceal seek", "tables", "conceal tables", "summary")


class Misread(Exception):
    """The reader returned something that no valid stream could have held."""


class DripFile:
    """A file that cannot seek and hands out its bytes in pieces of odd lengths, as a pipe may."""

    def __init__(self, data: bytes, piece_bytes: int):
        self._file = io.BytesIO(data)
        self._piece_bytes = piece_bytes

    def read(self, count: int) -> bytes:
        """At most `count` bytes, and at most a piece."""
        return self._file.read(min(count, self._piece_bytes))


@dataclasses.dataclass
class Report:
    """What a run found.

    Attributes:
      outcomes: number of streams by how their reading ended.
      failures: (mode, error, stream) of streams that were misread or raised something else than a BitstreamError.
      rss_start_bytes, rss_end_bytes: resident memory after the first tenth of the streams, and at the end.
      peak_bytes: most memory that the reading of one sampled stream took.
      seconds: of the run.
    """

    outcomes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: list[tuple[str, str, bytes]] = dataclasses.field(default_factory=list)
    rss_start_bytes: int = 0
    rss_end_bytes: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0


def run(streams: int, seed: int, *, progress: bool = False) -> Report:
    """Reads `streams` damaged streams, all drawn from `seed`."""
    rng = random.Random(seed)
    corpus = [split(random_stream(rng, tables=i % 4 == 0)) for i in range(CORPUS_STREAMS)]
    report = Report()
    warm = max(1, streams // 10)
    start = time.perf_counter()
    for i in range(streams):
        if i == warm:
            report.rss_start_bytes = _rss_bytes()
        if progress and i and i % 100_000 == 0:
            print(f"{i:>9} streams, {len(report.failures)} failures", file=sys.stderr, flush=True)
        stream = mutate(rng, corpus)
        mode = rng.choice(MODES)
        detail = rng.getrandbits(16)
        sampled = i < warm and i % max(1, warm // SAMPLES) == 0
        if sampled:
            tracemalloc.start()
        try:
            outcome = read(stream, mode, detail)
        except Exception as error:
            outcome = "failure"
            report.failures.append((mode, f"{type(error).__name__}: {error}", stream))
        if sampled:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            report.peak_bytes = max(report.peak_bytes, peak)
            if peak > MEMORY_BASE_BYTES + MEMORY_RATIO * len(stream):
                report.failures.append((mode, f"took {peak} bytes of memory", stream))
        report.outcomes[outcome] += 1
    report.seconds = time.perf_counter() - start
    report.rss_end_bytes = _rss_bytes()
    return report


def read(stream: bytes, mode: str, detail: int = 0) -> str:
    """How the reading of `stream` ended, in a word or two.

    Args:
      mode: one of `MODES`.
      detail: any integer; chooses the length of pieces and the time sought.

    Raises:
      Misread: the reader broke a promise.
    """
    file: Any = DripFile(stream, 1 + detail % 97) if "pipe" in mode else io.BytesIO(stream)
    try:
        if mode == "summary":
            summary = summarize(file)
            return "complete" if summary.complete else _word(summary.error)
        reader = StreamReader(file, conceal="conceal" in mode)
    except BitstreamError as error:
        return f"header {_word(error)}"
    if "tables" in mode:
        reader.use_tables(falling_tables(reader.header))
    if "seek" in mode:
        reader.seek(detail << (detail % 30))
    try:
        _read_frames(reader)
    except BitstreamError as error:
        if "conceal" in mode:
            raise Misread(f"concealment raised {error!r}") from error
        return _word(error)
    for loss in reader.losses:
        if not 0 <= loss.offset <= loss.end_offset <= len(stream):
            raise Misread(f"{loss} lies outside the stream")
    return "concealed" if reader.losses else "complete"


def _read_frames(reader: StreamReader) -> None:
    sizes = {"key": reader.header.key_sizes, **dict(reader.header.predicted_sizes)}
    last = (-1, -1)
    for frame in reader:
        now = (frame.number, frame.timestamp)
        if now[0] <= last[0] or now[1] <= last[1]:
            raise Misread(f"frame {now} follows {last}")
        last = now
        if any(int(maps.max()) >= k for maps, k in zip(frame.indices, sizes[frame.rate], strict=True)):
            raise Misread(f"frame {now} has an index outside its codebook")


def _word(error: BitstreamError | None) -> str:
    if isinstance(error, TruncatedError):
        return "cut short"
    return "unsupported" if isinstance(error, UnsupportedError) else "damaged"


def _rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    gc.collect()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def main(arguments: list[str] | None = None) -> int:
    """0 if no stream failed, else 1; prints the report."""
    parser = argparse.ArgumentParser(description="Read damaged streams and report what went wrong.")
    parser.add_argument("--streams", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: %(default)s)")
    options = parser.parse_args(arguments)
    report = run(options.streams, options.seed, progress=True)
    rate = options.streams / max(report.seconds, 1e-9)
    print(f"{options.streams} streams, seed {options.seed}: {report.seconds:.0f} s, {rate:.0f} streams a second")
    for outcome, count in report.outcomes.most_common():
        print(f"  {outcome:<20} {count:>9}")
    mib = 1 << 20
    growth = report.rss_end_bytes - report.rss_start_bytes
    print(f"resident memory {report.rss_end_bytes / mib:.1f} MiB, growth {growth / mib:.2f} MiB after the first tenth")
    print(f"most memory for one stream (sampled) {report.peak_bytes / mib:.2f} MiB")
    print(f"failures (anything but a BitstreamError): {len(report.failures)}")
    for mode, error, stream in report.failures[:5]:
        print(f"  {mode}: {error}\n    {stream.hex()}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
