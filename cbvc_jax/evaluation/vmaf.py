"""VMAF of a video, by the libvmaf of the ffmpeg at hand (model vmaf_v0.6.1)."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from cbvc_jax.errors import VideoError
from cbvc_jax.evaluation.ffmpeg import run_ffmpeg
from cbvc_jax.evaluation.metrics import rgb_to_yuv420

Frame = UInt8[np.ndarray, "h w 3"]
FILTER = "libvmaf=model=version=vmaf_v0.6.1:log_fmt=json:log_path=vmaf.json"


def vmaf(reference: Iterable[Frame], test: Iterable[Frame], matrix: str) -> list[float]:
    """VMAF of each frame, 0..100, as ffmpeg's filter gives it for both videos in 8-bit limited-range 4:2:0.

    Args:
      reference, test: frames in order, uint8 RGB [h w 3], 0..255; all of one size, and equally many.
      matrix: "bt601", "bt709" or "bt2020", of the conversion (`rgb_to_yuv420`).

    Raises:
      UsageError: the ffmpeg is not installed, or the matrix is unknown.
      VideoError: ffmpeg cannot measure frames of this size, or the two differ in their number.
    """
    with tempfile.TemporaryDirectory() as folder:
        sizes = [_write(Path(folder) / name, frames, matrix) for name, frames in (("x", reference), ("x_hat", test))]
        if sizes[0] != sizes[1]:
            raise VideoError("VMAF compares two videos of one size and number of frames")
        count, height, width = sizes[0]
        raw = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-video_size", f"{width}x{height}", "-framerate", "25")
        files = [os.fspath(Path(folder) / name) for name in ("x_hat", "x")]
        log = Path(folder) / "vmaf.json"
        graph = FILTER.replace("vmaf.json", str(log).replace("\\", "/").replace(":", "\\\\:"))
        inputs = [part for file in files for part in (*raw, "-i", file)]
        run_ffmpeg(
            ["-hide_banner", "-nostdin", *inputs, "-lavfi", graph, "-f", "null", "-"], "ffmpeg could not measure VMAF"
        )
        scores = [frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]]
    if len(scores) != count:
        raise VideoError(f"libvmaf measured {len(scores)} of {count} frames")
    return scores


def _write(file: Path, frames: Iterable[Frame], matrix: str) -> tuple[int, int, int]:
    """Writes the planes of the frames and returns (frames, height, width)."""
    count, shape = 0, (0, 0, 3)
    with file.open("wb") as output:
        for frame in frames:
            count, shape = count + 1, frame.shape
            for plane in rgb_to_yuv420(jnp.asarray(frame[None]), matrix):
                output.write(np.asarray(plane).tobytes())
    return count, shape[0], shape[1]
