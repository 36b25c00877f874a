"""RMSNorm (1910.07467) whose backward pass XLA's CPU backend makes few passes of.

Left to itself it lays out what scales each number, twice, as large as the input.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class RMSNorm(nn.Module):
    """`x scale / sqrt(mean(x^2) + floor^2)` over channels: inputs below a root mean square of `floor` stay small."""

    floor: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        return _normalised(x, scale, self.floor)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _normalised(x: Array, scale: Array, floor: float) -> Array:
    return _scaled(x, scale, _inverse(x, floor))


def _inverse(x: Array, floor: float) -> Float[Array, "*b 1"]:
    """1 / sqrt(mean(x^2) + floor^2), float32."""
    square = jnp.mean(jnp.square(x.astype(jnp.float32)), axis=-1, keepdims=True)
    return jax.lax.rsqrt(square + floor**2)


def _scaled(x: Array, scale: Array, inverse: Array) -> Array:
    return (x * (inverse * scale)).astype(x.dtype)


def _forwards(x: Array, scale: Array, floor: float) -> tuple[Array, tuple[Array, Array, Array]]:
    inverse = _inverse(x, floor)
    return _scaled(x, scale, inverse), (x, scale, inverse)


def _backwards(floor: float, kept: tuple[Array, Array, Array], slope: Array) -> tuple[Array, Array]:
    """With r = `inverse` and n channels: slope of x is r (s - x r^2 sum(s x) / n), where s = slope scale."""
    del floor
    x, scale, inverse = kept
    # Both sums are products with a vector, of one array.
    both = (slope.astype(jnp.float32) * x).reshape(-1, x.shape[-1])
    of_scale = inverse.reshape(1, -1) @ both
    along = (both @ scale.astype(jnp.float32)[:, None]).reshape(inverse.shape) / x.shape[-1]
    of_x = inverse * (slope * scale - along * jnp.square(inverse) * x)
    return of_x.astype(x.dtype), of_scale.reshape(-1).astype(scale.dtype)


_normalised.defvjp(_forwards, _backwards)
