"""`create_video`: RGB frames with timestamps -> a video file, a pipe or numbered pictures, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import numpy as np

from cbvc_jax.errors import VideoError
from cbvc_jax.video.atomic import Staging, stdout_writer, writing
from cbvc_jax.video.frames import RGB, VideoInfo
from cbvc_jax.video.pictures import is_pattern
from cbvc_jax.video.sinks import H264Sink, PngSink, Sink, Y4mSink

STDOUT = "-"
FOLDER_PATTERN = "frame_%05d.png"
# So good that what one sees is what our codec did, not what x264 did after it.
DEFAULT_CRF = 12.0
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}


class VideoWriter:
    """An output being written, a context manager: leaving it puts the output in place, or removes it after an error."""

    def __init__(self, target: str, info: VideoInfo, sink: Sink, staging: Staging | None):
        self._target, self._info, self._sink, self._staging = target, info, sink, staging
        self._last: int | None = None
        self._open = True

    def write(self, rgb: RGB, timestamp: int) -> None:
        """Appends one frame; returns nothing.

        Args:
          rgb: uint8 [H, W, 3] in 0..255, of the size in `info`.
          timestamp: when it is shown, in ticks of `info.time_base`; above that of the frame before.

        Raises:
          VideoError: the frame does not fit, or the output cannot be written; then the output is given up.
        """
        expected = (self._info.height, self._info.width, 3)
        if rgb.shape != expected or rgb.dtype != np.uint8:
            raise VideoError(f"{self._target} takes frames uint8 {list(expected)}, not {rgb.dtype} {list(rgb.shape)}")
        if self._last is not None and timestamp <= self._last:
            raise VideoError(f"timestamps must increase from frame to frame, but {timestamp} follows {self._last}")
        if not self._open:
            raise VideoError(f"{self._target} has been closed; no more frames can be written to it")
        try:
            self._sink.write(rgb, timestamp)
        except BaseException:
            self.abort()
            raise
        self._last = timestamp

    def close(self) -> None:
        """Finishes the output and puts it in place; returns nothing. Raises VideoError if that fails or it is empty."""
        if not self._open:
            return
        if self._last is None:
            self.abort()
            raise VideoError(f"no frames were written to {self._target}; it has not been made")
        self._open = False
        try:
            self._sink.finish()
            if self._staging is not None:
                self._staging.commit()
        except BaseException:
            self._discard()
            raise

    def abort(self) -> None:
        """Gives the output up and removes what was written; returns nothing. An older file of that name stays."""
        if self._open:
            self._open = False
            self._discard()

    def _discard(self) -> None:
        self._sink.abort()
        if self._staging is not None:
            self._staging.discard()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()


def create_video(
    target: str | os.PathLike[str], info: VideoInfo, *, crf: float = DEFAULT_CRF, overwrite: bool = True
) -> VideoWriter:
    """A writer of frames of the size and time base in `info` to `target`.

    Args:
      target: the name's end picks the kind.
        `.mp4`, `.m4v`, `.mov`, `.mkv`: H.264 by libx264, 4:2:0, or 4:4:4 where a side is odd (many hardware players and
          browsers do not show 4:4:4; an even size plays everywhere). Colour tags are written. Timestamps are exact,
          but for Matroska, whose clock is in whole milliseconds.
        `.y4m` or "-" (Y4M on standard output): uncompressed, at the constant rate `info.frame_rate`, 25 if unknown;
          timestamps are not kept.
        `.png` (`out.png` becomes `out_00001.png`, ...; or give `out_%05d.png`), an existing folder or a name ending in
          "/" (`frame_00001.png`, ... in it): numbered pictures. An older sequence of that name is replaced.
      info: `matrix` and `color_range` choose the YUV that is written; "rgb" gives bt709 limited.
      crf: x264's constant rate factor, 0 (lossless) to 51.
      overwrite: False refuses to replace what is there.

    Raises:
      VideoError: the kind is unknown, or the place cannot be written.
    """
    name = os.fspath(target)
    if not 0 <= crf <= 51:
        raise VideoError(f"a CRF of {crf} makes no sense: x264 takes 0 to 51")
    if name == STDOUT:
        write, close = stdout_writer()
        return VideoWriter("standard output", info, Y4mSink("standard output", info, write, close), None)
    path = Path(name)
    suffix = path.suffix.lower()
    if name.endswith(("/", os.sep)) or path.is_dir():
        with writing(name):
            path.mkdir(parents=True, exist_ok=True)
        return _create_pictures(path / FOLDER_PATTERN, info, overwrite)
    if suffix == ".png":
        pattern = path if is_pattern(path) else path.with_name(f"{path.stem}_%05d{path.suffix}")
        return _create_pictures(pattern, info, overwrite)
    if suffix == ".y4m":
        staging = Staging(path, overwrite)
        with writing(name):
            file = staging.path.open("wb")
        return VideoWriter(name, info, Y4mSink(name, info, file.write, file.close), staging)
    if suffix in CONTAINERS:
        staging = Staging(path, overwrite)
        return VideoWriter(name, info, H264Sink(staging, CONTAINERS[suffix], info, crf), staging)
    kinds = " ".join(sorted(CONTAINERS))
    raise VideoError(f"cannot tell what to write from the name {name}: end it in {kinds} .y4m .png or /, or give -")


def _create_pictures(pattern: Path, info: VideoInfo, overwrite: bool) -> VideoWriter:
    staging = Staging(pattern, overwrite, folder=True)
    return VideoWriter(str(pattern), info, PngSink(pattern, staging, overwrite), None)
