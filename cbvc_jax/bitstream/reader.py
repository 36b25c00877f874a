"""Stream -> index maps. Trusts no byte: memory follows what has arrived, and all damage is one BitstreamError."""

from __future__ import annotations

import dataclasses
import re
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any, Literal, NamedTuple

from cbvc_jax.bitstream.adaptive import AdaptiveCoder
from cbvc_jax.bitstream.errors import TruncatedError, UnsupportedError
from cbvc_jax.bitstream.framing import (
    CRC_BYTES,
    END_MARKER,
    KEY_MARKER,
    MARKER_BYTES,
    SKIP_CODINGS,
    TABLE_CODINGS,
    Coding,
    Progress,
    RecordHead,
    read_head,
)
from cbvc_jax.bitstream.header import read_header
from cbvc_jax.bitstream.packing import IndexMaps
from cbvc_jax.bitstream.skipping import Skip
from cbvc_jax.bitstream.source import ByteSource
from cbvc_jax.bitstream.tables import IndexTables
from cbvc_jax.errors import BitstreamError, UsageError

_MARKERS = re.compile(re.escape(KEY_MARKER) + b"|" + re.escape(END_MARKER))
_NAMES = {"key": "keyframe", "predicted": "predicted frame", "end": "end-of-stream record"}
_SEARCH_ALLOWANCE = 1 << 26
_SEARCH_RATIO = 16


@dataclasses.dataclass(frozen=True, eq=False)
class FrameRecord:
    """One frame as it was written.

    Attributes:
      kind: "key" or "predicted".
      rate: name of its codebooks: "key", or a rate of the header.
      number: of the frame in the stream, from 0; a gap shows frames that were lost.
      timestamp: in ticks of the header's time base.
      indices: uint16 [groups=2, rows, columns] of each stage.
      skip: uint8 [rows, columns] of the first stage, what becomes of each block; None: all are coded.
      coding: one of `CODINGS`.
      stage_bytes: how many bytes of the payload each stage took, to a byte or two.
      offset, size_bytes: where the record lies in the stream, framing included.
      payload_bytes: length of the indices alone.
    """

    kind: Literal["key", "predicted"]
    rate: str
    number: int
    timestamp: int
    indices: IndexMaps
    skip: Skip | None
    coding: Coding
    stage_bytes: tuple[int, ...]
    offset: int
    size_bytes: int
    payload_bytes: int


class _Unpacked(NamedTuple):
    """A payload's indices, the bytes that each stage took, and what becomes of each block; empty if not unpacked."""

    indices: IndexMaps = ()
    stage_bytes: tuple[int, ...] = ()
    skip: Skip | None = None


@dataclasses.dataclass(frozen=True)
class Loss:
    """A stretch of a damaged stream that was passed over.

    Attributes:
      offset, end_offset: in bytes; the stretch may be empty where whole records are missing.
      reason: what was noticed, in words.
      frames_lost: how many frames lay there, or None where nothing behind it tells.
    """

    offset: int
    end_offset: int
    reason: str
    frames_lost: int | None


