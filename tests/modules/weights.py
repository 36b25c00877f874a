"""Random parameters by shape alone: initialising modules would compile more than the tests themselves do."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import numpy as np


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """float32 of N(0, 1)."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_params(module: nn.Module, *args: Any, method: Any = None) -> dict:
    """Parameters of `module`, small, and all different from zero and one, so that none goes unseen."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *args, method=method))["params"]
    rng = np.random.default_rng(7)

    def fill(leaf: Any) -> np.ndarray:
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        gain = 0.5 / np.sqrt(fan_in) if leaf.ndim > 1 else 0.3
        return (gain * rng.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree.map(fill, shapes)


def textured(size: int) -> np.ndarray:
    """A smooth random picture [1, size, size, 3] in [-1, 1]."""
    noise = np.random.default_rng(3).standard_normal((size, size, 3))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))[..., None]
    smooth = np.fft.ifft2(np.fft.fft2(noise, axes=(0, 1)) * np.exp(-((frequency * 9) ** 2)), axes=(0, 1)).real
    return np.float32(np.clip(smooth / (2.0 * smooth.std()), -1, 1))[None]
