"""`video_folder`: any folder of videos and photographs as chunks of frames, lossless, cut where a scene ends.

What counts as a video, a cut and a repeated frame is what `cbvc_jax.data.clips` says. The table `shots` in the data
set's metadata joins chunks to shots again: for each split, in the order of the records, [name, frames, height, width].
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cbvc_jax.data.clips import KeptFrame, find_files, kept_frames, open_file
from cbvc_jax.data.tfds.ordered import KEYS, OrderedBuilder
from cbvc_jax.errors import CbvcError, UsageError, VideoError
from cbvc_jax.video import VideoInfo

DEFAULT_FRAMES = 16
SPLITS = ("train", "test")


@dataclasses.dataclass(eq=False)
class VideoFolderConfig(tfds.core.BuilderConfig):
    """A folder's name among the data sets, and how many frames a chunk has: the last one of a shot has fewer."""

    frames: int = DEFAULT_FRAMES

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise UsageError(f"data set video_folder: chunks of {self.frames} frames make no sense")


class VideoFolder(OrderedBuilder):
    """Splits: the folders `train` and `test` if both are there, else all is `train`."""

    BUILDER_CONFIGS: ClassVar = [VideoFolderConfig(name="default", description=f"Chunks of {DEFAULT_FRAMES} frames.")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is a folder of videos and photographs; its subfolders are searched too."

    @property
    def frames(self) -> int:
        """Of a chunk."""
        config: Any = self.builder_config
        return config.frames

    def _info(self) -> tfds.core.DatasetInfo:
        picture = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description="A folder of videos: consecutive frames of one scene, repeated frames left out.",
            features=tfds.features.FeaturesDict(
                {
                    "video": tfds.features.Sequence(picture, doc="Frames of uint8 RGB; one frame for a photograph."),
                    "clip": tfds.features.Text(doc="File below the folder, '#', and the number of the shot in it."),
                    "first_frame": tfds.features.Scalar(np.int64, doc="Number in the file of the first frame, from 0."),
                    "frame_rate": tfds.features.Scalar(np.float32, doc="Frames a second; 0 if it is not known."),
                }
            ),
            metadata=tfds.core.MetadataDict(chunk=self.frames, shots={}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = self.manual_folder(dl_manager)
        folders = {split: folder / split for split in SPLITS}
        if not all(part.is_dir() for part in folders.values()):
            folders = {"train": folder}
        for part in folders.values():
            if not find_files(part):
                raise VideoError(f"data set {self.name}: there is no video or photograph in '{part}'")
        return {split: self._generate_examples(split, part) for split, part in folders.items()}

    def _generate_examples(self, split: str, folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        metadata: Any = self.info.metadata
        table: list[list[Any]] = metadata["shots"].setdefault(split, [])
        files = find_files(folder)
        width = KEYS // len(files)
        for i, file in enumerate(files):
            for info, chunk in _chunks(file, self.frames):
                first, name = chunk[0], f"{file.relative_to(folder).as_posix()}#{chunk[0].shot}"
                if not table or table[-1][0] != name:
                    table.append([name, 0, *first.rgb.shape[:2]])
                table[-1][1] += len(chunk)
                video = [_png(kept) for kept in chunk]
                rate = float(info.frame_rate or 0)
                example = {"video": video, "clip": name, "first_frame": first.number, "frame_rate": rate}
                yield i * width + _place(first.number, info.frames, width), example
        if not table:
            raise VideoError(f"data set {self.name}: no video or photograph in '{folder}' can be read")


def _chunks(file: Path, frames: int) -> Iterator[tuple[VideoInfo, list[KeptFrame]]]:
    """Up to `frames` frames of one shot at a time. A file that breaks off gives the chunks before, and a warning."""
    try:
        with open_file(file) as video:
            for _, shot in itertools.groupby(kept_frames(frame.rgb for frame in video), key=lambda kept: kept.shot):
                while chunk := list(itertools.islice(shot, frames)):
                    yield video.info, chunk
    except CbvcError as error:
        logging.warning("data set video_folder: '%s' is left out from where it cannot be read: %s", file, error)


def _png(kept: KeptFrame) -> bytes:
    buffer = BytesIO()
    Image.fromarray(kept.rgb).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _place(number: int, expected: int | None, width: int) -> int:
    """A key below `width` that grows with a frame's number: evenly for as many as the container says there are."""
    even = width // 2 // expected if expected else 0
    return number * even if number < (expected or 0) else width // 2 + number
