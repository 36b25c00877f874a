"""The tables say what the points hold, and what is missing in them."""

from __future__ import annotations

import math

import pytest

from cbvc_jax.export.chart import line_chart
from cbvc_jax.export.summary import charts, summarise

NAMES = ["jax", "wasm", "jax-bfloat16"]


def result(name: str, psnr: float, rms: float, passed: bool | None = True, **fields) -> dict:
    return {
        "variant": name,
        "frames": 2,
        "indices_sha256": "ab",
        "worst": 2 * rms,
        "worst_8bit": 1,
        "equal_share": 0.5 if rms else 1.0,
        "source_psnr_db": psnr,
        "source_ms_ssim": psnr / 50,
        "rms_by_frame": [rms, rms],
        "passed": passed,
        **fields,
    }


def point(clip: str, rate: str, bpp: float, *results: dict) -> dict:
    settings = {"clip": clip, "rate": rate, "gop": 32, "model_sha256": "cd" * 32}
    found = {r["variant"]: r for r in results}
    return {"settings": settings, "bpp": bpp, "width": 64, "height": 64, "results": found}


@pytest.fixture
def points():
    return [
        point(
            clip,
            rate,
            bpp,
            result("jax", psnr, 0),
            result("wasm", psnr, 1e-4),
            result("jax-bfloat16", psnr - loss, 1, None),
        )
        for clip, loss in (("a", 0.5), ("b", 0.0))
        for rate, bpp, psnr in (("low", 0.1, 20.0), ("high", 0.2, 25.0))
    ]


def cells(points, title: str) -> dict[str, tuple[str, ...]]:
    (table,) = [t for t in summarise(points, NAMES) if t.title == title]
    return {row[0]: row[1:] for row in table.rows}


def test_bd_rate_is_that_of_the_shifted_curve(points):
    # 5 dB are a factor of two in rate, so half a decibel lost costs 2^0.1 in one of the two clips.
    rates = cells(points, "BD-rate of backends and precisions")
    assert rates["jax"] == ("0 %", "0 %")
    assert rates["wasm"] == ("0 %", "0 %")
    assert rates["jax-bfloat16"][0] == f"+{100 * (2**0.1 - 1) / 2:.4f} %"
    assert cells(points[:1], "BD-rate of backends and precisions") == {}
    points[0]["results"]["wasm"]["source_psnr_db"] = 30.0
    assert cells(points, "BD-rate of backends and precisions")["wasm"][0] == "0 % (1 of 2 clips)"


def test_the_worst_of_all_streams_is_shown(points):
    points[3]["results"]["wasm"] |= {"worst": 0.25, "worst_8bit": 2, "passed": False, "indices_sha256": "ef"}
    points[3]["results"]["wasm"]["source_psnr_db"] += 0.125
    found = cells(points, "Every backend")["wasm"]
    assert found == ("8", "3 of 4", "2.50e-01", "1.00e-04", "2", "50.00000 %", "0.12500 dB", "FAIL")
    del points[0]["results"]["wasm"]
    assert cells(points, "Every backend")["wasm"][1] == "2 of 4"
    assert cells([{**p, "results": {"jax": p["results"]["jax"]}} for p in points], "Every backend")["wasm"][0] == "0"


def test_what_was_not_decoded_everywhere_has_not_passed(points):
    del points[0]["results"]["wasm"]
    assert cells(points, "Every backend")["wasm"][-1] == "FAIL"


def test_drift_is_the_root_of_the_mean_square(points):
    points[0]["results"]["wasm"]["rms_by_frame"] = [3e-4, 3e-4, 5e-4]
    drift = cells(points, "Drift")["wasm"]
    assert drift == (f"{math.sqrt((9 + 3) / 4) * 1e-4:.1e}",) * 2 + ("5.0e-04",)


def test_charts_draw_every_backend(points):
    drawn = charts(points, NAMES)
    assert list(drawn) == ["rate_distortion", "drift"]
    assert drawn["rate_distortion"].count("<circle") == 2 * len(NAMES)
    assert "jax-bfloat16" in drawn["drift"]
    assert list(charts(points[:1], NAMES)) == ["drift"]


def test_a_chart_maps_its_range_to_the_frame():
    svg = line_chart({"a": [(0, 1.0), (10, 100.0)], "b": [(5, 0.0)]}, "x", "y", floor=1e-2)
    assert 'points="62.0,' in svg
    assert "1e-2" in svg
    assert "1e2" in svg
    assert line_chart({}, "x", "y") == "<p>Nothing to compare.</p>"
