"""Vimeo-90k septuplets as they are downloaded: 91,701 clips of seven frames, 448x256, read at random from their PNGs.

    vimeo_septuplet/
      sequences/00001/0001/im1.png ... im7.png
      sep_trainlist.txt  sep_testlist.txt         a line a clip, such as 00001/0001

Nothing is decoded beforehand: a clip of the list is seven file names until a batch asks for its frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PIL import Image

from cbvc_jax.data.clips import Clip
from cbvc_jax.data.pictures import PictureFrames
from cbvc_jax.errors import VideoError

Split = Literal["train", "test"]
LISTS: dict[Split, str] = {"train": "sep_trainlist.txt", "test": "sep_testlist.txt"}
FRAMES = 7


class Septuplet(PictureFrames):
    """The frames of one clip, from its seven files."""

    def __init__(self, folder: Path, shape: tuple[int, int, int, int]):
        super().__init__(shape)
        self.folder = folder

    def picture(self, t: int) -> tuple[Path, str]:
        file = picture_file(self.folder, t)
        return file, f"'{file}'"


def picture_file(clip: Path, t: int) -> Path:
    """The file of frame t (0 to 6) in a clip's folder."""
    return clip / f"im{t + 1}.png"


def is_vimeo(folder: str | Path) -> bool:
    """Whether `folder` has the layout above."""
    return (Path(folder) / LISTS["train"]).is_file() and (Path(folder) / "sequences").is_dir()


def read_list(folder: str | Path, split: Split) -> list[str]:
    """Names such as 00001/0001 of a split's clips, in the list's order.

    Raises:
      VideoError: the list is missing or empty, or its first or last clip is not there.
    """
    folder = Path(folder)
    try:
        names = (folder / LISTS[split]).read_text().split()
    except OSError as error:
        raise VideoError(f"training data: '{folder / LISTS[split]}' cannot be read: {error.strerror}") from error
    if not names:
        raise VideoError(f"training data: '{folder / LISTS[split]}' names no clip")
    for name in (names[0], names[-1]):
        if not picture_file(folder / "sequences" / name, 0).is_file():
            raise VideoError(f"training data: '{folder}' has no clip {name}, which its {LISTS[split]} names")
    return names


def load_vimeo(folder: str | Path, split: Split = "train") -> list[Clip]:
    """Every clip of a list, in its order; frames are lazy.

    Raises:
      VideoError: the list is missing or names a clip that is not there, or the first frame cannot be read.
    """
    names, sequences = read_list(folder, split), Path(folder) / "sequences"
    with Image.open(picture_file(sequences / names[0], 0)) as first:
        shape = (FRAMES, first.height, first.width, 3)
    return [Clip(name, Septuplet(sequences / name, shape)) for name in names]  # pyright: ignore
