"""Blocks of 16x16 pixels that a predicted frame leaves as they were (FORMAT.md, "Skipped blocks")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cbvc_jax.bitstream.packing import IndexMaps

Skip = npt.NDArray[np.bool_]
"""[rows, columns] of the first stage's grid: True where a block is skipped."""


def sent_places(skip: Skip, shapes: Sequence[tuple[int, int, int]]) -> list[Skip]:
    """Where indices are sent, [rows, columns] of each stage of `shapes` [groups, rows, columns]: wherever one of the
    blocks that an index covers is not skipped."""
    sent = [~skip]
    for _, rows, columns in shapes[1:]:
        finer = sent[-1]
        padded = np.zeros((2 * rows, 2 * columns), bool)
        padded[: finer.shape[0], : finer.shape[1]] = finer
        sent.append(np.asarray(padded.reshape(rows, 2, columns, 2).any(axis=(1, 3))))
    return sent


def fill_skipped(indices: Sequence[npt.NDArray], skip: Skip, reference: IndexMaps | None) -> IndexMaps:
    """The indices of a frame as its reader has them: those that are not sent are the reference's, or 0 without one.

    Args:
      indices: integers [groups, rows, columns] of each stage.
      skip: the blocks that are skipped.
      reference: indices of the frame before, if it is a predicted frame of the same rate.
    """
    places = sent_places(skip, [maps.shape for maps in indices])
    others = [np.zeros_like(maps) for maps in indices] if reference is None else reference
    return tuple(
        np.where(sent, maps, other).astype(np.uint16) for maps, sent, other in zip(indices, places, others, strict=True)
    )