class StreamReader:
    """Iterates over the frames of a stream from a file or pipe; reads no further than the frame asked for needs.

    Without `conceal`, yields every complete frame before the first damage and then raises one BitstreamError, which
    is a TruncatedError where the stream was cut short. With it, goes on at the next sound keyframe and keeps a list
    of losses. Bytes behind the end-of-stream record are not read as frames and are not an error.

    Attributes:
      header: the stream's header.
      header_bytes: its length.
      losses: what was passed over so far, each stretch once. Empty without `conceal`.
      complete: whether the end-of-stream record has been reached.

    Raises:
      BitstreamError: on construction, if the header cannot be read.
    """

    def __init__(self, file: IO[bytes] | Any, *, conceal: bool = False):
        self._source = ByteSource(file)
        self.header, header_crc, self.header_bytes = read_header(self._source)
        self.losses: list[Loss] = []
        self._loss_offsets: set[int] = set()
        self.complete = False
        self._conceal = conceal
        self._layouts = self.header.layouts()
        self._coder = AdaptiveCoder(self._layouts, None, self.header.ways) if self.header.adaptive else None
        self._start = Progress.start(self.header, header_crc)
        self._progress = self._start
        self._done = False
        self._learned = False
        self._checked_bytes = 0
        self._searched_bytes = 0

    def use_tables(self, tables: IndexTables | None) -> None:
        """Gives the initial tables of the model that the header names; records that need them are refused without.

        None, of a model that has none, changes nothing.

        Raises:
          UsageError: they do not fit the header, or frames have been read.
        """
        if self._progress is not self._start:
            raise UsageError("initial tables are given before the first frame is read")
        if self._coder is not None and tables is not None:
            self._coder = AdaptiveCoder(self._layouts, tables, self.header.ways)

    @property
    def offset(self) -> int:
        """Where the next record begins, in bytes from the start of the stream."""
        return self._source.offset

    def __iter__(self) -> Iterator[FrameRecord]:
        return self

    def __next__(self) -> FrameRecord:
        record = self.next_record()
        if record is None:
            raise StopIteration
        return record

    def next_record(self, *, unpack: bool | None = True) -> FrameRecord | None:
        """The next frame, or None at the end.

        Args:
          unpack: False leaves `indices`, `skip` and `stage_bytes` empty and their values unchecked; checksums are
            checked all the same. Where the frames of a GOP build on each other, unpacking can begin again at a
            keyframe only. None does so where tables are missing, and for what builds on such frames.

        Raises:
          BitstreamError: the stream is damaged here, or cut short (TruncatedError). Later calls return None.
          UsageError: a frame before this one was not unpacked.
        """
        while not self._done:
            offset = self._source.offset
            try:
                head, progress, frame = self._examine(self._progress, unpack=unpack)
            except BitstreamError as error:
                if not self._conceal:
                    self._done = True
                    raise
                self._pass_over(str(error))
                continue
            self._source.drop(head.size_bytes)
            self._progress = progress
            if head.kind == "end":
                self._done = self.complete = True
                break
            self._learn(head, frame)
            return FrameRecord(
                kind=head.kind,
                rate=head.rate,
                number=(progress.frames or 0) - 1,
                timestamp=progress.timestamp,
                indices=frame.indices,
                skip=frame.skip,
                coding=head.coding,
                stage_bytes=frame.stage_bytes,
                offset=offset,
                size_bytes=head.size_bytes,
                payload_bytes=head.payload_bytes,
            )
        return None

    def seek(self, timestamp: int) -> int | None:
        """Timestamp of the keyframe that iteration goes on with: the last one at or before `timestamp`.

        That is the first keyframe where all are later, and None where the stream has none. Hops from record to record
        by their lengths; with `conceal`, from one sound keyframe to the next. Where damage is in the way, the last
        keyframe before it is taken, and iteration raises at the damage. Work grows with the records before the target.

        Raises:
          UsageError: the input cannot seek.
        """
        if not self._source.seekable:
            raise UsageError("the input cannot seek; a keyframe can be sought in a file, not in a pipe")
        self._source.seek(self.header_bytes)
        found: tuple[int, int] | None = None
        for ticks, offset in self._sound_keyframes() if self._conceal else self._keyframes():
            if found is not None and ticks > timestamp:
                break
            found = ticks, offset
        place, target = (None, self.header_bytes) if found is None else found
        self._source.seek(target)
        self._progress = dataclasses.replace(self._start, frames=None)
        self._done = self.complete = False
        return place

    def _learn(self, head: RecordHead, frame: _Unpacked) -> None:
        """Moves the coder on by a frame; without its indices it waits for the next keyframe."""
        if self._coder is not None:
            self._learned = bool(frame.indices) and (head.kind == "key" or self._learned)
            if self._learned:
                self._coder.update(head.rate, frame.indices, frame.skip)

    def _examine(self, progress: Progress, *, unpack: bool | None) -> tuple[RecordHead, Progress, _Unpacked]:
        """(head, state after it, what its payload says) of the record at the window's start, which stays."""
        source = self._source
        offset = source.offset
        if not source.fill(1):
            raise TruncatedError("the stream is cut short: its end-of-stream record is missing", offset)
        head = read_head(source, self.header, self._layouts)
        data = source.peek(head.size_bytes)
        body = data[:-CRC_BYTES]
        crc = zlib.crc32(body, progress.seed(head.kind))
        if crc != struct.unpack(">I", data[-CRC_BYTES:])[0]:
            raise BitstreamError(f"a {_NAMES[head.kind]} is damaged: its checksum does not match", offset)
        progress = progress.after(head, crc, offset)
        if unpack is False or head.kind == "end" or (unpack is None and not self._can_unpack(head)):
            return head, progress, _Unpacked()
        return head, progress, self._unpack(head, body[head.head_bytes :], offset + head.head_bytes)

    def _can_unpack(self, head: RecordHead) -> bool:
        """Whether the tables and the frames before are there that a record builds on."""
        if head.coding == "fixed" or self._coder is None:
            return True
        missing = head.coding in TABLE_CODINGS and not self._coder.has_tables
        return not missing and (head.kind == "key" or self._learned)

    def _unpack(self, head: RecordHead, payload: bytes, offset: int) -> _Unpacked:
        """What a payload that begins at `offset` says."""
        layout = self._layouts[head.rate]
        if head.coding == "fixed" or self._coder is None:
            return _Unpacked(layout.unpack(payload, offset), layout.stage_bytes())
        if head.kind == "predicted" and not self._learned:
            raise UsageError("a frame before this one was not unpacked: unpacking can begin at a keyframe only")
        tables = head.coding in TABLE_CODINGS
        if tables and not self._coder.has_tables:
            raise UnsupportedError("the indices are coded with tables of the model, which were not given", offset)
        return _Unpacked(
            *self._coder.decode(head.rate, payload, offset, tables=tables, skips=head.coding in SKIP_CODINGS)
        )

    def _pass_over(self, reason: str) -> None:
        """Moves to the next sound keyframe, or the end of the stream, and notes what lies before it."""
        start, due = self._source.offset, self._progress.frames
        # The search begins at the refused record itself: it may be sound, with records before it missing.
        head = self._find_sound(self._progress)
        lost = None if head is None or head.number is None or due is None else head.number - due
        if start not in self._loss_offsets:
            self._loss_offsets.add(start)
            self.losses.append(Loss(start, self._source.offset, reason, lost))
        if head is None:
            self._done = True
        else:
            self._progress = dataclasses.replace(self._progress, frames=head.number, in_gop=None)

    def _find_sound(self, progress: Progress) -> RecordHead | None:
        """Head of the next sound keyframe or end of stream that may follow `progress`; the window moves to it."""
        source = self._source
        loose = dataclasses.replace(progress, frames=None)
        start = source.offset
        while source.find(_MARKERS, MARKER_BYTES):
            self._searched_bytes += source.offset - start
            start = source.offset
            try:
                head = read_head(source, self.header, self._layouts)
                if self._may_check(head.size_bytes):
                    head, *_ = self._examine(loose, unpack=True)
                    if progress.frames is None or (head.number or 0) >= progress.frames:
                        return head
            except BitstreamError:
                pass
            source.drop(1)
        return None

    def _may_check(self, size_bytes: int) -> bool:
        """Whether a checksum over `size_bytes` is affordable, so that a forest of false markers costs linear time."""
        if self._checked_bytes + size_bytes > _SEARCH_ALLOWANCE + _SEARCH_RATIO * self._searched_bytes:
            return False
        self._checked_bytes += size_bytes
        return True

    def _keyframes(self) -> Iterator[tuple[int, int]]:
        """(timestamp, offset) of each complete keyframe as far as the lengths of records lead."""
        source = self._source
        end = source.size_bytes()
        while source.offset < end:
            try:
                head = read_head(source, self.header, self._layouts)
            except BitstreamError:
                return
            if head.kind == "end" or source.offset + head.size_bytes > end:
                return
            if head.kind == "key" and head.ticks is not None:
                yield head.ticks, source.offset
            source.seek(source.offset + head.size_bytes)

    def _sound_keyframes(self) -> Iterator[tuple[int, int]]:
        """(timestamp, offset) of each sound keyframe, whatever lies between."""
        progress = dataclasses.replace(self._start, frames=None)
        while (head := self._find_sound(progress)) is not None and head.ticks is not None:
            progress = dataclasses.replace(progress, frames=head.number, timestamp=head.ticks)
            yield head.ticks, self._source.offset
            self._source.drop(head.size_bytes)
