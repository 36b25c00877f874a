"""Clips to measure on: which files an argument names, and the frames that are used of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cbvc_jax.errors import UsageError, VideoError
from cbvc_jax.video import ColorRange, Matrix, VideoFrame, VideoInfo, VideoReader, open_video
from cbvc_jax.video.frames import default_matrix
from cbvc_jax.video.reader import SIZE_IN_NAME

Frame = UInt8[np.ndarray, "h w 3"]
SUFFIXES = frozenset((".mp4", ".mkv", ".mov", ".avi", ".webm", ".mpg", ".y4m", ".yuv"))


@dataclass(frozen=True)
class Clip:
    """A video and the part of it that is measured on.

    Attributes:
      path: a video file, or a folder of pictures.
      dataset: name of the set that it belongs to.
      frames: how many frames to use from the start, or all there are; None for all.
      crop: (width, height) in pixels of the centre to use; None for the whole frame.
      size: (width, height) in pixels of a raw `.yuv`; None for everything else.
      info: the video as it is, before the crop.
    """

    path: Path
    dataset: str
    frames: int | None
    crop: tuple[int, int] | None
    size: tuple[int, int] | None
    info: VideoInfo

    @property
    def name(self) -> str:
        return self.path.stem if self.path.suffix.lower() in SUFFIXES else self.path.name

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
        return open_video(self.path, size=self.size)

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
    crop: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
    dataset: str | None = None,
) -> list[Clip]:
    """The clips that the arguments name, each opened once to see that it can be read.

    Args:
      names: videos, folders of videos (all of them), and folders of pictures (one clip each).
      frames, crop: as of `Clip`.
      size: of raw `.yuv` files whose name does not hold it as WxH, as those of UVG and HEVC do.
      dataset: name of their set; by default that of the folder that a clip lies in.

    Raises:
      VideoError: a clip is missing or cannot be read, or a folder is empty.
      UsageError: the crop does not fit or is odd, or two clips have the same name.
    """
    clips = [_clip(path, frames, crop, size, dataset) for name in names for path in _files(Path(name))]
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
    return [entry for entry in entries if entry.suffix.lower() in SUFFIXES] or [path]


def _clip(
    path: Path,
    frames: int | None,
    crop: tuple[int, int] | None,
    size: tuple[int, int] | None,
    dataset: str | None,
) -> Clip:
    raw_size = None
    if path.suffix.lower() == ".yuv":
        found = SIZE_IN_NAME.search(path.name)
        raw_size = size or ((int(found[1]), int(found[2])) if found else None)
    with open_video(path, size=raw_size) as video:
        info = video.info
    if crop is not None:
        if crop[0] > info.width or crop[1] > info.height:
            raise UsageError(
                f"a crop of {crop[0]}x{crop[1]} does not fit into {path}, whose frames are {info.width}x{info.height}"
            )
        if min(crop) < 2 or any(side % 2 for side in crop):
            raise UsageError(f"a crop of {crop[0]}x{crop[1]} cannot be coded as 4:2:0; its sides must be even")
    return Clip(path, dataset or path.resolve().parent.name, frames, crop, raw_size, info)
