"""The metrics once more, slow and in float64: written from the definitions, sharing nothing with the package."""

from __future__ import annotations

import numpy as np

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def psnr(x, x_hat):
    """PSNR in dB, peak 255, of two arrays of integers."""
    mse = np.mean((x.astype(np.float64) - x_hat.astype(np.float64)) ** 2)
    return np.inf if mse == 0 else 20 * np.log10(255 / np.sqrt(mse))


def yuv420(rgb, kr, kb):
    """8-bit limited-range planes of one frame [h w 3], every sample rounded from the exact value."""
    r, g, b = np.moveaxis(rgb.astype(np.float64) / 255, -1, 0)
    luma = kr * r + (1 - kr - kb) * g + kb * b
    planes = [16 + 219 * luma]
    for colour, k in ((b, kb), (r, kr)):
        chroma = 128 + 224 * (colour - luma) / (2 * (1 - k))
        chroma = np.pad(chroma, [(0, n % 2) for n in chroma.shape], mode="edge")
        planes.append((chroma[::2, ::2] + chroma[1::2, ::2] + chroma[::2, 1::2] + chroma[1::2, 1::2]) / 4)
    return planes


def ms_ssim(x, x_hat, data_range=255.0, scales=5):
    """MS-SSIM of one image [h w c] in the textbook form: variances as E[x^2] - E[x]^2, a window of two dimensions."""
    weights = WEIGHTS if scales == 5 else np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    return np.mean([_channel(x[..., c], x_hat[..., c], data_range, weights) for c in range(x.shape[-1])])


def _channel(x, x_hat, data_range, weights):
    x, x_hat = x.astype(np.float64), x_hat.astype(np.float64)
    terms = []
    for scale in range(len(weights)):
        if scale:
            x, x_hat = _halve(x), _halve(x_hat)
        ssim, contrast = _ssim(x, x_hat, (0.01 * data_range) ** 2, (0.03 * data_range) ** 2)
        terms.append(contrast)
    terms[-1] = ssim
    return np.prod([max(term, 0.0) ** weight for term, weight in zip(terms, weights, strict=True)])


def _ssim(x, x_hat, c1, c2):
    mean, mean_hat = _blur(x), _blur(x_hat)
    variance, variance_hat = _blur(x * x) - mean**2, _blur(x_hat * x_hat) - mean_hat**2
    contrast = (2 * (_blur(x * x_hat) - mean * mean_hat) + c2) / (variance + variance_hat + c2)
    luminance = (2 * mean * mean_hat + c1) / (mean**2 + mean_hat**2 + c1)
    return np.mean(luminance * contrast), np.mean(contrast)


def _blur(x):
    at = np.arange(-5, 6)
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    windows = np.lib.stride_tricks.sliding_window_view(x, (11, 11))
    return np.einsum("hwij,ij->hw", windows, window / window.sum())


def _halve(x):
    x = np.pad(x, [(0, n % 2) for n in x.shape], mode="edge")
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4
