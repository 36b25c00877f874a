"""Vimeo-90k septuplets as they are downloaded: 91,701 clips of seven frames, 448x256, read at random from their PNGs.

    vimeo_septuplet/
      sequences/00001/0001/im1.png ... im7.png
      sep_trainlist.txt  sep_testlist.txt         a line a clip, such as 00001/0001

Nothing is decoded beforehand: a clip of the list is seven file names until a batch asks for its frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cbvc_jax.data.clips import Clip
from cbvc_jax.errors import VideoError

LISTS = {"train": "sep_trainlist.txt", "test": "sep_testlist.txt"}
FRAMES = 7


class Septuplet:
    """The frames of one clip, decoded when they are indexed: `frames[t, rows, columns]` is uint8 [rows, columns, 3]."""

    def __init__(self, folder: Path, shape: tuple[int, int, int, int]):
        self.folder, self.shape = folder, shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> UInt8[np.ndarray, "h w 3"]:
        t, *inside = index if isinstance(index, tuple) else (index,)
        file = self.folder / f"im{int(t) % FRAMES + 1}.png"
        try:
            with Image.open(file) as picture:
                frame = np.asarray(picture.convert("RGB"))
        except OSError as error:
            raise VideoError(f"training data: '{file}' cannot be read: {error}") from error
        if frame.shape != self.shape[1:]:
            raise VideoError(f"training data: '{file}' is not {self.shape[2]}x{self.shape[1]} as the first clip is")
        return frame[tuple(inside)]


def is_vimeo(folder: str | Path) -> bool:
    """Whether `folder` has the layout above."""
    return (Path(folder) / LISTS["train"]).is_file() and (Path(folder) / "sequences").is_dir()


def load_vimeo(folder: str | Path, split: Literal["train", "test"] = "train") -> list[Clip]:
    """Every clip of a list, in its order; frames are lazy.

    Raises:
      VideoError: the list is missing or names a clip that is not there, or the first frame cannot be read.
    """
    folder = Path(folder)
    try:
        names = (folder / LISTS[split]).read_text().split()
    except OSError as error:
        raise VideoError(f"training data: '{folder / LISTS[split]}' cannot be read: {error.strerror}") from error
    if not names:
        raise VideoError(f"training data: '{folder / LISTS[split]}' names no clip")
    for name in (names[0], names[-1]):
        if not (folder / "sequences" / name / "im1.png").is_file():
            raise VideoError(f"training data: '{folder}' has no clip {name}, which its {LISTS[split]} names")
    with Image.open(folder / "sequences" / names[0] / "im1.png") as first:
        shape = (FRAMES, first.height, first.width, 3)
    return [Clip(name, Septuplet(folder / "sequences" / name, shape)) for name in names]  # pyright: ignore
