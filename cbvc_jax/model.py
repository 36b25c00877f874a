"""The codec as pure functions: frames <-> latents <-> indices (section 3.1, figure 2).

    keyframe         y = E(x)   codes = VQ(y)                   y_hat = VQ^-1(codes)                x_hat = D(y_hat)
    predicted frame  y = E(x)   codes = VQ(ctxE(y, y_ref))      y_hat = ctxD(VQ^-1(codes), y_ref)   x_hat = D(y_hat)

y_ref is the y_hat of the frame before: a latent, so the encoder never needs D.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import FRAME_MULTIPLE, GROUPS, LATENT_STRIDE
from cbvc_jax.modules.context import CompactContextDecoder, CompactContextEncoder, ContextModule
from cbvc_jax.modules.quantizer import STAGES, Codebooks, Grids, StageCode, VectorQuantizer
from cbvc_jax.modules.search import IndexCosts, look_up
from cbvc_jax.modules.transforms import Decoder, Encoder
from cbvc_jax.presets import KEYFRAME, Preset

Params = dict
CodebookSet = dict[str, Codebooks]
"""Codebooks of each stage by kind: "key" and every rate."""


class CodecModel(nn.Module):
    """All networks of one preset. Codebooks are arguments, never parameters of the modules."""

    preset: Preset

    def setup(self):
        p = self.preset
        compact = p.blocks == "compact"
        self.encoder = Encoder(p)
        self.decoder = Decoder(p)
        self.context_encoder = CompactContextEncoder(p) if compact else ContextModule(p)
        self.context_decoder = CompactContextDecoder(p) if compact else ContextModule(p)
        self.quantizer = VectorQuantizer(p)

    def latents(self, x: Float[Array, "b 8*h 8*w 3"]) -> Float[Array, "b h w c"]:
        """y = E(x), x in [0, 1], sides divisible by 64."""
        return self.encoder(x)

    def picture(self, y_hat: Float[Array, "b h w c"]) -> Float[Array, "b 8*h 8*w 3"]:
        """x_hat = D(y_hat), in [0, 1] up to over- and undershoot."""
        return self.decoder(y_hat)

    def encode(
        self,
        y: Float[Array, "b h w c"],
        y_ref: Float[Array, "b h w c"] | None,
        codebooks: Codebooks,
        kind: str,
        grids: Grids | None = None,
        quantised_stages: int | Int[Array, ""] = STAGES,
        costs: list[IndexCosts] | None = None,
    ) -> list[StageCode]:
        """Codes of one frame; a keyframe has kind "key" and y_ref None (equations 1 and 3)."""
        if y_ref is not None:
            y = self.context_encoder(y, y_ref)
        return self.quantizer.encode(y, codebooks, kind, grids, quantised_stages, costs)

    def restore(
        self, codewords: list[Float[Array, "b h w g d"]], y_ref: Float[Array, "b h w c"] | None, kind: str
    ) -> Float[Array, "b h w c"]:
        """y_hat of one frame from its codewords (equations 2 and 4)."""
        y_hat = self.quantizer.decode(codewords, kind)
        return y_hat if y_ref is None else self.context_decoder(y_hat, y_ref)

    def decode(
        self,
        indices: list[Int[Array, "b h w g"]],
        y_ref: Float[Array, "b h w c"] | None,
        codebooks: Codebooks,
        kind: str,
        skip: Int[Array, "b h/2 w/2"] | None = None,
    ) -> Float[Array, "b h w c"]:
        """y_hat of one frame from its indices: look-up, then `restore`; y_ref itself where `skip` is not 0."""
        codewords = [look_up(i, codebook) for i, codebook in zip(indices, codebooks, strict=True)]
        y_hat = self.restore(codewords, y_ref, kind)
        return y_hat if skip is None or y_ref is None else keep_skipped(y_hat, y_ref, skip)

    def touch_all(self, x: Float[Array, "b 8*h 8*w 3"], codebooks: CodebookSet) -> Float[Array, "b 8*h 8*w 3"]:
        """Runs every module once, which is how parameters are made."""
        y = self.latents(x)
        y_ref = self.restore([c.codewords for c in self.encode(y, None, codebooks[KEYFRAME], KEYFRAME)], None, KEYFRAME)
        kind = self.preset.rates[0]
        codes = self.encode(y, y_ref, codebooks[kind], kind)
        return self.picture(self.restore([c.codewords for c in codes], y_ref, kind))


def keep_skipped(
    y_hat: Float[Array, "b h w c"], y_ref: Float[Array, "b h w c"], skip: Int[Array, "b h/2 w/2"]
) -> Float[Array, "b h w c"]:
    """y_hat, but y_ref in blocks of 2x2 latents, 16x16 pixels, where `skip` is not 0."""
    batch, rows, columns = skip.shape
    side = y_hat.shape[1] // rows
    places = jnp.broadcast_to(skip[:, :, None, :, None], (batch, rows, side, columns, side))
    return jnp.where(places.reshape(*y_hat.shape[:3], 1) != 0, y_ref, y_hat)


def init_codebooks(rng: Array, preset: Preset) -> CodebookSet:
    """Random codebooks, N(0, 2 / (5 d)) as in the multi-codebook quantiser that the paper derives from."""
    scale = (2.0 / (5.0 * preset.codeword_dim)) ** 0.5
    kinds = (KEYFRAME, *preset.rates)
    books = {}
    for kind, kind_rng in zip(kinds, jax.random.split(rng, len(kinds)), strict=True):
        stage_rngs = jax.random.split(kind_rng, STAGES)
        books[kind] = tuple(
            scale * jax.random.normal(r, (GROUPS, size, preset.codeword_dim), jnp.float32)
            for r, size in zip(stage_rngs, preset.codebook_sizes(kind), strict=True)
        )
    return books


def init_params(rng: Array, preset: Preset) -> tuple[Params, CodebookSet]:
    """Fresh parameters and codebooks of a preset. Under `jax.eval_shape` it gives their shapes at no cost."""
    return _init_params(preset, *jax.random.split(rng))


# Compiled, the forward pass that only names the parameters is dropped as dead.
@functools.partial(jax.jit, static_argnums=0)
def _init_params(preset: Preset, params_rng: Array, codebook_rng: Array) -> tuple[Params, CodebookSet]:
    side = max(FRAME_MULTIPLE, LATENT_STRIDE * preset.window)
    frame = jnp.zeros((1, side, side, 3), jnp.float32)
    codebooks = init_codebooks(codebook_rng, preset)
    variables: Any = CodecModel(preset).init(params_rng, frame, codebooks, method="touch_all")
    return variables["params"], codebooks
