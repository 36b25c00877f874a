from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation import metrics

from . import reference

KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def frames(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(seed, height, width):
    """Smooth patches with edges, and a noisy copy: closer to footage than noise is."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (1, height // 16 + 1, width // 16 + 1, 3))
    x = np.kron(coarse, np.ones((1, 16, 16, 1)))[:, :height, :width]
    x = (x + np.roll(x, 5, 1) + np.roll(x, 7, 2)) / 3
    return x.astype(np.uint8), np.clip(x + rng.normal(0, 12, x.shape), 0, 255).astype(np.uint8)


@given(st.integers(0, 2**32), st.sampled_from([(1, 1), (7, 5), (16, 33)]), st.integers(1, 255))
@settings(max_examples=20, deadline=None)
def test_psnr_rgb_agrees_with_float64(seed, size, strength):
    x = frames(seed, 2, *size, 3)
    noise = np.random.default_rng(seed + 1).integers(-strength, strength + 1, x.shape)
    x_hat = np.clip(x + noise, 0, 255).astype(np.uint8)
    expected = [reference.psnr(a, b) for a, b in zip(x, x_hat, strict=True)]
    np.testing.assert_allclose(metrics.psnr_rgb(x, x_hat), expected, rtol=0, atol=1e-9)


def test_psnr_rgb_is_exact_on_frames_beyond_32_bits():
    # 4K black against white sums to more than 2^40; a single odd sample must still show.
    x = np.zeros((1, 2160, 3840, 3), np.uint8)
    x_hat = np.full_like(x, 255)
    assert metrics.psnr_rgb(x, x_hat)[0] == 0.0
    x_hat[0, 0, 0, 0] = 254
    assert metrics.mse_rgb(x, x_hat)[0] == 255**2 - (255**2 - 254**2) / x.size


def test_rows_as_wide_as_the_limit_do_not_overflow():
    x = np.zeros((1, 2, 16384, 3), np.uint8)
    assert metrics.mse_rgb(x, np.full_like(x, 255))[0] == 255**2


def test_identical_frames_have_infinite_psnr_and_ms_ssim_of_one():
    x = frames(0, 1, 176, 176, 3)
    assert metrics.psnr_rgb(x, x)[0] == np.inf
    assert metrics.psnr_yuv420(x, x, "bt709").yuv[0] == np.inf
    assert metrics.ms_ssim(x, x)[0] == 1.0


@pytest.mark.parametrize("matrix", KR_KB)
@pytest.mark.parametrize("size", [(8, 12), (7, 5), (1, 1)])
def test_yuv420_rounds_the_exact_planes(matrix, size):
    x = frames(3, 1, *size, 3)
    planes = metrics.rgb_to_yuv420(jnp.asarray(x), matrix)
    for plane, exact in zip(planes, reference.yuv420(x[0], *KR_KB[matrix]), strict=True):
        # Half a level, plus what 20 bits of coefficient leave open at a tie.
        assert np.max(np.abs(np.asarray(plane[0], np.float64) - exact)) <= 0.5 + 1e-3


@pytest.mark.parametrize("matrix", KR_KB)
def test_yuv420_of_grey_has_no_colour(matrix):
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=-1)
    y, u, v = (np.asarray(plane) for plane in metrics.rgb_to_yuv420(jnp.asarray(grey), matrix))
    assert (y.min(), y.max()) == (16, 235)
    assert set(u.flat) == set(v.flat) == {128}


def test_psnr_yuv420_agrees_with_float64_on_the_rounded_planes():
    x, x_hat = frames(4, 2, 9, 14, 3), frames(5, 2, 9, 14, 3)
    psnr = metrics.psnr_yuv420(x, x_hat, "bt601")
    planes = [[np.floor(p + 0.5) for p in reference.yuv420(f, *KR_KB["bt601"])] for f in (x[1], x_hat[1])]
    y, u, v = (reference.psnr(a, b) for a, b in zip(*planes, strict=True))
    np.testing.assert_allclose([psnr.y[1], psnr.u[1], psnr.v[1]], [y, u, v], atol=1e-9)
    assert psnr.yuv[1] == pytest.approx((6 * y + u + v) / 8)


@pytest.mark.parametrize("size", [(176, 176), (201, 191)])
def test_ms_ssim_agrees_with_the_slow_definition(size):
    x, x_hat = picture(1, *size)
    assert float(metrics.ms_ssim(x, x_hat)[0]) == pytest.approx(reference.ms_ssim(x[0], x_hat[0]), abs=2e-6)


def test_ms_ssim_of_unrelated_noise_agrees():
    x, x_hat = frames(1, 1, 176, 176, 3), frames(2, 1, 176, 176, 3)
    assert float(metrics.ms_ssim(x, x_hat)[0]) == pytest.approx(reference.ms_ssim(x[0], x_hat[0]), abs=2e-6)


@pytest.mark.parametrize("size", [(176, 176), (208, 192)])
def test_ms_ssim_is_that_of_tensorflow(size):
    tensorflow = pytest.importorskip("tensorflow")
    x, x_hat = picture(6, *size)
    found = metrics.ms_ssim_rgb_y(x, x_hat, "bt709")
    luma = [np.asarray(metrics.rgb_to_yuv420(jnp.asarray(v), "bt709")[0])[..., None] for v in (x, x_hat)]
    for value, pair in ((found.rgb, (x, x_hat)), (found.y, luma)):
        expected = tensorflow.image.ssim_multiscale(*pair, max_val=255).numpy()
        assert 0.5 < expected[0] < 0.999
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.rgb, metrics.ms_ssim(x, x_hat))


@pytest.mark.parametrize("scales", [1, 2, 3, 4])
def test_fewer_scales_use_renormalised_weights(scales):
    x, x_hat = picture(2, 128, 128)
    unit = x.astype(np.float32) / 255, x_hat.astype(np.float32) / 255
    expected = reference.ms_ssim(unit[0][0], unit[1][0], 1.0, scales)
    assert float(metrics.ms_ssim(*unit, data_range=1.0, scales=scales)[0]) == pytest.approx(expected, abs=2e-6)


def test_ms_ssim_stays_accurate_where_the_picture_is_flat():
    x = np.full((1, 176, 176, 3), 200, np.uint8)
    x_hat = x.copy()
    x_hat[:, ::7, ::5] += 1
    assert float(metrics.ms_ssim(x, x_hat)[0]) == pytest.approx(reference.ms_ssim(x[0], x_hat[0]), abs=5e-6)


def test_ms_ssim_of_inverted_frames_is_clipped_at_zero():
    x = frames(1, 1, 176, 176, 3)
    assert metrics.ms_ssim(x, 255 - x)[0] == 0.0


def test_batches_are_independent():
    x, x_hat = picture(3, 44, 47)
    pair = np.concatenate([x, x_hat]), np.concatenate([x_hat, x_hat])
    both = metrics.ms_ssim(*pair, scales=3)
    assert float(both[0]) == pytest.approx(float(metrics.ms_ssim(x, x_hat, scales=3)[0]), abs=1e-6)
    assert both[1] == 1.0


def test_gradient_is_that_of_finite_differences():
    x, x_hat = (v.astype(np.float32) for v in picture(4, 48, 131))
    loss = jax.jit(lambda image: 1.0 - jnp.mean(metrics.ms_ssim(x, image, scales=3)))
    gradient = np.asarray(jax.grad(loss)(x_hat))
    step = gradient / np.abs(gradient).max()
    before, after = (reference.ms_ssim(x[0], (x_hat + sign * step)[0], 255.0, 3) for sign in (-1, 1))
    slope = (before - after) / 2
    assert float((gradient * step).sum()) == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize("make", [lambda x: x, lambda x: 255 - x, lambda x: jnp.full_like(x, 128)])
def test_gradient_is_finite_at_the_extremes(make):
    x = frames(1, 1, 24, 24, 3).astype(np.float32)
    gradient = jax.grad(lambda image: jnp.mean(metrics.ms_ssim(x, image, scales=2)))(make(x))
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(("side", "scales"), [(175, 5), (87, 4), (10, 1)])
def test_small_frames_are_refused(side, scales):
    x = frames(0, 1, 200, side, 3)
    with pytest.raises(UsageError, match=f"at least {side + 1} pixels"):
        metrics.ms_ssim(x, x, scales=scales)


@pytest.mark.parametrize("scales", [0, 6])
def test_numbers_of_scales_out_of_range_are_refused(scales):
    x = frames(0, 1, 200, 200, 3)
    with pytest.raises(UsageError, match="1 to 5 scales"):
        metrics.ms_ssim(x, x, scales=scales)


def test_bad_frames_and_matrices_are_refused():
    x = frames(0, 1, 16, 16, 3)
    with pytest.raises(UsageError, match="one shape"):
        metrics.psnr_rgb(x, x[:, :8])
    with pytest.raises(UsageError, match="uint8"):
        metrics.psnr_rgb(x.astype(np.float32), x.astype(np.float32))
    with pytest.raises(UsageError, match="bt709"):
        metrics.psnr_yuv420(x, x, "bt470")
    with pytest.raises(UsageError, match="one shape"):
        metrics.ms_ssim(x, x[0])
