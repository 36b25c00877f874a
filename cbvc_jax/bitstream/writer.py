"""Index maps -> stream, one record at a time; what has been written is whole records at any moment."""

from __future__ import annotations

import operator
import struct
import zlib
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from cbvc_jax.bitstream.adaptive import AdaptiveCoder
from cbvc_jax.bitstream.framing import (
    SKIP_CODINGS,
    TABLE_CODINGS,
    Coding,
    Progress,
    RecordHead,
    coded_head,
    end_head,
    key_head,
    predicted_head,
)
from cbvc_jax.bitstream.frequencies import FrameChances
from cbvc_jax.bitstream.header import StreamHeader
from cbvc_jax.bitstream.packing import IndexMaps
from cbvc_jax.bitstream.skipping import Skip, fill_skipped
from cbvc_jax.bitstream.source import VARINT_LIMIT
from cbvc_jax.bitstream.tables import IndexTables
from cbvc_jax.errors import BitstreamError, UsageError
from cbvc_jax.presets import KEYFRAME


class StreamWriter:
    """Writes a stream to a binary file or pipe, which it never seeks in and does not close.

    As a context manager it writes the end of the stream, unless the block raised: then the stream shows the cut.

    Args:
      header: of the stream. Its version says whether records may be coded adaptively (from 1.1 on); each is where that
        makes it smaller.
      tables: initial tables of the model, which a reader then needs too, for records that they make smaller; by default
        every index is as likely at first.

    Attributes:
      header: as written.
      frames, size_bytes: frames and bytes written so far.
    """

    def __init__(self, file: IO[bytes] | Any, header: StreamHeader, tables: IndexTables | None = None):
        self.header = header
        self.frames = 0
        self.size_bytes = 0
        self._file = file
        self._layouts = header.layouts()
        self._coder = AdaptiveCoder(self._layouts, tables, header.ways) if header.adaptive else None
        self._finished = False
        packed = header.pack()
        self._progress = Progress.start(header, zlib.crc32(packed[:-4]))
        self._emit(packed)

    def chances(self, rate: str) -> FrameChances | None:
        """How likely what the next frame may say is, or None where all of its indices take the same bits.

        Args:
          rate: "key", or one of the header's rates.
        """
        coder = self._coder_of(rate)
        if coder is None:
            return None
        can_skip = rate != KEYFRAME and bool(self._skip_codings(coder))
        stages = coder.chances(rate, tables=coder.has_tables)
        return FrameChances(stages, coder.skip_chances(rate) if can_skip else None)

    def write(
        self,
        kind: Literal["key", "predicted"],
        rate: str,
        timestamp: int,
        indices: Sequence[npt.ArrayLike],
        skip: npt.ArrayLike | None = None,
    ) -> int:
        """Number of bytes written for one frame; they are flushed before it returns.

        Args:
          kind: the first frame of a stream, and of each GOP, is a keyframe.
          rate: "key" for a keyframe, one of the header's rates for a predicted frame.
          timestamp: in ticks of the header's time base, 0 .. 2**63 - 1, more than that of the frame before.
          indices: one integer array [groups=2, rows, columns] a stage, of the frame's stage grids.
          skip: uint8 or bool [rows, columns] of the first stage's grid, what becomes of each block of a predicted
            frame, as `cbvc_jax.geometry` has it, below the header's `ways`; indices that are not sent then are as
            `fill_skipped` has them. None: all are coded.

        Raises:
          UsageError: an argument does not fit the header or the frames before. Nothing was written.
        """
        if self._finished:
            raise UsageError("the stream is finished")
        try:
            timestamp = operator.index(timestamp)
        except TypeError:
            raise UsageError(f"timestamp {timestamp!r} is not an integer") from None
        if not self._progress.timestamp < timestamp < VARINT_LIMIT:
            raise UsageError(f"timestamp {timestamp} does not follow {self._progress.timestamp}, or is out of range")
        if kind == "key":
            if rate != KEYFRAME:
                raise UsageError(f"the codebooks of a keyframe are named '{KEYFRAME}', not '{rate}'")
            number, ticks = self.frames, timestamp
            head = key_head(number, timestamp)
        elif kind == "predicted":
            if rate not in self.header.rates:
                raise UsageError(f"the header has no rate '{rate}'; it has: {', '.join(self.header.rates)}")
            delta = timestamp - self._progress.timestamp
            number, ticks = None, None if delta == self._progress.delta else delta
            head = predicted_head(self.header.rates.index(rate), ticks)
        else:
            raise UsageError(f"a frame is 'key' or 'predicted', not '{kind}'")
        maps = self._layouts[rate].check(indices)
        skipped = None if skip is None else self._checked_skip(rate, maps, np.asarray(skip))
        coding, head, payload = self._code(rate, head, maps, skipped)
        record = RecordHead(kind, rate, number, ticks, coding, len(head), len(payload))
        written = self._emit_record(record, head + payload)
        if self._coder is not None:
            self._coder.update(rate, maps, skipped)
        return written

    def finish(self) -> int:
        """Number of bytes of the end-of-stream record, now written. Calling it again writes nothing."""
        if self._finished:
            return 0
        head = end_head(self.frames)
        written = self._emit_record(RecordHead("end", "", self.frames, None, "fixed", len(head), 0), head)
        self._finished = True
        return written

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()

    def _coder_of(self, rate: str) -> AdaptiveCoder | None:
        """What codes the next frame if that makes it smaller; None where its record is at fixed length in any case."""
        coder = self._coder
        # Without tables a keyframe has nothing that its frequencies could come from.
        if coder is None or not self._layouts[rate].can_be_coded or (rate == KEYFRAME and not coder.has_tables):
            return None
        return coder

    def _plain_codings(self, coder: AdaptiveCoder, rate: str) -> list[Coding]:
        """Codings of a record without skipped blocks, but for fixed length."""
        codings: list[Coding] = [] if rate == KEYFRAME else ["adaptive"]
        return [*codings, "adaptive-tables"] if coder.has_tables else codings

    def _skip_codings(self, coder: AdaptiveCoder) -> list[Coding]:
        """Codings of a record with skipped blocks; none where there can be none."""
        if not self.header.skipping:
            return []
        fitting: list[Coding] = [coding for coding, ways in SKIP_CODINGS.items() if ways == self.header.ways]
        return [coding for coding in fitting if coder.has_tables or coding not in TABLE_CODINGS]

    def _checked_skip(self, rate: str, maps: IndexMaps, skip: np.ndarray) -> Skip | None:
        """What becomes of the blocks; None if all are coded."""
        if skip.dtype not in (np.bool_, np.uint8) or skip.shape != maps[0].shape[1:]:
            wanted = f"uint8 or bool {list(maps[0].shape[1:])}"
            raise UsageError(f"skipped blocks are {wanted}, not {skip.dtype} {list(skip.shape)}")
        skip = skip.astype(np.uint8)
        if not skip.any():
            return None
        if skip.max() >= self.header.ways:
            ways, version = self.header.ways, ".".join(map(str, self.header.version))
            raise UsageError(f"what becomes of a block is below {ways} in version {version}, not {skip.max()}")
        if rate == KEYFRAME or self._coder is None or self._coder_of(rate) is None:
            raise UsageError("blocks are skipped in predicted frames of a stream with skipping index coding only")
        if not self._skip_codings(self._coder):
            raise UsageError("blocks are skipped from version 1.2 on, and from 1.4 on with initial tables only")
        filled = fill_skipped(maps, skip, self._coder.reference(rate))
        if not all(np.array_equal(a, b) for a, b in zip(maps, filled, strict=True)):
            raise UsageError("an index of a skipped block is not the one that a reader will have there")
        return skip

    def _code(self, rate: str, head: bytes, maps: IndexMaps, skip: Skip | None) -> tuple[Coding, bytes, bytes]:
        """(coding, head, payload) of the smallest record."""
        coder = self._coder_of(rate)
        records: list[tuple[Coding, bytes, bytes]] = []
        if skip is None or coder is None:
            records.append(("fixed", head, self._layouts[rate].pack(maps)))
        if coder is not None:
            # Frequencies move on alike in all codings, so that each record may begin with tables or without.
            for coding in self._plain_codings(coder, rate) if skip is None else self._skip_codings(coder):
                payload = coder.encode(rate, maps, tables=coding in TABLE_CODINGS, skip=skip)
                records.append((coding, coded_head(head, coding, len(payload)), payload))
        return min(records, key=lambda record: len(record[1]) + len(record[2]))

    def _emit_record(self, head: RecordHead, data: bytes) -> int:
        crc = zlib.crc32(data, self._progress.seed(head.kind))
        try:
            progress = self._progress.after(head, crc, self.size_bytes)
        except BitstreamError as error:
            raise UsageError(str(error)) from None
        self._emit(data + struct.pack(">I", crc))
        self._progress = progress
        self.frames = progress.frames or 0
        return head.size_bytes

    def _emit(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            # An unbuffered pipe may take only a part; some file-likes return nothing, having taken all.
            taken = self._file.write(rest)
            rest = rest[len(rest) if taken is None else taken :]
        self._file.flush()
        self.size_bytes += len(data)
