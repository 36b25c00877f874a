"""The codec as pure functions: frames <-> latents <-> indices (section 3.1, figure 2).

    keyframe         y = E(x)   codes = VQ(y)                   y_hat = VQ^-1(codes)                x_hat = D(y_hat)
    predicted frame  y = E(x)   codes = VQ(ctxE(y, y_ref))      y_hat = ctxD(VQ^-1(codes), y_ref)   x_hat = D(y_hat)

y_ref is the y_hat of the frame before: a latent, so the encoder never needs D. Members whose latents are pictures look
for each block in y_ref before anything else, and y_ref is everywhere above what the codewords found displace it to:

    predicted frame  c = VQ(where y lies in y_ref)   y_ref := displaced(y_ref, c)   and as above
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cbvc_jax.geometry import FRAME_MULTIPLE, GROUPS, LATENT_STRIDE, STAGE_STRIDES
from cbvc_jax.modules.blocks import pixel_shuffle
from cbvc_jax.modules.context import (
    FLOOR,
    CompactContextDecoder,
    CompactContextEncoder,
    ContextModule,
    Displacement,
    ResidualDecoder,
    ResidualEncoder,
)
from cbvc_jax.modules.displacement import POINTING_GROUP, POINTING_STAGE
from cbvc_jax.modules.motion_estimation import Wanted
from cbvc_jax.modules.pointers import search_pointers, settle_pointers
from cbvc_jax.modules.quantizer import STAGES, Codebooks, Grids, StageCode, VectorQuantizer
from cbvc_jax.modules.search import IndexCosts, look_up
from cbvc_jax.modules.transforms import Decoder, Encoder, KeyDecoder, KeyEncoder
from cbvc_jax.presets import KEYFRAME, Preset

Params = dict
KEYFRAME_NETWORKS = ("key_encoder", "quantizer", "key_decoder")
"""Networks that keyframes alone have, where latents are pictures."""
CodebookSet = dict[str, Codebooks]
"""Codebooks of each stage by kind: "key" and every rate."""


class CodecModel(nn.Module):
    """All networks of one preset. Codebooks are arguments, never parameters of the modules."""

    preset: Preset

    def setup(self):
        p, kinds = self.preset, quantizer_kinds(self.preset)
        self.encoder = Encoder(p)
        self.decoder = Decoder(p)
        if p.displaces:
            self.key_encoder, self.key_decoder = KeyEncoder(p), KeyDecoder(p)
            self.displacement = Displacement(p.codeword_dim, p.interpolation or "linear")
            self.context_encoder, self.context_decoder = ResidualEncoder(p), ResidualDecoder(p)
            self.quantizer = VectorQuantizer(p, kinds["quantizer"])
            self.residual_quantizer = VectorQuantizer(p, kinds["residual_quantizer"], FLOOR, points=True)
            return
        compact = p.blocks == "compact"
        self.context_encoder = CompactContextEncoder(p) if compact else ContextModule(p)
        self.context_decoder = CompactContextDecoder(p) if compact else ContextModule(p)
        self.quantizer = self.residual_quantizer = VectorQuantizer(p, kinds["quantizer"])

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
        pointers: StageCode | None = None,
    ) -> list[StageCode]:
        """Codes of one frame; a keyframe has kind "key" and y_ref None (equations 1 and 3).

        `pointers` is what `point` returned, of an encoder that asked for it.
        """
        if y_ref is None:
            u = self.key_encoder(y) if self.preset.displaces else y
            return self.quantizer.encode(u, codebooks, kind, grids, quantised_stages, costs)
        u, pointers = self.to_context(y, y_ref, codebooks, grids, quantised_stages, costs, pointers)
        return self.residual_quantizer.encode(u, codebooks, kind, grids, quantised_stages, costs, pointers)

    def to_context(
        self,
        y: Float[Array, "b h w c"],
        y_ref: Float[Array, "b h w c"],
        codebooks: Codebooks,
        grids: Grids | None = None,
        quantised_stages: int | Int[Array, ""] = STAGES,
        costs: list[IndexCosts] | None = None,
        pointers: StageCode | None = None,
    ) -> tuple[Float[Array, "b h w i"], StageCode | None]:
        """What the quantiser sees of a predicted frame, and the codes of its displacements if it has any."""
        if not self.preset.displaces:
            return self.context_encoder(y, y_ref), None
        if pointers is None:
            wanted = self.find(y, y_ref)
            z = self.displacement.codewords(wanted)
            pointers = search_pointers(z, wanted, codebooks, grids, quantised_stages, costs)
        return self.context_encoder(y, self.displacement(y_ref, pointers.codewords)), pointers

    def find(self, y: Float[Array, "b h w c"], y_ref: Float[Array, "b h w c"]) -> Wanted:
        """What an encoder's displacements should be."""
        return self.displacement.find(y, y_ref)

    def point(
        self,
        y: Float[Array, "b h w c"],
        y_ref: Float[Array, "b h w c"],
        wanted: Wanted,
        codebooks: Codebooks,
        grids: Grids | None,
        costs: list[IndexCosts],
        settled: bool = True,
    ) -> StageCode:
        """Codes of the displacements that `find` has found, each settled with those around it unless that is not asked
        for: it takes several times as long as the rest of a frame does in training."""
        z = self.displacement.codewords(wanted)
        pointers = search_pointers(z, wanted, codebooks, grids, costs=costs)
        if not settled:
            return pointers
        x, x_ref = (pixel_shuffle(latents, LATENT_STRIDE) for latents in (y, y_ref))
        return settle_pointers(pointers, wanted, x, x_ref, codebooks, grids, costs, self.displacement.interpolation)

    def restore(
        self, codewords: list[Float[Array, "b h w g d"]], y_ref: Float[Array, "b h w c"] | None, kind: str
    ) -> Float[Array, "b h w c"]:
        """y_hat of one frame from its codewords (equations 2 and 4)."""
        if y_ref is None:
            u = self.quantizer.decode(codewords, kind)
            return self.key_decoder(u) if self.preset.displaces else u
        return self.from_context(self.residual_quantizer.decode(codewords, kind), y_ref, codewords)

    def from_context(
        self, u: Float[Array, "b h w i"], y_ref: Float[Array, "b h w c"], codewords: list[Float[Array, "b h w g d"]]
    ) -> Float[Array, "b h w c"]:
        """y_hat of a predicted frame from what the quantiser restored of it, and the displacements it has sent."""
        if self.preset.displaces:
            group = jax.lax.slice_in_dim(codewords[POINTING_STAGE], POINTING_GROUP, POINTING_GROUP + 1, axis=-2)
            y_ref = self.displacement(y_ref, group)
        return self.context_decoder(u, y_ref)

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
        if skip is None or y_ref is None:
            return self.restore(codewords, y_ref, kind)
        if self.preset.displaces:
            codewords = hold_skipped(codewords, skip)
        return keep_skipped(self.restore(codewords, y_ref, kind), y_ref, skip)

    def touch_all(self, x: Float[Array, "b 8*h 8*w 3"], codebooks: CodebookSet) -> Float[Array, "b 8*h 8*w 3"]:
        """Runs every module once, which is how parameters are made."""
        y = self.latents(x)
        y_ref = self.restore([c.codewords for c in self.encode(y, None, codebooks[KEYFRAME], KEYFRAME)], None, KEYFRAME)
        kind = self.preset.rates[0]
        codes = self.encode(y, y_ref, codebooks[kind], kind)
        return self.picture(self.restore([c.codewords for c in codes], y_ref, kind))


