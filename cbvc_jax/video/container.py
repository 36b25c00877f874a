"""Video files that FFmpeg reads, through PyAV: containers and codecs -> RGB frames with their own timestamps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame as AvFrame
from av.video.stream import VideoStream

from cbvc_jax.errors import VideoError
from cbvc_jax.video import decoded
from cbvc_jax.video.frames import RGB, VideoInfo, check_size, default_matrix
from cbvc_jax.video.stream import VideoReader, Wanted, retimed, scaled

# Scalers write 1088/1089 and the like to keep a shape to the last digit; nobody sees that.
MAX_ASPECT_ERROR = 0.01
# How much earlier than its container's end a video may end without a note: sound often lasts a little longer.
MAX_EARLY_END_S = 0.5


class Container:
    """One open file and its first video stream; `frames` decodes it lazily.

    Attributes:
      notes: what was odd about the file, in words, as far as it has been read.
    """

    def __init__(self, path: Path):
        """Raises VideoError if FFmpeg cannot open `path`, or if it holds no video stream."""
        self.path = path
        self.notes: list[str] = []
        try:
            # "file:" keeps a name with a colon from being taken for a protocol; the whitelist keeps a playlist
            # from making us fetch what it names.
            self._container = av.open(f"file:{path}", mode="r", options={"protocol_whitelist": "file"})
        except (FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{path} cannot be read as a video: {_reason(error)}{_hint(path)}") from error
        streams = [s for s in self._container.streams.video if not _is_cover(s)]
        if not streams:
            kinds = ", ".join(sorted({s.type for s in self._container.streams}))
            self.close()
            if not kinds:
                raise VideoError(f"{path} cannot be read as a video: nothing is in it{_hint(path)}")
            raise VideoError(f"{path} holds no video stream, only {kinds}")
        self.stream: VideoStream = streams[0]
        try:
            self.stream.thread_type = "AUTO"
        except (AttributeError, RuntimeError):
            self.close()
            raise VideoError(f"{path} is coded with a codec that this FFmpeg cannot decode") from None

    def close(self) -> None:
        """Closes the file; returns nothing."""
        self._container.close()

    @property
    def time_base(self) -> Fraction:
        """Seconds a tick of the frames' `pts`."""
        return _fraction(self.stream.time_base) or Fraction(1, 90000)

    @property
    def frame_rate(self) -> Fraction | None:
        """Frames a second: the nominal rate if the average is within 2 % of it, else the average; None if unknown."""
        average, nominal = _fraction(self.stream.average_rate), _fraction(self.stream.guessed_rate)
        if average and nominal and abs(nominal / average - 1) < Fraction(2, 100):
            return nominal
        rate = average or nominal
        return rate if rate and rate > 0 else None

    @property
    def frame_count(self) -> int | None:
        """The container's count of frames, else its duration times its rate, else None."""
        if self.stream.frames > 0:
            return self.stream.frames
        rate = self.frame_rate
        if rate is None:
            return None
        if self.stream.duration:
            return max(1, round(self.stream.duration * self.time_base * rate))
        if self._container.duration:
            return max(1, round(Fraction(self._container.duration, av.time_base) * rate))
        return None

    def frames(self) -> Iterator[AvFrame]:
        """Decoded frames in the order they are shown; damaged pieces are skipped and counted in `notes`."""
        skipped = corrupt = count = 0
        last: AvFrame | None = None
        packets = self._container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (FFmpegError, OSError) as error:
                self.notes.append(f"{self.path} breaks off after {count} frames: {_reason(error)}")
                break
            try:
                decoded_frames = packet.decode()
            except (FFmpegError, OSError):
                skipped += 1
                continue
            for frame in decoded_frames:
                count += 1
                corrupt += frame.is_corrupt
                last = frame
                yield frame
        if last is None:
            raise VideoError(f"{self.path} has a video stream but not one frame of it can be decoded")
        if skipped:
            self.notes.append(f"{skipped} damaged pieces of {self.path} could not be decoded and were skipped")
        if corrupt:
            self.notes.append(f"{corrupt} frames of {self.path} are damaged and show what could be made of them")
        self._note_early_end(count, last)

    def _note_early_end(self, count: int, last: AvFrame) -> None:
        if count < self.stream.frames:
            self.notes.append(f"{self.path} is said to hold {self.stream.frames} frames, of which {count} were read")
        elif not self.stream.frames and self._container.duration and last.pts is not None:
            # Containers that do not count their frames tell their duration.
            start = self._container.start_time or 0
            end = float(last.pts * self.time_base) - start / av.time_base
            duration = self._container.duration / av.time_base
            if end < duration - MAX_EARLY_END_S:
                self.notes.append(f"{self.path} is said to last {duration:.2f} s, but its last frame is at {end:.2f} s")


