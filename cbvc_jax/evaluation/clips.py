"""Clips to measure on: which files an argument names, and the frames that are used of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cbvc_jax.data.raw import parse_name
from cbvc_jax.errors import UsageError, VideoError
from cbvc_jax.video import ColorRange, Matrix, VideoFrame, VideoInfo, VideoReader, open_video
from cbvc_jax.video.frames import default_matrix
from cbvc_jax.video.pictures import SUFFIXES as PICTURE_SUFFIXES
from cbvc_jax.video.reader import RAW_SUFFIX, SIZE_IN_NAME, VIDEO_SUFFIXES

Frame = UInt8[np.ndarray, "h w 3"]
Crop = tuple[int, int] | int | None
"""(width, height) of the centre in pixels, or a number: the largest centre whose sides it divides."""


@dataclass(frozen=True)
class Clip:
    """A video and the part of it that is measured on.

    Attributes:
      path: a video file, or a folder of pictures.
      dataset: name of the set that it belongs to.
      frames: how many frames to use from the start, or all there are; None for all.
      crop: (width, height) in pixels of the centre to use; None for the whole frame.
      size: (width, height) in pixels of a raw `.yuv`; None for everything else.
      info: the video as it is, before the crop; raw video has the frame rate that its name says.
    """

    path: Path
    dataset: str
    frames: int | None
    crop: tuple[int, int] | None
    size: tuple[int, int] | None
    info: VideoInfo

    @property
    def name(self) -> str:
        return self.path.stem if self.path.suffix.lower() in VIDEO_SUFFIXES else self.path.name

    @property
    def matrix(self) -> Matrix:
        """The clip's Y'CbCr matrix; for pictures, which have none, that of video of their height."""
        return default_matrix(self.info.height) if self.info.matrix == "rgb" else self.info.matrix

    @property
    def color_range(self) -> ColorRange:
        return "limited" if self.info.matrix == "rgb" else self.info.color_range

    @property
    def width(self) -> int:
        return self.crop[0] if self.crop else self.info.width

    @property
    def height(self) -> int:
        return self.crop[1] if self.crop else self.info.height

    @property
    def crop_origin(self) -> tuple[int, int]:
        """(left, top) of the crop in pixels: even, so that it takes whole chroma samples."""
        return (self.info.width - self.width) // 4 * 2, (self.info.height - self.height) // 4 * 2

    def open(self) -> VideoReader:
        """A reader of the whole video."""
        return open_video(self.path, size=self.size, frame_rate=self.info.frame_rate if self.size else None)

    def video_frames(self) -> Iterator[VideoFrame]:
        """The frames that are measured on, cropped to [height, width, 3], with the video's own timestamps."""
        left, top = self.crop_origin
        with self.open() as video:
            for frame in islice(video, self.frames):
                rgb = frame.rgb[top : top + self.height, left : left + self.width]
                yield VideoFrame(np.ascontiguousarray(rgb), frame.timestamp)

    def rgb(self) -> Iterator[Frame]:
        """The same without timestamps, uint8 RGB."""
        return (frame.rgb for frame in self.video_frames())


def find_clips(
    names: Sequence[str],
    frames: int | None = None,
    crop: Crop = None,
    size: tuple[int, int] | None = None,
    dataset: str | None = None,
) -> list[Clip]:
    """The clips that the arguments name, each opened once to see that it can be read.

    Args:
      names: videos, folders of pictures (one clip each), and folders of these, searched with their subfolders.
      frames: as of `Clip`.
      crop: the centre that is used of every clip.
      size: of raw `.yuv` files whose name does not hold it as WxH, as those of UVG, HEVC and MCL-JCV do.
      dataset: name of their set; by default that of the folder that a clip lies in, or of the one above where it is
        alone in a folder of its own below the one that was named.

    Raises:
      VideoError: a clip is missing or cannot be read, or a folder is empty.
      UsageError: the crop does not fit or is odd, or two clips have the same name.
    """
    clips = [
        _clip(path, frames, crop, size, dataset or in_set)
        for name in names
        for path, in_set in _with_sets(Path(name), _files(Path(name)))
    ]
    seen: dict[str, Clip] = {}
    for clip in clips:
        if clip.name in seen:
            raise UsageError(f"two clips are called '{clip.name}': {seen[clip.name].path} and {clip.path}; rename one")
        seen[clip.name] = clip
    return clips


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    entries = sorted(path.iterdir())
    if not entries:
        raise VideoError(f"the folder {path} is empty")
    videos = [entry for entry in entries if entry.suffix.lower() in VIDEO_SUFFIXES]
    if videos or any(entry.suffix.lower() in PICTURE_SUFFIXES for entry in entries):
        return videos or [path]
    folders = [entry for entry in entries if entry.is_dir() and entry.name[0] != "." and any(entry.iterdir())]
    return [file for folder in folders for file in _files(folder)] or [path]


def _with_sets(root: Path, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Each clip with the name of the data set that it seems to belong to."""
    alone = Counter(file.parent for file in files)
    for file in files:
        own = file.parent != root and root in file.parents and alone[file.parent] == 1
        folder = file.resolve().parent
        yield file, (folder.parent if own else folder).name


def _clip(
    path: Path,
    frames: int | None,
    crop: Crop,
    size: tuple[int, int] | None,
    dataset: str,
) -> Clip:
    raw_size = rate = None
    if path.suffix.lower() == RAW_SUFFIX:
        raw_size, rate = parse_name(path) if SIZE_IN_NAME.search(path.name) else (None, None)
        raw_size = size or raw_size
    with open_video(path, size=raw_size, frame_rate=rate) as video:
        info = video.info
    if isinstance(crop, int):
        step = crop
        crop = info.width // step * step, info.height // step * step
        if not all(crop):
            raise UsageError(f"{path}, {info.width}x{info.height}, is too small for a crop to multiples of {step}")
        crop = crop if crop != (info.width, info.height) else None
    if crop is not None:
        if crop[0] > info.width or crop[1] > info.height:
            raise UsageError(
                f"a crop of {crop[0]}x{crop[1]} does not fit into {path}, whose frames are {info.width}x{info.height}"
            )
        if min(crop) < 2 or any(side % 2 for side in crop):
            raise UsageError(f"a crop of {crop[0]}x{crop[1]} cannot be coded as 4:2:0; its sides must be even")
    return Clip(path, dataset, frames, crop, raw_size, info)
