"""Frames that lie as pictures, in files or in records, and are decoded when they are indexed."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cbvc_jax.errors import VideoError


class PictureFrames(abc.ABC):
    """The frames of one clip: `frames[t, rows, columns]` is uint8 [rows, columns, 3], t >= 0.

    Attributes:
      shape: (frames, height, width, 3), as an array's.
    """

    def __init__(self, shape: tuple[int, int, int, int]):
        self.shape = shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> UInt8[np.ndarray, "h w 3"]:
        t, *inside = index if isinstance(index, tuple) else (index,)
        source, name = self.picture(int(t))
        try:
            with Image.open(source) as picture:
                frame = np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError) as error:
            raise VideoError(f"training data: {name} cannot be read: {error}") from error
        if frame.shape != self.shape[1:]:
            raise VideoError(f"training data: {name} is not {self.shape[2]}x{self.shape[1]} as the first clip is")
        return frame[tuple(inside)]

    @abc.abstractmethod
    def picture(self, t: int) -> tuple[Path | BinaryIO, str]:
        """The encoded picture of frame t, and what to call it in an error."""
