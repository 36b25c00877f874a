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

from cbvc_jax.geometry import (
    CODED,
    FOLLOWS,
    FRAME_MULTIPLE,
    GROUPS,
    LATENT_STRIDE,
    MOVES,
    POINTING_GROUP,
    POINTING_STAGE,
    STAGE_STRIDES,
    STAYS,
)
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
        return self.from_context(self.residual_quantizer.decode(codewords, kind), self.moved(codewords, y_ref))

    def moved(
        self, codewords: list[Float[Array, "b h w g d"]], y_ref: Float[Array, "b h w c"]
    ) -> Float[Array, "b h w c"]:
        """y_ref as the displacements among the codewords move it; as it is where the preset has none."""
        return self.displacement(y_ref, _pointers(codewords)) if self.preset.displaces else y_ref

    def followed(
        self,
        codewords: list[Float[Array, "b h w g d"]],
        y_ref: Float[Array, "b h w c"],
        leader: Int[Array, "b h/2 w/2"],
    ) -> Float[Array, "b h w c"]:
        """y_ref with each block of 16x16 pixels as one displacement alone moves it."""
        return self.displacement.follow(y_ref, _pointers(codewords), leader)

    def from_context(self, u: Float[Array, "b h w i"], moved: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """y_hat of a predicted frame from what the quantiser restored of it, and y_ref where displacements moved it."""
        return self.context_decoder(u, moved)

    def decode(
        self,
        indices: list[Int[Array, "b h w g"]],
        y_ref: Float[Array, "b h w c"] | None,
        codebooks: Codebooks,
        kind: str,
        skip: Int[Array, "b h/2 w/2"] | None = None,
    ) -> Float[Array, "b h w c"]:
        """y_hat of one frame from its indices: look-up, then `restore`; with `skip`, then `restore_skipping`."""
        codewords = [look_up(i, codebook) for i, codebook in zip(indices, codebooks, strict=True)]
        if skip is None or y_ref is None:
            return self.restore(codewords, y_ref, kind)
        return self.restore_skipping(codewords, y_ref, kind, skip)

    def restore_skipping(
        self,
        codewords: list[Float[Array, "b h w g d"]],
        y_ref: Float[Array, "b h w c"],
        kind: str,
        skip: Int[Array, "b h/2 w/2"],
        follows: bool = True,
    ) -> Float[Array, "b h w c"]:
        """`restore`, but y_ref where a block STAYS, and y_ref displaced where it MOVES, or by one displacement alone.

        That takes time: without `follows`, no block may ask for it.
        """
        if self.preset.displaces:
            codewords = hold_skipped(codewords, skip)
        moved = self.moved(codewords, y_ref)
        y_hat = self.from_context(self.residual_quantizer.decode(codewords, kind), moved)
        if self.preset.displaces:
            y_hat = jnp.where(each_latent(skip, y_hat.shape) == MOVES, moved, y_hat)
        if self.preset.displaces and follows:
            followed = self.followed(codewords, y_ref, jnp.maximum(skip - FOLLOWS, 0))
            y_hat = jnp.where(each_latent(skip, y_hat.shape) >= FOLLOWS, followed, y_hat)
        return jnp.where(each_latent(skip, y_hat.shape) == STAYS, y_ref, y_hat)

    def touch_all(self, x: Float[Array, "b 8*h 8*w 3"], codebooks: CodebookSet) -> Float[Array, "b 8*h 8*w 3"]:
        """Runs every module once, which is how parameters are made."""
        y = self.latents(x)
        y_ref = self.restore([c.codewords for c in self.encode(y, None, codebooks[KEYFRAME], KEYFRAME)], None, KEYFRAME)
        kind = self.preset.rates[0]
        codes = self.encode(y, y_ref, codebooks[kind], kind)
        return self.picture(self.restore([c.codewords for c in codes], y_ref, kind))


def _pointers(codewords: list[Float[Array, "b h w g d"]]) -> Float[Array, "b h4 w4 1 d"]:
    """Those of the codewords that are displacements."""
    return jax.lax.slice_in_dim(codewords[POINTING_STAGE], POINTING_GROUP, POINTING_GROUP + 1, axis=-2)


def quantizer_kinds(preset: Preset) -> dict[str, tuple[str, ...]]:
    """Kinds of frames that each quantiser serves, by its name among the parameters."""
    if preset.displaces:
        return {"quantizer": (KEYFRAME,), "residual_quantizer": preset.rates}
    return {"quantizer": (KEYFRAME, *preset.rates)}


def each_latent(skip: Int[Array, "b h/2 w/2"], shape: tuple[int, ...]) -> Int[Array, "b h w 1"]:
    """What becomes of each of the latents of `shape` [b, h, w, c]: 2x2 of them are a block of 16x16 pixels."""
    batch, rows, columns = skip.shape
    side = shape[1] // rows
    places = jnp.broadcast_to(skip[:, :, None, :, None], (batch, rows, side, columns, side))
    return places.reshape(*shape[:3], 1)


def hold_skipped(
    codewords: list[Float[Array, "b h w g d"]], skip: Int[Array, "b h2 w2"]
) -> list[Float[Array, "b h w g d"]]:
    """Codewords with 0, no displacement and no residual, where no index was sent.

    What stands in for these must not have a say in the blocks around them.
    """
    held = [jnp.where(s[..., None, None], c, 0.0) for c, s in zip(codewords, coded_places(skip), strict=True)]
    displaced = _of_any(skip != STAYS, POINTING_STAGE)[..., None, None]
    points = jnp.arange(GROUPS)[:, None] == POINTING_GROUP
    pointers = jnp.where(displaced, codewords[POINTING_STAGE], 0.0)
    held[POINTING_STAGE] = jnp.where(points, pointers, held[POINTING_STAGE])
    return held


def coded_places(skip: Int[Array, "b h w"]) -> list[Bool[Array, "b hs ws"]]:
    """Where each stage's residual is sent: at least one of the blocks of 16x16 pixels there is coded."""
    return [_of_any(skip == CODED, stage) for stage in range(STAGES)]


def _of_any(blocks: Bool[Array, "b h w"], stage: int) -> Bool[Array, "b hs ws"]:
    """Where at least one of the blocks of 16x16 pixels that an index of the stage covers is among `blocks`."""
    b, h, w = blocks.shape
    n = STAGE_STRIDES[stage] // STAGE_STRIDES[0]
    return jnp.max(blocks.astype(jnp.int32).reshape(b, h // n, n, w // n, n), axis=(2, 4)) > 0


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
