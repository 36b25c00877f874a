"""Where a new scene begins: the picture changes much more from one frame to the next than it did before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CUT_LEVEL = 20.0
"""Mean change of the small picture, in 8-bit levels, below which there is no cut."""
CUT_RATIO = 3.0
"""How many times the change before a cut's change must be; fast motion and flicker go on, a cut does not."""
LUMA = (0.299, 0.587, 0.114)
REDUCTION = 8


class CutDetector:
    """Looks at one frame after the other."""

    def __init__(self) -> None:
        self._last: npt.NDArray[np.float32] | None = None
        self._change: float | None = None

    def push(self, frame: npt.NDArray[np.uint8]) -> bool:
        """Whether a new scene begins with `frame`, RGB [height, width, 3]; never at the first two frames."""
        small = _small(frame)
        last, before, self._last, self._change = self._last, self._change, small, None
        if last is None or last.shape != small.shape:
            return False
        self._change = float(np.mean(np.abs(small - last)))
        return before is not None and self._change > max(CUT_LEVEL, CUT_RATIO * (before + 1.0))


def _small(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Mean luma of blocks [height / 8, width / 8]."""
    height, width = (side // REDUCTION * REDUCTION or side for side in frame.shape[:2])
    blocks = (max(1, height // REDUCTION), max(1, width // REDUCTION))
    # Means over whole blocks of 8-bit values first: converting every pixel to float takes longer than all the rest.
    rows = frame[:height, :width].reshape(blocks[0], height // blocks[0], -1, 3).sum(1, dtype=np.uint32)
    sums = rows.reshape(blocks[0], blocks[1], width // blocks[1], 3).sum(2, dtype=np.uint32)
    pixels = (height // blocks[0]) * (width // blocks[1])
    return sums.astype(np.float32) @ (np.array(LUMA, np.float32) / pixels)
