"""Index maps <-> coded payloads: frequencies that both sides learn from the frames before (FORMAT.md, "Coded payload").

    frames of the GOP so far --> counts --> frequencies --> rANS <--> payload of the next frame
                                              ^
                     initial tables: ones, or the model's

Within a frame the frequencies stand still, so that a record can be tried, skipped or refused without a trace; `update`
moves them on, whichever way the frame's record was coded. A keyframe forgets everything. Integers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cbvc_jax.bitstream import rans
from cbvc_jax.bitstream.frequencies import Chances, Integers, SkipModel, StageModel
from cbvc_jax.bitstream.packing import IndexMaps, PayloadLayout
from cbvc_jax.bitstream.skipping import Sent, Skip, sent_places
from cbvc_jax.bitstream.tables import IndexTables, check_tables
from cbvc_jax.geometry import STAYS
from cbvc_jax.presets import KEYFRAME


class AdaptiveCoder:
    """The frequencies of a stream at its current frame.

    Args:
      layouts: of keyframes (under "key") and of each rate.
      tables: initial tables of the model, for index coding 2; None for coding 1, which starts from uniform ones.
      ways: what may become of a block, in all: of `SKIP_CODINGS`.

    Raises:
      UsageError: `tables` does not fit the layouts.
    """

    def __init__(self, layouts: Mapping[str, PayloadLayout], tables: IndexTables | None = None, ways: int = 1 + STAYS):
        self._layouts = layouts
        sizes = {kind: layout.codebook_sizes for kind, layout in layouts.items()}
        self._tables = None if tables is None else check_tables(tables, sizes)
        self._models: dict[str, list[StageModel]] = {}
        self._last: tuple[str, IndexMaps] | None = None
        self._ways = ways
        self._skips = SkipModel(ways)

    @property
    def has_tables(self) -> bool:
        """Whether the model's initial tables are at hand."""
        return self._tables is not None

    def encode(self, rate: str, indices: Sequence[npt.ArrayLike], *, tables: bool, skip: Skip | None = None) -> bytes:
        """The coded payload of the next frame, whose codebooks `rate` names and whose indices fit its layout.

        Args:
          tables: use the model's initial tables (codings 2, 4, 6 and 7) in place of uniform ones (codings 1, 3 and 5).
          skip: what becomes of each block (codings 3 to 7); indices that are not sent are as `fill_skipped` has them.
        """
        symbols = [
            model.encode(np.asarray(maps).astype(np.int64), previous, initial, sent)
            for maps, sent, (model, previous, initial) in zip(
                indices, self._sent(rate, skip), self._stages(rate, tables), strict=True
            )
        ]
        if skip is not None:
            symbols.insert(0, self._skips.encode(skip))
        starts, frequencies = (np.concatenate(parts) for parts in zip(*symbols, strict=True))
        return rans.encode(starts, frequencies)

    def decode(
        self, rate: str, payload: bytes, offset: int = 0, *, tables: bool, skips: bool = False
    ) -> tuple[IndexMaps, tuple[int, ...], Skip | None]:
        """(uint16 [groups=2, rows, columns] of each stage, bytes that each stage took, blocks) of a next frame.

        Args:
          payload: all of it.
          offset: where it begins in the stream, for the error.
          tables: as for `encode`.
          skips: whether blocks are skipped; what tells that counts with the bytes of the first stage.

        Raises:
          BitstreamError: the payload is too short, too long, or no payload.
        """
        decoder = rans.Decoder(payload, offset)
        shapes = self._layouts[rate].shapes
        skip = self._skips.decode(decoder, shapes[0][1:]) if skips else None
        maps, stage_bytes, done = [], [], 0
        for shape, sent, (model, previous, initial) in zip(
            shapes, self._sent(rate, skip), self._stages(rate, tables), strict=True
        ):
            maps.append(model.decode(decoder, shape, previous, initial, sent).astype(np.uint16))
            stage_bytes.append(decoder.position - done)
            done = decoder.position
        decoder.finish()
        return tuple(maps), tuple(stage_bytes), skip

    def chances(self, rate: str, *, tables: bool) -> list[Chances]:
        """How likely each index of each stage is in the next frame: what an encoder may weigh against distortion."""
        return [
            model.chances(shape, previous, initial)
            for shape, (model, previous, initial) in zip(
                self._layouts[rate].shapes, self._stages(rate, tables), strict=True
            )
        ]

    def skip_chances(self, rate: str) -> Integers:
        """How likely it is what becomes of each block of the next frame, [rows, columns, symbols]."""
        return self._skips.chances(self._layouts[rate].shapes[0][1:])

    def reference(self, rate: str) -> IndexMaps | None:
        """Indices of the frame before, if it is a predicted frame of this rate."""
        return self._last[1] if self._last is not None and self._last[0] == rate else None

    def update(self, rate: str, indices: IndexMaps, skip: Skip | None = None) -> None:
        """Takes note of the frame that came next, however its record was coded."""
        if rate == KEYFRAME:
            self._models, self._last, self._skips = {}, None, SkipModel(self._ways)
            return
        if self._layouts[rate].can_be_coded:
            for maps, sent, (model, previous, _) in zip(
                indices, self._sent(rate, skip), self._stages(rate, False), strict=True
            ):
                model.update(maps.astype(np.int64), previous, sent)
        self._skips.update(skip)
        self._last = rate, tuple(maps.copy() for maps in indices)

    def _sent(self, rate: str, skip: Skip | None) -> Sequence[Sent | None]:
        """Where each stage's indices are sent; None: everywhere."""
        shapes = self._layouts[rate].shapes
        return [None] * len(shapes) if skip is None else sent_places(skip, shapes)

    def _stages(self, rate: str, tables: bool) -> Iterable[tuple[StageModel, Integers | None, Integers | None]]:
        """(model, previous frame's indices, initial tables) of each stage."""
        sizes = self._layouts[rate].codebook_sizes
        # The models of keyframes never learn, so they are not kept.
        kept = {} if rate == KEYFRAME else self._models
        models = kept.setdefault(rate, [StageModel(size) for size in sizes])
        last = self.reference(rate)
        for stage, model in enumerate(models):
            previous = None if last is None else last[stage].astype(np.int64)
            initial = self._tables[rate][stage].astype(np.int64) if tables and self._tables else None
            yield model, previous, initial
