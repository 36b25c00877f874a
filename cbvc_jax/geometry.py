"""What a frame's maps hold, as pure integers: padding, stage grids, indices and bits a frame.

A frame of H x W pixels has latents at 1/8, and one index map a group at each stage:

    stage 1: ceil(H/16) x ceil(W/16)    stage 2: ceil(H/32) x ceil(W/32)    stage 3: ceil(H/64) x ceil(W/64)

Indices have a fixed length of ceil(log2 K) bits (section 3.4), so a frame's bits are arithmetic.
"""

from __future__ import annotations

LATENT_STRIDE = 8
STAGE_STRIDES = (16, 32, 64)
GROUPS = 2
FRAME_MULTIPLE = 64
MAX_SIDE = 16384
POINTING_STAGE, POINTING_GROUP = 1, 0
"""The codebook that holds displacements, where latents are pictures: the first of stage 2."""
CODED, STAYS, MOVES, FOLLOWS = range(4)
"""What becomes of a block of 16x16 pixels: it is coded; it stays as it was; it shows what displacements point at, those
around blended with its own; or, from FOLLOWS on, what one of `LEADERS` points at, alone."""
LEADERS = 4
"""Displacements that a block may follow: of its own block of 32x32 pixels, the one above or below, the one beside, and
the one across, whichever is nearest."""
WAYS = FOLLOWS + LEADERS
"""What may become of a block, in all."""


def ceil_div(a: int, b: int) -> int:
    """The smallest integer that is at least a / b."""
    return -(-a // b)


def padded_size(height: int, width: int, multiple: int = FRAME_MULTIPLE) -> tuple[int, int]:
    """The smallest (height, width) in pixels that hold the frame and are divisible by `multiple`."""
    return ceil_div(height, multiple) * multiple, ceil_div(width, multiple) * multiple


def stage_grids(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """(rows, columns) of the transmitted index maps of each stage, for a true frame size in pixels."""
    return tuple((ceil_div(height, s), ceil_div(width, s)) for s in STAGE_STRIDES)


def index_bits(codebook_size: int) -> int:
    """ceil(log2 K): the length in bits of one index into a codebook of K codewords."""
    return (codebook_size - 1).bit_length()


def frame_bits(height: int, width: int, codebook_sizes: tuple[int, ...]) -> int:
    """Payload bits of one frame: the indices of every stage and group at fixed length.

    Args:
      height, width: true frame size in pixels.
      codebook_sizes: K of each stage, e.g. (8192, 2048, 512).
    """
    grids = stage_grids(height, width)
    return sum(GROUPS * rows * cols * index_bits(k) for (rows, cols), k in zip(grids, codebook_sizes, strict=True))


def gop_bpp(height: int, width: int, key_sizes: tuple[int, ...], predicted_sizes: tuple[int, ...], gop: int) -> float:
    """Mean payload bits a pixel over a GOP of one keyframe and `gop - 1` predicted frames."""
    key = frame_bits(height, width, key_sizes)
    predicted = frame_bits(height, width, predicted_sizes)
    return (key + (gop - 1) * predicted) / (gop * height * width)
