"""Folders of videos and photographs, decoded once into memory-mapped frames that training reads at random.

A video becomes one array of uint8 [frames, height, width, 3] a shot: cuts split it, repeated frames are left out.
The cache is keyed by each file's name, size and time of change, so that what has changed is decoded again; a new rule
of splitting holds for a new cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from cbvc_jax.data.raw import open_raw
from cbvc_jax.errors import CbvcError, VideoError
from cbvc_jax.video import VideoReader, open_video
from cbvc_jax.video.atomic import write_whole
from cbvc_jax.video.cuts import CutDetector
from cbvc_jax.video.reader import RAW_SUFFIX, VIDEO_SUFFIXES

PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))
REPEAT_LEVEL = 0.05
"""Mean change of the thumbnail, in 8-bit levels, below which a frame is a repetition of the one before."""
THUMBNAIL_STEP = 8

Frames = UInt8[np.ndarray, "t h w 3"]


@dataclasses.dataclass(frozen=True)
class Clip:
    """One shot, or one photograph (`len(frames) == 1`), as a read-only memory map."""

    name: str
    frames: Frames

    @property
    def is_still(self) -> bool:
        return len(self.frames) == 1


def load_clips(folder: str | Path, cache: str | Path, min_side: int) -> list[Clip]:
    """Every shot and photograph below `folder`, sorted by name.

    Args:
      folder: is searched with its subfolders for videos and photographs.
      cache: folder for the decoded frames; about 3 bytes a pixel.
      min_side: what is smaller on either side, in pixels, is left out, with a line in the log.

    Raises:
      VideoError: the folder does not exist or holds nothing that can be used.
    """
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    for file in find_files(folder):
        try:
            shots = _cached_shots(file, cache)
        except CbvcError as error:
            logging.warning("training data: '%s' is left out: %s", file, error)
            continue
        for i, shot in enumerate(shots):
            if min(shot.shape[1:3]) < min_side:
                logging.warning("training data: '%s' is left out: it is smaller than %d pixels", file, min_side)
                continue
            clips.append(Clip(f"{file.name}#{i}", shot))
    if not clips:
        raise VideoError(f"training data: no usable video or photograph of at least {min_side} pixels in '{folder}'")
    return clips


def load_all(folders: str, cache: str | Path, min_side: int) -> list[Clip]:
    """Clips of several folders, separated by ":". One with the layout of Vimeo-90k gives its training septuplets."""
    from cbvc_jax.data.vimeo import is_vimeo, load_vimeo

    clips: list[Clip] = []
    for folder in folders.split(":"):
        clips += load_vimeo(folder) if is_vimeo(folder) else load_clips(folder, cache, min_side)
    return clips


def find_files(folder: str | Path) -> list[Path]:
    """Videos and photographs below `folder`, sorted; VideoError if it is not a folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise VideoError(f"training data: '{folder}' is not a folder")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES)


def open_file(file: Path) -> VideoReader:
    """A reader of one of `find_files`; a photograph is a video of one frame. VideoError if it cannot be read."""
    return open_raw(file) if file.suffix.lower() == RAW_SUFFIX else open_video(file)


def _cached_shots(file: Path, cache: Path) -> list[Frames]:
    stat = file.stat()
    key = hashlib.sha256(f"{file.name}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:16]
    done = cache / f"{key}.done"
    if not done.exists():
        count = 0
        for count, shot in enumerate(split_shots(_read(file)), start=1):
            # Another process may be at the same file: what has its name is whole.
            fresh = cache / f"{key}.{os.getpid()}.part.npy"
            np.save(fresh, shot)
            fresh.replace(cache / f"{key}.{count - 1}.npy")
        write_whole(done, f"{count}\n")
    return [np.load(cache / f"{key}.{i}.npy", mmap_mode="r") for i in range(int(done.read_text()))]


def _read(file: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    with open_file(file) as video:
        for frame in video:
            yield frame.rgb


class KeptFrame(NamedTuple):
    """A frame that is no repetition: its shot and its own number in the video, both from 0, and its pixels."""

    shot: int
    number: int
    rgb: UInt8[np.ndarray, "h w 3"]


def kept_frames(frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[KeptFrame]:
    """Frames of a video, repetitions left out, each with its shot: a new one where the encoder sees a new scene."""
    last, shot, cuts = None, 0, CutDetector()
    for number, frame in enumerate(frames):
        thumbnail = frame[::THUMBNAIL_STEP, ::THUMBNAIL_STEP].astype(np.float32)
        if last is not None and last.shape == thumbnail.shape and np.mean(np.abs(thumbnail - last)) < REPEAT_LEVEL:
            continue
        shot += cuts.push(frame)
        yield KeptFrame(shot, number, frame)
        last = thumbnail


def split_shots(frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[Frames]:
    """`kept_frames`, an array a shot."""
    for _, shot in itertools.groupby(kept_frames(frames), key=lambda kept: kept.shot):
        yield np.stack([kept.rgb for kept in shot])
