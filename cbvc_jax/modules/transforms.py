"""Image encoder E and image decoder D: frames <-> latents at 1/8 of the frame size (section 3.1, figure 6).

Where latents are pictures, they are blocks of 8x8 pixels, and networks of the same layers stand between them and the
quantiser of keyframes.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from cbvc_jax.geometry import LATENT_STRIDE
from cbvc_jax.modules.blocks import (
    AttentionBlock,
    Conv3,
    ResidualBlock,
    ResidualDown,
    ResidualUp,
    pixel_shuffle,
    pixel_unshuffle,
)
from cbvc_jax.modules.compact import CompactStack, Detail, LappedOutput, Pointwise
from cbvc_jax.presets import Preset


class Encoder(nn.Module):
    """y = E(x): frames in [0, 1] to latents."""

    preset: Preset

    @nn.compact
    def __call__(self, x: Float[Array, "b 8*h 8*w 3"]) -> Float[Array, "b h w c"]:
        p, c = self.preset, self.preset.latent_channels
        x = 2.0 * x - 1.0
        if p.displaces:
            return pixel_unshuffle(x, LATENT_STRIDE)
        if p.blocks == "compact":
            return CompactStack(p.encoder_depth, c, down=8, name="stack")(x)
        x = Conv3(c, stride=2, name="stem")(x)
        x = ResidualBlock(c, name="half")(x)
        x = ResidualDown(c, name="down_4")(x)
        x = AttentionBlock(c, name="attention")(x)
        x = ResidualBlock(c, name="quarter")(x)
        x = ResidualDown(c, name="down_8")(x)
        return ResidualBlock(c, name="eighth")(x)


class Decoder(nn.Module):
    """x_hat = D(y_hat): quantised latents to frames, in [0, 1] up to over- and undershoot."""

    preset: Preset

    @nn.compact
    def __call__(self, y: Float[Array, "b h w c"]) -> Float[Array, "b 8*h 8*w 3"]:
        p = self.preset
        if p.displaces:
            x = pixel_shuffle(y, LATENT_STRIDE)
        elif p.blocks == "compact":
            x = CompactStack(p.decoder_depth, p.latent_channels, name="stack")(y)
            x = LappedOutput(3, up=8, name="output")(x)
        else:
            x = self._light(y) if p.decoder == "light" else self._full(y)
        return 0.5 * (x + 1.0)

    def _full(self, y: Float[Array, "b h w c"]) -> Float[Array, "b 8*h 8*w 3"]:
        x = ResidualBlock(self.preset.latent_channels, name="eighth")(y)
        x = ResidualUp(256, name="up_4")(x)
        x = ResidualUp(160, name="up_2")(x)
        for i in range(4):
            x = ResidualBlock(160, name=f"half_{i}")(x)
        return pixel_shuffle(Conv3(12, name="output")(x), 2)

    def _light(self, y: Float[Array, "b h w c"]) -> Float[Array, "b 8*h 8*w 3"]:
        x = y
        for i in range(3):
            x = ResidualBlock(self.preset.latent_channels, name=f"eighth_{i}")(x)
        x = pixel_shuffle(nn.Dense(192, name="up_4")(x), 2)
        x = ResidualUp(32, name="up_2")(x)
        x = Conv3(32, name="half")(x)
        return pixel_shuffle(Conv3(12, name="output")(x), 2)


class KeyEncoder(nn.Module):
    """What the quantiser of keyframes sees of latents that are pictures; with `key_depth`, wider blocks add to it."""

    preset: Preset

    @nn.compact
    def __call__(self, y: Float[Array, "b h w c"]) -> Float[Array, "b h w i"]:
        p = self.preset
        u = CompactStack(p.encoder_depth, p.inner_channels, name="stack")(y)
        if not p.key_depth:
            return u
        detail = CompactStack(p.key_depth, p.key_width or y.shape[-1], name="detail")(y)
        return u + Pointwise(p.inner_channels, kernel_init=nn.initializers.zeros, name="detail_output")(detail)


class KeyDecoder(nn.Module):
    """Latents that are pictures, of what the quantiser of keyframes restored."""

    preset: Preset

    @nn.compact
    def __call__(self, u: Float[Array, "b h w i"]) -> Float[Array, "b h w c"]:
        p = self.preset
        inner = CompactStack(p.decoder_depth, p.inner_channels, name="stack")(u)
        y_hat = pixel_unshuffle(LappedOutput(3, up=LATENT_STRIDE, name="output")(inner), LATENT_STRIDE)
        if not p.key_depth:
            return y_hat
        return y_hat + Detail(p.key_depth, p.key_width or y_hat.shape[-1], name="detail")(y_hat, u)


def to_unit(frames: UInt8[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
    """8-bit frames as float32 in [0, 1]."""
    return frames.astype(jnp.float32) * (1.0 / 255.0)


def to_8bit(x_hat: Float[Array, "*b h w 3"]) -> UInt8[Array, "*b h w 3"]:
    """Frames in [0, 1] as uint8, rounded to the nearest level and clipped."""
    return jnp.clip(jnp.round(x_hat * 255.0), 0.0, 255.0).astype(jnp.uint8)
