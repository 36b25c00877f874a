"""Blocks of 16x16 pixels of which a predicted frame sends no residual (FORMAT.md, "Skipped blocks")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cbvc_jax.bitstream.packing import IndexMaps
from cbvc_jax.errors import UsageError
from cbvc_jax.geometry import CODED, POINTING_GROUP, POINTING_STAGE, STAYS

Skip = npt.NDArray[np.uint8]
"""[rows, columns] of the first stage's grid: what becomes of each block, as `cbvc_jax.geometry` has it."""
Sent = npt.NDArray[np.bool_]
"""[groups, rows, columns] of a stage: True where an index is sent."""


def check_blocks(skip: Skip, displaces: bool) -> None:
    """Raises a UsageError if a block moves, and the model that decodes it has no displacements."""
    if skip.max() > STAYS and not displaces:
        raise UsageError("blocks of this stream move, and its model has no displacements: it is damaged")


def sent_places(skip: Skip, shapes: Sequence[tuple[int, int, int]]) -> list[Sent]:
    """Where indices are sent, at each stage of `shapes` [groups, rows, columns]: wherever one of the blocks that an
    index covers is coded; displacements also where one moves or follows one."""
    sent = []
    coded, displaced = skip == CODED, skip != STAYS
    for stage, shape in enumerate(shapes):
        if stage:
            coded, displaced = _any_of_four(coded, shape), _any_of_four(displaced, shape)
        sent.append(np.repeat(coded[None], shape[0], axis=0))
        if stage == POINTING_STAGE:
            sent[-1][POINTING_GROUP] = displaced
    return sent


def _any_of_four(finer: npt.NDArray[np.bool_], shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    _, rows, columns = shape
    padded = np.zeros((2 * rows, 2 * columns), bool)
    padded[: finer.shape[0], : finer.shape[1]] = finer
    return np.asarray(padded.reshape(rows, 2, columns, 2).any(axis=(1, 3)))


def fill_skipped(indices: Sequence[npt.NDArray], skip: Skip, reference: IndexMaps | None) -> IndexMaps:
    """The indices of a frame as its reader has them: those that are not sent are the reference's, or 0 without one.

    Args:
      indices: integers [groups, rows, columns] of each stage.
      skip: what becomes of each block.
      reference: indices of the frame before, if it is a predicted frame of the same rate.
    """
    places = sent_places(skip, [maps.shape for maps in indices])
    others = [np.zeros_like(maps) for maps in indices] if reference is None else reference
    return tuple(
        np.where(sent, maps, other).astype(np.uint16) for maps, sent, other in zip(indices, places, others, strict=True)
    )
