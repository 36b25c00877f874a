"""Index maps <-> payload bytes: fixed-length codes, most significant bit first (FORMAT.md, "Payload")."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cbvc_jax.errors import BitstreamError, UsageError
from cbvc_jax.geometry import GROUPS, index_bits, stage_grids

WORD_BITS = 16
MAX_CODED_SIZE = 8192
"""Largest codebook whose indices can be coded in fewer bits than fixed length takes."""
IndexMaps = tuple[npt.NDArray[np.uint16], ...]


@dataclasses.dataclass(frozen=True)
class _Stage:
    shape: tuple[int, int, int]
    codebook_size: int
    bits: int
    start: int

    @property
    def count(self) -> int:
        groups, rows, columns = self.shape
        return groups * rows * columns


class PayloadLayout:
    """Where each index of a frame lies in its payload. Holds integers only, whatever the frame size.

    Attributes:
      size_bits, size_bytes: of the payload, without and with the padding to a whole byte.
      skipping_bytes: most that a coded payload with skipped blocks takes, if one needs every bit that it can.
      codebook_sizes: K of each stage.
      shapes: [groups=2, rows, columns] of each stage.
    """

    def __init__(self, height: int, width: int, codebook_sizes: Sequence[int]):
        stages = []
        start = 0
        for (rows, columns), size in zip(stage_grids(height, width), codebook_sizes, strict=True):
            stages.append(_Stage((GROUPS, rows, columns), size, index_bits(size), start))
            start += stages[-1].count * stages[-1].bits
        self._stages = tuple(stages)
        self.codebook_sizes = tuple(stage.codebook_size for stage in stages)
        self.shapes = tuple(stage.shape for stage in stages)
        self.size_bits = start
        self.size_bytes = -(-start // 8)
        _, rows, columns = self.shapes[0]
        self.skipping_bytes = 4 + 5 * sum(stage.count for stage in stages) + 3 * rows * columns

    @property
    def can_be_coded(self) -> bool:
        """Whether the codebooks are small enough for an adaptive index coding."""
        return max(self.codebook_sizes) <= MAX_CODED_SIZE

    def pack(self, indices: Sequence[npt.ArrayLike]) -> bytes:
        """The payload of one frame.

        Args:
          indices: one integer array [groups=2, rows, columns] a stage, each index in 0 .. K - 1.

        Raises:
          UsageError: a shape, dtype or index does not fit the layout.
        """
        pieces = []
        for stage, maps in zip(self._stages, self.check(indices), strict=True):
            words = np.unpackbits(maps.astype(">u2").reshape(-1).view(np.uint8)).reshape(-1, WORD_BITS)
            pieces.append(words[:, WORD_BITS - stage.bits :].reshape(-1))
        return np.packbits(np.concatenate(pieces)).tobytes()

    def check(self, indices: Sequence[npt.ArrayLike]) -> IndexMaps:
        """The same indices as uint16; arguments and errors as of `pack`."""
        if len(indices) != len(self._stages):
            raise UsageError(f"a frame has {len(self._stages)} stages of indices, not {len(indices)}")
        numbered = enumerate(zip(self._stages, indices, strict=True), start=1)
        return tuple(
            _checked(np.asarray(given), stage, number).astype(np.uint16) for number, (stage, given) in numbered
        )

    def stage_bytes(self) -> tuple[int, ...]:
        """Bytes of the payload up to the one in which each stage ends, less those of the stages before."""
        ends = [0, *(-(-(stage.start + stage.count * stage.bits) // 8) for stage in self._stages)]
        return tuple(b - a for a, b in itertools.pairwise(ends))

    def unpack(self, payload: bytes, offset: int = 0) -> IndexMaps:
        """One uint16 array [groups=2, rows, columns] a stage.

        Args:
          payload: exactly `size_bytes` bytes.
          offset: where the payload begins in the stream, for the error.

        Raises:
          BitstreamError: an index is not below its codebook size, or a padding bit is set.
        """
        bits = np.unpackbits(np.frombuffer(payload, np.uint8))
        if bits[self.size_bits :].any():
            raise BitstreamError("a padding bit of a payload is set", offset + self.size_bytes - 1)
        return tuple(_unpack_stage(stage, bits, offset) for stage in self._stages)


def _unpack_stage(stage: _Stage, bits: npt.NDArray[np.uint8], offset: int) -> npt.NDArray[np.uint16]:
    words = np.zeros((stage.count, WORD_BITS), np.uint8)
    coded = bits[stage.start : stage.start + stage.count * stage.bits]
    words[:, WORD_BITS - stage.bits :] = coded.reshape(stage.count, stage.bits)
    indices = np.packbits(words).view(">u2").astype(np.uint16)
    if stage.codebook_size < 1 << stage.bits and indices.max() >= stage.codebook_size:
        first = int(np.argmax(indices >= stage.codebook_size))
        message = f"index {indices[first]} into a codebook of {stage.codebook_size} codewords"
        raise BitstreamError(message, offset + (stage.start + first * stage.bits) // 8)
    return indices.reshape(stage.shape)


def _checked(maps: np.ndarray, stage: _Stage, number: int) -> np.ndarray:
    if maps.shape != stage.shape:
        raise UsageError(f"indices of stage {number} have shape {maps.shape}; this frame size needs {stage.shape}")
    if maps.dtype.kind not in "iu":
        raise UsageError(f"indices of stage {number} have dtype {maps.dtype}; integers are needed")
    low, high = int(maps.min()), int(maps.max())
    if low < 0 or high >= stage.codebook_size:
        raise UsageError(
            f"indices of stage {number} span {low}..{high}; its codebook has {stage.codebook_size} codewords"
        )
    return maps