def quantizer_kinds(preset: Preset) -> dict[str, tuple[str, ...]]:
    """Kinds of frames that each quantiser serves, by its name among the parameters."""
    if preset.displaces:
        return {"quantizer": (KEYFRAME,), "residual_quantizer": preset.rates}
    return {"quantizer": (KEYFRAME, *preset.rates)}


def keep_skipped(
    y_hat: Float[Array, "b h w c"], y_ref: Float[Array, "b h w c"], skip: Int[Array, "b h/2 w/2"]
) -> Float[Array, "b h w c"]:
    """y_hat, but y_ref in blocks of 2x2 latents, 16x16 pixels, where `skip` is not 0."""
    batch, rows, columns = skip.shape
    side = y_hat.shape[1] // rows
    places = jnp.broadcast_to(skip[:, :, None, :, None], (batch, rows, side, columns, side))
    return jnp.where(places.reshape(*y_hat.shape[:3], 1) != 0, y_ref, y_hat)


def hold_skipped(
    codewords: list[Float[Array, "b h w g d"]], skip: Int[Array, "b h2 w2"]
) -> list[Float[Array, "b h w g d"]]:
    """Codewords with 0, no displacement and no residual, for blocks that are skipped whole.

    Their indices were not sent, and what stands in for them must not have a say in the blocks around them.
    """
    return [jnp.where(s[..., None, None], c, 0.0) for c, s in zip(codewords, sent_places(skip), strict=True)]


def sent_places(skip: Int[Array, "b h w"]) -> list[Bool[Array, "b hs ws"]]:
    """Where each stage's indices are sent: at least one of the blocks of 16x16 pixels there is not skipped."""
    b, h, w = skip.shape
    sides = [stride // STAGE_STRIDES[0] for stride in STAGE_STRIDES]
    return [jnp.min(skip.reshape(b, h // n, n, w // n, n), axis=(2, 4)) == 0 for n in sides]


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
