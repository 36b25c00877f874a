"""Context encoder and decoder: what a predicted frame adds to the reference latents (equations 3 and 4, figure 7).

    y_ctx = ctxE(y, y_ref)          y_hat = ctxD(y_ctx_hat, y_ref)

The paper's modules are (cross-attention, RB) twice. Those of the small members start as "repeat the reference":
y_ctx begins as y - y_ref, and y_hat as y_ref, which leaks a little every frame, so that errors fade and do not add up.
How much, they learn by position and channel: where nothing moves, detail gathers from frame to frame. What gates is
bounded, and passes no gradient on to its input: products of latents that are fed back explode, one way or the other.

Where latents are pictures, y_ref comes to these modules as `Displacement` has moved it, and what they add passes
normalisations with a floor, so that a small difference to the reference stays small and costs little noise.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import LATENT_STRIDE
from cbvc_jax.modules.attention import CrossAttention
from cbvc_jax.modules.blocks import ResidualBlock, pixel_shuffle, pixel_unshuffle
from cbvc_jax.modules.compact import SMALL_INIT, CompactBlock, CompactStack, Detail, LappedOutput, Pointwise
from cbvc_jax.modules.displacement import POINTER_SCALE, Interpolation, displace, follow
from cbvc_jax.modules.motion_estimation import Wanted, find_displacements
from cbvc_jax.presets import Preset

INITIAL_KEEP_LOGIT = 2.5
"""At the start 92 % of y_ref stays from frame to frame."""
DISPLACED_KEEP_LOGIT = 5.0
"""At the start 99.3 % of a displaced y_ref stays: displacing it makes no difference grow."""
FLOOR = 0.5
"""Root mean square below which networks of residuals leave small latents small."""


class ContextModule(nn.Module):
    """The paper's context model: (cross-attention, RB) twice, or RB on the concatenation, then RB."""

    preset: Preset

    @nn.compact
    def __call__(self, y: Float[Array, "b h w c"], y_ref: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        p = self.preset
        if p.context == "resblock":
            y = ResidualBlock(p.latent_channels, name="block_0")(jnp.concatenate([y, y_ref], axis=-1), skip=y)
            return ResidualBlock(p.latent_channels, name="block_1")(y)
        for i in range(p.context_depth):
            y = y + _cross_attention(p, i)(y, y_ref)
            y = ResidualBlock(p.latent_channels, name=f"block_{i}")(y)
        return y


class CompactContextEncoder(nn.Module):
    """y_ctx = (y - y_ref) + what (cross-attention, block) adds, `context_depth` times."""

    preset: Preset

    @nn.compact
    def __call__(self, y: Float[Array, "b h w c"], y_ref: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return _compact_layers(self.preset, y - y_ref, y_ref)


class CompactContextDecoder(nn.Module):
    """y_hat = (1 - a) y_ref + u, with u what (cross-attention, block) makes of y_ctx_hat, and a = sigmoid(W u + b)."""

    preset: Preset

    @nn.compact
    def __call__(self, y_ctx: Float[Array, "b h w c"], y_ref: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        u = _compact_layers(self.preset, y_ctx, y_ref)
        keep = Pointwise(y_ref.shape[-1], kernel_init=SMALL_INIT, name="keep")(jax.lax.stop_gradient(u))
        keep = nn.sigmoid(keep + INITIAL_KEEP_LOGIT)
        return keep * y_ref + u


class Displacement(nn.Module):
    """Windowed attention by position (`cbvc_jax.modules.displacement`), asked by codewords.

    Attributes:
      codeword_dim: numbers in a codeword, of which two say where to look.
      interpolation: between pixels.
    """

    codeword_dim: int
    interpolation: Interpolation = "linear"

    def __call__(
        self, y_ref: Float[Array, "b h w c"], pointers: Float[Array, "b h4 w4 1 d"]
    ) -> Float[Array, "b h w c"]:
        """y_ref with each block of 32x32 pixels from where its codeword points."""
        picture = pixel_shuffle(y_ref, LATENT_STRIDE)
        return pixel_unshuffle(displace(picture, _pixels(pointers), self.interpolation), LATENT_STRIDE)

    def follow(
        self, y_ref: Float[Array, "b h w c"], pointers: Float[Array, "b h4 w4 1 d"], leader: Int[Array, "b h2 w2"]
    ) -> Float[Array, "b h w c"]:
        """y_ref with each block of 16x16 pixels from where one codeword alone points."""
        picture = pixel_shuffle(y_ref, LATENT_STRIDE)
        return pixel_unshuffle(follow(picture, _pixels(pointers), leader, self.interpolation), LATENT_STRIDE)

    def find(self, y: Float[Array, "b h w c"], y_ref: Float[Array, "b h w c"]) -> Wanted:
        """What displacements should be, for an encoder. No gradient passes through."""
        x, x_ref = (pixel_shuffle(latents, LATENT_STRIDE) for latents in (y, y_ref))
        return find_displacements(x, x_ref, interpolation=self.interpolation)

    def codewords(self, wanted: Wanted) -> Float[Array, "b h4 w4 1 d"]:
        """What the codewords of displacements should be."""
        nothing = [(0, 0)] * 3 + [(0, self.codeword_dim - 2)]
        return jnp.pad(POINTER_SCALE * wanted.displacement, nothing)[..., None, :]


def _pixels(pointers: Float[Array, "b h w 1 d"]) -> Float[Array, "b h w 2"]:
    """Displacements, (down, right), that codewords say."""
    return jax.lax.slice_in_dim(pointers, 0, 2, axis=-1).squeeze(-2) / POINTER_SCALE


class ResidualEncoder(nn.Module):
    """What the quantiser sees of y less the displaced reference."""

    preset: Preset

    @nn.compact
    def __call__(self, y: Float[Array, "b h w c"], displaced: Float[Array, "b h w c"]) -> Float[Array, "b h w i"]:
        return CompactStack(1, self.preset.inner_channels, floor=FLOOR, name="stack")(y - displaced)


class ResidualDecoder(nn.Module):
    """y_hat = a reference + W u + what blocks make of both, lapped; a = sigmoid(W' u + b).

    u is what the quantiser restored, and the reference is displaced. `detail_depth` more blocks, as wide as a picture
    wants them, see all of y_hat and add to it; they begin as nothing.
    """

    preset: Preset

    @nn.compact
    def __call__(self, u: Float[Array, "b h w i"], displaced: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        p, c = self.preset, displaced.shape[-1]
        keep = Pointwise(c, kernel_init=SMALL_INIT, name="keep")(jax.lax.stop_gradient(u))
        keep = nn.sigmoid(keep + DISPLACED_KEEP_LOGIT)
        both = u + Pointwise(p.inner_channels, name="reference")(displaced)
        both = CompactStack(p.context_depth, p.inner_channels, floor=FLOOR, name="stack")(both)
        lapped = LappedOutput(3, LATENT_STRIDE, SMALL_INIT, name="output")(both)
        residual = Pointwise(c, kernel_init=SMALL_INIT, name="residual")(u)
        y_hat = keep * displaced + residual + pixel_unshuffle(lapped, LATENT_STRIDE)
        if not p.detail_depth:
            return y_hat
        return y_hat + Detail(p.detail_depth, p.detail_width or c, FLOOR, name="detail")(y_hat, u)


def _compact_layers(p: Preset, u: Float[Array, "b h w c"], y_ref: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Layers on u, a difference to y_ref. Attention is asked with u + y_ref, which looks like the keys it searches."""
    for i in range(p.context_depth):
        steer = Pointwise(p.heads * p.head_dim, kernel_init=SMALL_INIT, name=f"steer_{i}")(jax.lax.stop_gradient(u))
        steer = 1.0 + jnp.tanh(steer)
        u = u + _cross_attention(p, i)(u + y_ref, y_ref, steer)
        u = CompactBlock(name=f"block_{i}")(u)
    return u


def _cross_attention(p: Preset, i: int) -> CrossAttention:
    return CrossAttention(
        p.window, p.window_padding, p.heads, p.head_dim, position_bias=p.blocks == "compact", name=f"attention_{i}"
    )
