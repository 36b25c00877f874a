"""Records of points that nobody measured, for tests of what is made of records."""

from __future__ import annotations

CLIPS = ("first", "second <b>clip")
OURS, ANCHOR = "mine-gop32", "x265-crf-gop12"
CURVES = {
    OURS: [("low", 0.05, 30.0, 0.90), ("medium", 0.08, 31.5, 0.93), ("high", 0.13, 33.0, 0.95)],
    ANCHOR: [(f"crf {51 - 4 * i}", 0.01 * 2**i, 26.0 + 2.0 * i, 0.80 + 0.03 * i) for i in range(6)],
}


def record(clip, series, setting, bpp, psnr, ms_ssim, **changed):
    """One record; PSNR and MS-SSIM are the same in every frame."""
    mean = {"psnr_rgb_db": psnr, "psnr_yuv_db": psnr + 1, "ms_ssim": ms_ssim, "ms_ssim_y": ms_ssim}
    return {
        "clip": clip,
        "dataset": "films",
        "series": series,
        "setting": setting,
        "gop": int(series.rpartition("gop")[2].partition("-")[0]),
        "command": f"make {setting}",
        "codec": "cbvc" if series.startswith("mine") else "x265",
        "model_sha256": None,
        "crop": None,
        **{"width": 64, "height": 48, "frames": 3, "frame_rate": "25", "matrix": "bt601", "range": "limited"},
        **{"bytes": round(bpp * 64 * 48 * 3 / 8), "bpp": bpp},
        **{"encode_fps": 10.0, "decode_fps": 20.0, "versions": {}, "jobs": 1},
        "mean": mean,
        "per_frame": {name: [value] * 3 for name, value in mean.items()},
        **changed,
    }


def records():
    """Three points of ours and six of an anchor on two clips; on the second, all rates are doubled."""
    return [
        record(clip, series, setting, (1 + number) * bpp, psnr, ms_ssim)
        for number, clip in enumerate(CLIPS)
        for series, points in CURVES.items()
        for setting, bpp, psnr, ms_ssim in points
    ]
