"""Context encoder and decoder: what a predicted frame adds to the reference latents (equations 3 and 4, figure 7).

    y_ctx = ctxE(y, y_ref)          y_hat = ctxD(y_ctx_hat, y_ref)

The paper's modules are (cross-attention, RB) twice. Those of the small members start as "repeat the reference":
y_ctx begins as y - y_ref, and y_hat as y_ref, which leaks a little every frame, so that errors fade and do not add up.
How much, they learn by position and channel: where nothing moves, detail gathers from frame to frame. What gates is
bounded, and passes no gradient on to its input: products of latents that are fed back explode, one way or the other.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cbvc_jax.modules.attention import CrossAttention
from cbvc_jax.modules.blocks import ResidualBlock
from cbvc_jax.modules.compact import SMALL_INIT, CompactBlock, Pointwise
from cbvc_jax.presets import Preset

INITIAL_KEEP_LOGIT = 2.5
"""At the start 92 % of y_ref stays from frame to frame."""


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
