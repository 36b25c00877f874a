"""Layers of the small members, made for XLA on the CPU.

Everything runs at 1/8 of the frame size or below, with as many channels as the paper's models or more: dense 3x3
convolutions and products over channels come nearest to the machine's peak there. Depthwise filters do not pay in
training, even as shifted sums: their backward pass takes as long as that of a dense convolution.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from cbvc_jax.geometry import LATENT_STRIDE
from cbvc_jax.modules.blocks import pixel_shuffle, pixel_unshuffle, with_edges
from cbvc_jax.modules.norms import RMSNorm

SMALL_INIT = nn.initializers.variance_scaling(0.05, "fan_in", "truncated_normal")
"""Last layers of residual branches start small: without it the first steps of training diverge."""

KERNEL_POSITIONS = 9
"""Positions of a 3x3 kernel."""


class Pointwise(nn.Module):
    """A product over channels at every position, as one flat matrix product: its backward pass is twice as fast."""

    features: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b f"]:
        dense = nn.Dense(self.features, self.use_bias, kernel_init=self.kernel_init, name="dense")
        return dense(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], self.features)


class CompactBlock(nn.Module):
    """`x + Dense(SiLU(conv3(RMSNorm(x))))`, with a hidden layer half as wide.

    `floor` is the root mean square below which RMSNorm leaves small inputs small: `x / sqrt(mean(x^2) + floor^2)`.
    """

    floor: float = 1e-3

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        c = x.shape[-1]
        u = RMSNorm(self.floor, name="norm")(x)
        u = nn.silu(_stacked(nn.Conv(c // 2, (3, 3), padding="SAME", name="conv"), u))
        return x + Pointwise(c, kernel_init=SMALL_INIT, name="output")(u)


def _stacked(conv: nn.Conv, x: Float[Array, "b h w c"]) -> Float[Array, "b h w f"]:
    """A convolution of pictures some of which lie one below the other, a row of zeros between, where each alone is
    smaller than the 3x3 kernel: XLA would swap the two, which takes a CPU over ten times as long."""
    b, h, w, c = x.shape
    if not all(isinstance(n, int) for n in (b, h, w)) or h * w >= KERNEL_POSITIONS or b == 1:
        return conv(x)
    parts = [n for n in range(1, b + 1) if b % n == 0]
    count = next((n for n in parts if n * (h + 1) * w >= KERNEL_POSITIONS), b)
    x = jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))).reshape(b // count, count * (h + 1), w, c)
    return conv(x).reshape(b, h + 1, w, conv.features)[:, :h]


class CompactStack(nn.Module):
    """An optional change of size and width, then `depth` blocks, then an optional change of size and width.

    `down` merges blocks of `down` x `down` positions before the first product, `up` splits them after the last one.
    """

    depth: int
    width: int
    features: int | None = None
    down: int = 1
    up: int = 1
    small_output: bool = False
    floor: float = CompactBlock.floor

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        if self.down > 1:
            x = pixel_unshuffle(x, self.down)
        if x.shape[-1] != self.width or self.down > 1:
            x = Pointwise(self.width, name="inward")(x)
        for i in range(self.depth):
            x = CompactBlock(self.floor, name=f"block_{i}")(x)
        if self.features is None:
            return x
        init = SMALL_INIT if self.small_output else nn.initializers.lecun_normal()
        return pixel_shuffle(Pointwise(self.features * self.up**2, kernel_init=init, name="outward")(x), self.up)


class Corners(nn.Module):
    """A product over channels of 2x2 neighbours, at every position between them. Its parameters are those of a
    `Pointwise` of the four joined: upper left, upper right, lower left, lower right."""

    features: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: Float[Array, "b h+1 w+1 c"]) -> Float[Array, "b h w f"]:
        return CornersDense(self.features, self.kernel_init, name="dense")(x)


class CornersDense(nn.Module):
    """The product of `Corners`, as a convolution: joining neighbours takes a CPU nearly as long."""

    features: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: Float[Array, "b h+1 w+1 c"]) -> Float[Array, "b h w f"]:
        c = x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (4 * c, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias)
        kernel = kernel.reshape(2, 2, c, self.features)
        axes = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=axes) + bias


class LappedOutput(nn.Module):
    """Blocks of `up` x `up` positions, each made of the four positions that surround it: no grid where blocks meet.

    Blocks lie half a position off, and the frame's margin is cut.
    """

    features: int
    up: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b up*h up*w f"]:
        h, w = x.shape[1:3]
        blocks = Corners(self.features * self.up**2, self.kernel_init, name="outward")(with_edges(x, 1))
        margin = self.up // 2
        return _cut(_cut(pixel_shuffle(blocks, self.up), 1, margin, h * self.up), 2, margin, w * self.up)


class Detail(nn.Module):
    """What wide blocks add to latents that are pictures, once they are restored: nothing before they have learned."""

    depth: int
    width: int
    floor: float = CompactBlock.floor

    @nn.compact
    def __call__(self, y_hat: Float[Array, "b h w c"], u: Float[Array, "b h w i"]) -> Float[Array, "b h w c"]:
        seen = jnp.concatenate([y_hat, u], axis=-1)
        x = CompactStack(self.depth, self.width, floor=self.floor, name="stack")(seen)
        shown = LappedOutput(3, LATENT_STRIDE, nn.initializers.zeros, name="output")(x)
        return pixel_unshuffle(shown, LATENT_STRIDE)


def _cut(x: Array, axis: int, start: int, count: int) -> Array:
    """`count` positions of an axis. Plain indexing, and padding, become gathers when an export's sizes are symbols."""
    return jax.lax.slice_in_dim(x, start, start + count, axis=axis)


class KindAffine(nn.Module):
    """A scale and an offset per channel for each kind of frame, so that shared layers know which one they serve."""

    kinds: tuple[str, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], kind: str) -> Float[Array, "b h w c"]:
        shape = (len(self.kinds), x.shape[-1])
        scale = self.param("scale", nn.initializers.ones, shape)
        offset = self.param("offset", nn.initializers.zeros, shape)
        i = self.kinds.index(kind)
        return x * scale[i] + offset[i]
