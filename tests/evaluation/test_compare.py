from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.errors import UsageError, VideoError
from cbvc_jax.evaluation import metrics
from cbvc_jax.evaluation.compare import compare, format_table


def clip(seed, count, height=16, width=24):
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


@given(st.integers(0, 1000), st.integers(1, 3))
@settings(max_examples=6, deadline=None)
def test_records_are_those_of_the_metrics(seed, count):
    x, x_hat = clip(seed, count), clip(seed + 1, count)
    comparison = compare(x, x_hat, matrix="bt601")
    batch = np.stack(x), np.stack(x_hat)
    yuv = metrics.psnr_yuv420(*batch, "bt601")
    assert [frame.psnr_rgb_db for frame in comparison.frames] == list(metrics.psnr_rgb(*batch))
    assert [frame.psnr_v_db for frame in comparison.frames] == list(yuv.v)
    assert comparison.mean("psnr_yuv_db") == pytest.approx(np.mean(yuv.yuv))
    assert comparison.psnr_rgb_db >= comparison.psnr_of_mean_mse_db - 1e-9
    assert comparison.psnr_of_mean_mse_db == pytest.approx(10 * np.log10(255**2 / np.mean(metrics.mse_rgb(*batch))))


def test_only_one_pair_of_frames_is_held_at_a_time():
    taken = []

    def frames(name):
        for number in range(3):
            taken.append((name, number))
            yield np.zeros((4, 4, 3), np.uint8)

    compare(frames("reference"), frames("test"))
    assert taken == [(name, number) for number in range(3) for name in ("reference", "test")]


@pytest.mark.parametrize(("counts", "message"), [
    ((3, 2), "the test video ends after 2 frames, but the reference video has a frame 3"),
    ((1, 2), "the reference video ends after 1 frames, but the test video has a frame 2"),
    ((0, 0), "neither video has any frames"),
])  # fmt: skip
def test_different_numbers_of_frames_are_refused(counts, message):
    with pytest.raises(VideoError, match=message):
        compare(clip(0, counts[0]), clip(1, counts[1]))


def test_different_sizes_are_refused_with_the_frame():
    x, x_hat = clip(0, 2), clip(1, 2)
    x_hat[1] = x_hat[1][:8]
    with pytest.raises(VideoError, match="frame 2 of the test video is 24x8 pixels"):
        compare(x, x_hat)
    with pytest.raises(VideoError, match="frame 2 of the reference video is 24x8 pixels"):
        compare(x_hat, x_hat)


def test_unknown_matrices_are_refused():
    with pytest.raises(UsageError, match="bt2020"):
        compare(clip(0, 1), clip(1, 1), matrix="rgb")


def test_json_survives_infinity_and_missing_ms_ssim():
    x = clip(0, 2)
    text = json.dumps(compare(x, x).to_dict(), allow_nan=False)
    record = json.loads(text)
    assert record["frame_count"] == 2
    assert record["mean"]["psnr_rgb_db"] == record["frames"][1]["psnr_y_db"] == "inf"
    assert record["mean"]["psnr_of_mean_mse_db"] == "inf"
    assert record["mean"]["ms_ssim"] is None
    assert record["frames"][0]["mse_rgb"] == 0


def test_table_names_the_worst_frame_and_what_is_not_available():
    x, x_hat = clip(0, 3), clip(0, 3)
    x_hat[1] = 255 - x_hat[1]
    table = format_table(compare(x, x_hat))
    rgb = next(line for line in table.splitlines() if line.startswith("PSNR RGB"))
    assert "inf dB" in rgb and rgb.endswith("  2")
    assert next(line for line in table.splitlines() if line.startswith("MS-SSIM")).split()[1:3] == ["n/a", "n/a"]
    assert "3 frames of 24x16" in table


def test_ms_ssim_of_large_frames_is_there():
    x, x_hat = clip(0, 1, 176, 176), clip(1, 1, 176, 176)
    comparison = compare(x, x_hat)
    assert comparison.ms_ssim == pytest.approx(float(metrics.ms_ssim(x[0][None], x_hat[0][None])[0]))
    assert "n/a" not in format_table(comparison)
    assert math.isfinite(comparison.psnr_rgb_db)
