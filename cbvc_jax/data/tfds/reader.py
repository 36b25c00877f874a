"""Clips of prepared TFDS data sets, read at random: a frame's record is opened when a batch asks for the frame.

No builder's code is needed for that. The data set has a feature `video` of pictures, and either every record has as
many of the same size (`vimeo90k_septuplet`), or the table `shots` says which records make a shot (`video_folder`).
"""

from __future__ import annotations

import difflib
import logging
import threading
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import tensorflow_datasets as tfds
from tensorflow_datasets.core.read_only_builder import builder_from_files

from cbvc_jax.data.clips import Clip
from cbvc_jax.data.pictures import PictureFrames
from cbvc_jax.errors import UsageError, VideoError

Shape = tuple[int, int, int, int]


def load_prepared(names: str, data_dir: str | Path, min_side: int, split: str = "train") -> list[Clip]:
    """Every clip of a split of prepared data sets, in the order of the records.

    Args:
      names: such as "vimeo90k_septuplet:1.0.0"; several separated by ",".
      data_dir: folder of data sets.
      min_side: what is smaller on either side, in pixels, is left out, with a line in the log.

    Raises:
      UsageError: a data set is not there, or is none that holds video for random access.
      VideoError: no clip is large enough.
    """
    clips: list[Clip] = []
    for name in names.split(","):
        source, shots, chunk = _open(name.strip(), Path(data_dir).expanduser(), split)
        records, first = _Records(source, f"{name} ({split})"), 0
        for clip, shape in shots:
            if min(shape[1:3]) < min_side:
                logging.warning("training data: '%s' is left out: it is smaller than %d pixels", clip, min_side)
            else:
                clips.append(Clip(clip, _Shot(records, first, chunk, shape)))  # pyright: ignore
            first += -(-shape[0] // chunk)
        if first != len(source):
            raise VideoError(f"training data: data set '{name}' has {len(source)} records, its table says {first}")
    if not clips:
        raise VideoError(f"training data: no clip of at least {min_side} pixels in '{names}'")
    return clips


def _open(name: str, data_dir: Path, split: str) -> tuple[Sequence[Any], list[tuple[str, Shape]], int]:
    """The records of a split, (name, shape) of each of its clips, and how many frames a record has at most."""
    try:
        builder: Any = builder_from_files(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        found = _prepared(data_dir)
        near = difflib.get_close_matches(name, found, n=1, cutoff=0.0)
        hint = f"the nearest is '{near[0]}'" if near else "there is none; `python -m cbvc_jax.data.tfds` prepares one"
        raise UsageError(f"training data: there is no data set '{name}' in '{data_dir}'; {hint}") from error
    if split not in builder.info.splits:
        raise UsageError(f"training data: data set '{name}' has no split '{split}'")
    try:
        source = builder.as_data_source(split, decoders={"video": _Encoded()})
    except (NotImplementedError, ImportError) as error:
        raise UsageError(
            f"training data: data set '{name}' cannot be read at random here; it has to be prepared as array_record "
            f"({error})"
        ) from error
    metadata = builder.info.metadata or {}
    if "shots" in metadata:
        shots = [(row[0], (*row[1:4], 3)) for row in metadata["shots"][split]]
        return source, shots, metadata["chunk"]
    info = builder.info.features.get_tensor_info()
    shape = info["video"].shape if "video" in info else ()
    if len(shape) != 4 or None in shape or shape[3] != 3:
        raise UsageError(
            f"training data: data set '{name}' has no feature 'video' of a fixed shape, and no table of shots"
        )
    return source, [(f"{name}#{i}", shape) for i in range(len(source))], shape[0]


def _prepared(data_dir: Path) -> list[str]:
    """What lies below `data_dir`, such as "video_folder/default:1.0.0"."""
    versions = (file.parent for file in data_dir.glob("**/dataset_info.json"))
    return sorted(f"{version.parent.relative_to(data_dir).as_posix()}:{version.name}" for version in versions)


class _Encoded(tfds.decode.SkipDecoding):
    """Leaves a sequence's pictures encoded, which SkipDecoding itself does not do without TensorFlow."""

    def decode_batch_example_np(self, batch: Sequence[bytes]) -> Sequence[bytes]:
        return batch


class _Records:
    """Encoded frames of records; the last record of each thread is kept, since clips are read frame by frame."""

    def __init__(self, source: Sequence[Any], name: str):
        self.source, self.name = source, name
        self.last = threading.local()

    def __getitem__(self, number: int) -> Sequence[bytes]:
        if getattr(self.last, "number", None) != number:
            try:
                self.last.video = self.source[number]["video"]
            except Exception as error:
                # What array_record raises for a damaged or missing file is no class of its own.
                raise VideoError(f"training data: record {number} of {self.name} cannot be read: {error}") from error
            self.last.number = number
        return self.last.video


class _Shot(PictureFrames):
    """Frames of one shot, from records that follow each other with `chunk` frames each."""

    def __init__(self, records: _Records, first: int, chunk: int, shape: Shape):
        super().__init__(shape)
        self.records, self.first, self.chunk = records, first, chunk

    def picture(self, t: int) -> tuple[BinaryIO, str]:
        number, place = divmod(t, self.chunk)
        number += self.first
        return BytesIO(self.records[number][place]), f"record {number} of {self.records.name}"
