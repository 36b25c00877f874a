"""The layout of one uncompressed planar YUV frame, as Y4M and raw `.yuv` files hold it: bytes <-> planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cbvc_jax.geometry import ceil_div
from cbvc_jax.video.color import Siting, gray_to_rgb, yuv_to_rgb
from cbvc_jax.video.frames import RGB, ColorRange, Matrix

Layout = Literal["420", "422", "444", "gray"]


class ByteSource(Protocol):
    """What is asked of a file or pipe: `read(n)` gives at most n bytes, and none only at the end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class PlanarFormat:
    """Y, U and V planes one after the other, rows without padding, little-endian two-byte samples above 8 bits."""

    width: int
    height: int
    layout: Layout
    bit_depth: int = 8
    siting: Siting = "left"

    @property
    def chroma_shape(self) -> tuple[int, int]:
        """(rows, columns) of the U and of the V plane; (0, 0) for grey."""
        if self.layout == "gray":
            return 0, 0
        rows = ceil_div(self.height, 2) if self.layout == "420" else self.height
        return rows, self.width if self.layout == "444" else ceil_div(self.width, 2)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        rows, columns = self.chroma_shape
        return (self.width * self.height + 2 * rows * columns) * (1 if self.bit_depth == 8 else 2)

    def to_rgb(self, data: bytes, matrix: Matrix, color_range: ColorRange) -> RGB:
        """RGB uint8 [H, W, 3] of the `frame_bytes` bytes of one frame."""
        samples: NDArray[Any] = np.frombuffer(data, np.uint8 if self.bit_depth == 8 else np.dtype("<u2"))
        luma = self.width * self.height
        y = samples[:luma].reshape(self.height, self.width)
        if self.layout == "gray":
            return gray_to_rgb(y, color_range, self.bit_depth)
        u, v = samples[luma:].reshape(2, *self.chroma_shape)
        return yuv_to_rgb((y, u, v), matrix, color_range, self.bit_depth, self.siting)


def read_upto(source: ByteSource, size: int) -> bytes:
    """`size` bytes, or fewer only where the source ends: a pipe may hand out any shorter piece at a time."""
    pieces: list[bytes] = []
    missing = size
    while missing > 0:
        piece = source.read(missing)
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
