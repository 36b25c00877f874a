"""Convolutional blocks of the paper-size models: residual, down- and upsampling, attention, GDN (appendix A).

All are C channels wide unless they say so, with 3x3 convolutions, reflect padding of 1, and bias.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def reflect_pad(x: Float[Array, "b h w c"]) -> Float[Array, "b h+2 w+2 c"]:
    """`x` with one row or column mirrored on each side; a side of one pixel is repeated."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")


def with_edges(x: Array, count: int) -> Array:
    """Rows and columns repeated beyond the edges."""
    for axis in (1, 2):
        last = x.shape[axis] - 1
        before, after = (jax.lax.slice_in_dim(x, at, at + 1, axis=axis) for at in (0, last))
        x = jax.lax.concatenate([*[before] * count, x, *[after] * count], axis)
    return x


def with_next(x: Array, axis: int, along: int) -> Array:
    """Every item of an axis and the next one, joined along another: one item fewer."""
    count = x.shape[axis] - 1
    return jnp.concatenate([jax.lax.slice_in_dim(x, i, count + i, axis=axis) for i in range(2)], axis=along)


def pixel_shuffle(x: Float[Array, "b h w cc"], factor: int) -> Float[Array, "b hf wf c"]:
    """Depth to space: `factor**2` groups of channels become blocks of `factor` x `factor` pixels."""
    b, h, w, cc = x.shape
    c = cc // factor**2
    x = x.reshape(b, h, w, factor, factor, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * factor, w * factor, c)


def pixel_unshuffle(x: Float[Array, "b hf wf c"], factor: int) -> Float[Array, "b h w cc"]:
    """Space to depth: the inverse of `pixel_shuffle`."""
    b, hf, wf, c = x.shape
    h, w = hf // factor, wf // factor
    x = x.reshape(b, h, factor, w, factor, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h, w, factor**2 * c)


class Conv3(nn.Module):
    """3x3 convolution with reflect padding of 1 and bias."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        return nn.Conv(self.features, (3, 3), self.stride, padding="VALID", name="conv")(reflect_pad(x))


class GDN(nn.Module):
    """Generalised divisive normalisation, `x * rsqrt(beta + gamma . x^2)`, or its approximate inverse (1511.06281).

    beta and gamma are kept positive by their absolute value.
    """

    inverse: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        c = x.shape[-1]
        beta = self.param("beta", nn.initializers.ones, (c,))
        gamma = self.param("gamma", lambda _, shape: 0.1 * jnp.eye(*shape), (c, c))
        norm = jnp.abs(beta) + 1e-6 + jnp.square(x) @ jnp.abs(gamma)
        return x * (jnp.sqrt(norm) if self.inverse else jax.lax.rsqrt(norm))


class ResidualBlock(nn.Module):
    """RB: `skip + conv3(SiLU(conv3(SiLU(x))))`; the skip is `x`, or a 1x1 convolution where the widths differ.

    `skip` may be passed instead, as the resblock context model does.
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], skip: Float[Array, "b h w f"] | None = None
    ) -> Float[Array, "b h w f"]:
        if skip is None:
            skip = x if x.shape[-1] == self.features else nn.Dense(self.features, name="skip")(x)
        u = Conv3(self.features, name="first")(nn.silu(x))
        branch = Conv3(self.features, name="second")(nn.silu(u))
        return skip + branch  # pyright: ignore[reportOptionalOperand]


class ResidualDown(nn.Module):
    """RBS: halves both sides. Skip `conv3 s2`; branch `SiLU, conv3 s2, GDN, conv3`."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        skip = Conv3(self.features, stride=2, name="skip")(x)
        u = GDN(name="gdn")(Conv3(self.features, stride=2, name="first")(nn.silu(x)))
        return skip + Conv3(self.features, name="second")(u)


class ResidualUp(nn.Module):
    """RSh: doubles both sides. Skip `conv3 -> 4C, pixel shuffle`; branch `SiLU, conv3 -> 4C, shuffle, IGDN, conv3`."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w f"]:
        skip = pixel_shuffle(Conv3(4 * self.features, name="skip")(x), 2)
        u = pixel_shuffle(Conv3(4 * self.features, name="first")(nn.silu(x)), 2)
        return skip + Conv3(self.features, name="second")(GDN(inverse=True, name="igdn")(u))


class AttentionBlock(nn.Module):
    """AB: `x + RB(RB(RB(x))) * sigmoid(conv1(RB(RB(RB(x)))))`, two separate branches (Cheng 2020, simplified)."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        trunk = mask = x
        for i in range(3):
            trunk = ResidualBlock(self.features, name=f"trunk_{i}")(trunk)
            mask = ResidualBlock(self.features, name=f"mask_{i}")(mask)
        return x + trunk * nn.sigmoid(nn.Dense(self.features, name="gate")(mask))


class Chain(nn.Module):
    """Layers one after the other. `layers` are functions that make a module, called in order inside this scope."""

    layers: tuple[Callable[[], nn.Module], ...]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        for make in self.layers:
            x = make()(x)
        return x