def open_container(path: Path, wanted: Wanted) -> VideoReader:
    """A reader of the first video stream of the file at `path`, whose first frame has been decoded already.

    Raises:
      VideoError: the file has no video that can be decoded, or is HDR, or has colour or geometry that is not supported.
    """
    container = Container(path)
    try:
        return _read(container, wanted)
    except BaseException:
        container.close()
        raise


def _read(container: Container, wanted: Wanted) -> VideoReader:
    frames = container.frames()
    first = next(frames)
    check_size(first.width, first.height)
    color = _color(container, first, wanted)
    turn = decoded.display_matrix(first, container.path)
    _note_geometry(container, first)
    width, height = first.width, first.height
    shown = (height, width) if turn is not None and turn[0] == 0 else (width, height)
    info = VideoInfo(
        *(wanted.size or shown),
        1 / wanted.frame_rate if wanted.frame_rate else container.time_base,
        wanted.frame_rate or container.frame_rate,
        color.matrix,
        color.color_range,
        container.frame_count,
        decoded.bit_depth(first),
    )

    def upright() -> Iterator[tuple[RGB, int | None]]:
        for number, frame in enumerate(itertools.chain([first], frames), 1):
            if (frame.width, frame.height) != (width, height) and wanted.size is None:
                raise VideoError(
                    f"{container.path} changes from {width}x{height} to {frame.width}x{frame.height} pixels at frame "
                    f"{number}; give a size to scale all frames to"
                )
            yield decoded.turn_upright(decoded.frame_to_rgb(frame, color), turn), frame.pts

    timed = retimed(upright(), info, wanted.frame_rate is not None, container.notes)
    return VideoReader(info, scaled(timed, wanted.size), container.notes, container.close)


def _color(container: Container, first: AvFrame, wanted: Wanted) -> decoded.FrameColor:
    """How all frames are to be read: what is wanted, else what is tagged, else the rule for untagged video."""
    context = container.stream.codec_context
    decoded.check_transfer(context.color_trc, container.path)
    tagged_matrix, tagged_range = decoded.tagged_color(first)
    siting = decoded.chroma_siting(context.name)
    if tagged_matrix == "rgb":
        return decoded.FrameColor("rgb", "full", siting)
    if wanted.matrix is None:
        decoded.check_matrix(first, container.path)
    matrix = wanted.matrix or tagged_matrix or default_matrix(first.height)
    return decoded.FrameColor(matrix, wanted.color_range or tagged_range or "limited", siting)


def _note_geometry(container: Container, first: AvFrame) -> None:
    if first.interlaced_frame:
        container.notes.append("the video is interlaced; its two fields are coded woven together, as one frame")
    aspect = _fraction(container.stream.sample_aspect_ratio)
    if aspect and abs(aspect - 1) > MAX_ASPECT_ERROR:
        container.notes.append(f"the pixels are not square (aspect {aspect}); they are coded as they are stored")


def _fraction(ratio: Any) -> Fraction | None:
    """A ratio as PyAV gives it, a Fraction or from version 19 on a type of its own; None where there is none."""
    return Fraction(ratio.numerator, ratio.denominator) if ratio is not None and ratio.denominator else None


def _is_cover(stream: VideoStream) -> bool:
    """True for the still cover picture that music files carry as a video stream."""
    return bool(stream.disposition & Disposition.attached_pic)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.lower() or type(error).__name__


def _hint(path: Path) -> str:
    if path.stat().st_size == 0:
        return "; the file is empty"
    if path.suffix.lower() in (".mp4", ".mov", ".m4v"):
        return "; a recording or a download that was broken off lacks its index; it has to be repaired or fetched again"
    return "; see whether `ffprobe` reads it"
