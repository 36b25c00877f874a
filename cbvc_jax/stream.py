"""Bytes -> frames: a stream's records through a decoder, with seeking, concealment and timestamps.

    file --StreamReader--> record --decoder.push--> frame

Imports no JAX: the decoder may run on any backend.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from cbvc_jax.bitstream import FrameRecord, IndexTables, Loss, StreamHeader, StreamReader
from cbvc_jax.errors import BitstreamError, ModelError, UsageError
from cbvc_jax.lanes import in_lanes
from cbvc_jax.video import VideoFrame, VideoInfo

if TYPE_CHECKING:
    from cbvc_jax.weights import Model

MAX_PIXELS = 7680 * 4320
"""Largest frame that `StreamDecoder` decodes unless it is told otherwise: a few bytes may ask for many gigabytes."""


class FrameDecoder(Protocol):
    """What decodes the frames of one stream in order, such as `cbvc_jax.codec.Decoder`.

    Attributes:
      tables: initial tables of index coding that its model has, or None.
    """

    tables: IndexTables | None

    def push(self, rate: str, indices: Any, skip: Any = None, *, show: bool = True) -> Any:
        """The next frame, something that NumPy makes uint8 [height, width, 3] of; None if it is not shown."""
        ...


class StreamDecoder:
    """Frames of a stream, in order, while it arrives: an iterator of `VideoFrame`.

    Args:
      file: binary file or pipe.
      model: what to decode with on JAX; by default the installed model that the stream names.
      decoder: makes a decoder on another runtime from the stream's header (`cbvc_jax.export.backends.open_export`).
      conceal: go on from the next keyframe after damage instead of raising.
      start: seconds; frames before are not shown. In a file, decoding starts at the keyframe before.
      max_pixels: of a frame; larger ones are refused before memory is taken for them.
      parallel: GOPs that are decoded at once on JAX, one after the other on each of its devices, to the same pictures.
        Two times `lanes.AHEAD` frames of each are held.

    Attributes:
      header: of the stream.
      info: of the frames.
      losses: what damage cost, where `conceal` is on.

    Raises:
      BitstreamError: the stream is damaged, or cut short (after the frames before the cut).
      ModelError: `model` is not the one that the stream was made with, or none is installed.
      UsageError: frames are larger than `max_pixels`, or another runtime shall decode several GOPs at once.
    """

    def __init__(
        self,
        file: IO[bytes],
        model: Model | None = None,
        *,
        decoder: Callable[[StreamHeader], FrameDecoder] | None = None,
        conceal: bool = False,
        start: float | Fraction = 0,
        max_pixels: int = MAX_PIXELS,
        parallel: int = 1,
    ):
        if parallel > 1 and decoder is not None:
            raise UsageError("only JAX decodes several GOPs at once")
        self._reader = StreamReader(file, conceal=conceal)
        self.header = self._reader.header
        self._start_ticks = Fraction(start) / self.header.time_base
        self._file = file
        h = self.header
        if h.width * h.height > max_pixels:
            raise UsageError(
                f"the stream's frames of {h.width}x{h.height} have {h.width * h.height:,} pixels, and {max_pixels:,} "
                "are allowed: allow more (--max-pixels) if you trust the file and have the memory"
            )
        self.info = VideoInfo(
            h.width, h.height, h.time_base, h.frame_rate, matrix=h.color_matrix, color_range=h.color_range
        )
        self._decoders = _jax_decoders(h, model, parallel) if decoder is None else [decoder(h)]
        self._reader.use_tables(self._decoders[0].tables)

    @property
    def losses(self) -> list[Loss]:
        return self._reader.losses

    def __iter__(self) -> Iterator[VideoFrame]:
        if self._start_ticks > 0 and self._file.seekable():
            self._reader.seek(int(self._start_ticks))
        if len(self._decoders) > 1:
            lanes = [functools.partial(self._finished, decoder) for decoder in self._decoders]
            shown = in_lanes(self._reader, lambda record: record.kind == "key", lanes)
            yield from (frame for frame in shown if frame is not None)
        else:
            yield from self._one_by_one()

    def _finished(self, decoder: FrameDecoder, record: FrameRecord) -> VideoFrame | None:
        shown = self._decode(decoder, record)
        return None if shown is None else VideoFrame(np.asarray(shown), record.timestamp)

    def _one_by_one(self) -> Iterator[VideoFrame]:
        waiting: tuple[Any, int] | None = None
        damage: BitstreamError | None = None
        records = iter(self._reader)
        while True:
            try:
                record = next(records, None)
            except BitstreamError as error:
                record, damage = None, error
            shown = None if record is None else self._decode(self._decoders[0], record)
            # While the device works on this frame, the one before is handed out.
            if waiting is not None:
                yield VideoFrame(np.asarray(waiting[0]), waiting[1])
            if record is None:
                break
            waiting = None if shown is None else (shown, record.timestamp)
        if damage is not None:
            raise damage

    def _decode(self, decoder: FrameDecoder, record: FrameRecord) -> Any:
        return decoder.push(record.rate, record.indices, record.skip, show=record.timestamp >= self._start_ticks)


def _jax_decoders(header: StreamHeader, model: Model | None, parallel: int) -> list[FrameDecoder]:
    from cbvc_jax.codec import Decoder, lane_devices
    from cbvc_jax.weights import find_model

    chosen = find_model(header.model_sha256) if model is None else model
    if chosen.sha256 != header.model_sha256:
        raise ModelError(
            f"this stream was made with model {header.model_sha256.hex()[:12]}, "
            f"but '{chosen.name}' is {chosen.sha256.hex()[:12]}"
        )
    devices = lane_devices(parallel) if parallel > 1 else [None]
    return [Decoder(chosen, header.height, header.width, device) for device in devices]
