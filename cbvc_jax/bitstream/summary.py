"""What a stream holds: the walk behind `cbvc info`."""

from __future__ import annotations

import collections
import dataclasses
from fractions import Fraction
from typing import IO, Any

from cbvc_jax.bitstream.header import StreamHeader
from cbvc_jax.bitstream.reader import StreamReader
from cbvc_jax.errors import BitstreamError


@dataclasses.dataclass(frozen=True)
class StreamSummary:
    """Counts over a stream's sound records, up to the first damage.

    Attributes:
      header: of the stream.
      frames_by_kind, frames_by_rate: number of frames under "key" and "predicted", and under "key" and each rate used.
      frames_by_coding: number of frames by index coding: as `CODINGS` names them.
      stage_bytes: payload bytes of each stage, under "key" and each rate used; without those that are coded with tables
        of the model, which a walk does not have.
      fixed_stage_bytes: what the same frames take at fixed length.
      size_bytes, header_bytes, payload_bytes: up to the end of the last sound record; the header; all indices.
      first_timestamp, last_timestamp: in ticks, None where there is no frame.
      duration: seconds; the last frame lasts 1 / frame_rate or, where that is unknown, as long as the mean frame.
      complete: the end-of-stream record was reached and all before it is sound.
      error: what stopped the walk otherwise.
    """

    header: StreamHeader
    frames_by_kind: dict[str, int]
    frames_by_rate: dict[str, int]
    frames_by_coding: dict[str, int]
    stage_bytes: dict[str, tuple[int, ...]]
    fixed_stage_bytes: dict[str, tuple[int, ...]]
    size_bytes: int
    header_bytes: int
    payload_bytes: int
    first_timestamp: int | None
    last_timestamp: int | None
    duration: Fraction
    complete: bool
    error: BitstreamError | None

    @property
    def frames(self) -> int:
        """Number of sound frames."""
        return sum(self.frames_by_kind.values())

    @property
    def fixed_payload_bytes(self) -> int:
        """What the payloads take at fixed length."""
        return sum(map(sum, self.fixed_stage_bytes.values()))


def summarize(file: IO[bytes] | Any) -> StreamSummary:
    """What the stream in `file` holds, every checksum checked; damage behind the header is told in the summary.

    Indices are unpacked only where a part of them is coded adaptively, and without tables of the model.

    Raises:
      BitstreamError: the header cannot be read.
    """
    reader = StreamReader(file)
    kinds: collections.Counter[str] = collections.Counter()
    rates: collections.Counter[str] = collections.Counter()
    codings: collections.Counter[str] = collections.Counter()
    layouts = reader.header.layouts()
    stages: dict[str, tuple[int, ...] | None] = {rate: (0,) * len(layout.shapes) for rate, layout in layouts.items()}
    payload_bytes = 0
    first = last = None
    error = None
    try:
        while (record := reader.next_record(unpack=None if reader.header.adaptive else False)) is not None:
            kinds[record.kind] += 1
            rates[record.rate] += 1
            codings[record.coding] += 1
            taken = record.stage_bytes or (layouts[record.rate].stage_bytes() if record.coding == "fixed" else None)
            known = stages[record.rate]
            stages[record.rate] = known and taken and tuple(map(sum, zip(known, taken, strict=True)))
            payload_bytes += record.payload_bytes
            first, last = record.timestamp if first is None else first, record.timestamp
    except BitstreamError as damage:
        error = damage
    return StreamSummary(
        header=reader.header,
        frames_by_kind=dict(kinds),
        frames_by_rate=dict(rates),
        frames_by_coding=dict(codings),
        stage_bytes={rate: known for rate in rates if (known := stages[rate])},
        fixed_stage_bytes={rate: tuple(n * b for b in layouts[rate].stage_bytes()) for rate, n in rates.items()},
        size_bytes=reader.offset,
        header_bytes=reader.header_bytes,
        payload_bytes=payload_bytes,
        first_timestamp=first,
        last_timestamp=last,
        duration=_duration(reader.header, kinds.total(), first, last),
        complete=reader.complete,
        error=error,
    )


def _duration(header: StreamHeader, frames: int, first: int | None, last: int | None) -> Fraction:
    if first is None or last is None:
        return Fraction(0)
    span = (last - first) * header.time_base
    if header.frame_rate is not None:
        return span + 1 / header.frame_rate
    return span * Fraction(frames, frames - 1) if frames > 1 else Fraction(0)
