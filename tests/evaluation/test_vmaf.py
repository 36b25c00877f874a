from __future__ import annotations

import json
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

from cbvc_jax.errors import VideoError
from cbvc_jax.evaluation import metrics
from cbvc_jax.evaluation.vmaf import vmaf

pytest.importorskip("imageio_ffmpeg")


def _y4m(path, frames, matrix):
    """A file that any ffmpeg reads, written without the package's writers."""
    height, width = frames[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            file.write(b"FRAME\n")
            for plane in metrics.rgb_to_yuv420(jnp.asarray(frame[None]), matrix):
                file.write(np.asarray(plane).tobytes())


def test_scores_are_those_of_ffmpeg_on_files(tmp_path, moving):
    import imageio_ffmpeg

    x = list(moving(4, 96, 161))
    noise = np.random.default_rng(0).normal(0, 60, np.shape(x))
    x_hat = list(np.clip(np.stack(x) + noise, 0, 255).astype(np.uint8))
    _y4m(tmp_path / "x.y4m", x, "bt601")
    _y4m(tmp_path / "x_hat.y4m", x_hat, "bt601")
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "x_hat.y4m", "-i", "x.y4m"]
    graph = ["-lavfi", "libvmaf=log_fmt=json:log_path=log.json", "-f", "null", "-"]
    subprocess.run([*ffmpeg, *graph], check=True, cwd=tmp_path)
    log = json.loads((tmp_path / "log.json").read_text())
    expected = [frame["metrics"]["vmaf"] for frame in log["frames"]]
    found = vmaf(x, x_hat, "bt601")
    assert found == expected
    assert np.mean(found) == pytest.approx(log["pooled_metrics"]["vmaf"]["mean"], abs=1e-5)
    assert np.mean(found) < 80
    assert np.mean(vmaf(x, x, "bt601")) > 90


def test_videos_of_different_length_are_refused(moving):
    x = list(moving(3, 64, 64))
    with pytest.raises(VideoError, match="number of frames"):
        vmaf(x, x[:2], "bt709")
