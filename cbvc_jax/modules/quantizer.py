"""Multi-stage multi-codebook vector quantisation (section 3.3, figure 4).

    y --stage encoder--> z1 --quantisation head--> search --> c1 --dequantisation head--> + --restore--> y_hat
                          |                                    |                          ^
                          +--latent head--> z1' - c1           |                      side head
                                              |                                           |
          --stage encoder--> z2 --quantisation head--> search --> c2 --dequantisation--> + --restore--+
                          |                                                               ^
                          +--latent head--> z2' - c2 --> stage 3: the same, without latent and side head

Stages work at 1/16, 1/32 and 1/64 of the frame size. A stage has two groups: z is split in 2 x d channels, each
searched in a codebook of its own. Codebooks are not parameters of these modules: they are passed in, so that keyframes
and every rate of predicted frames bring their own to the same networks.

Where frames send displacements, these are the first codebook of stage 2, and the networks know nothing of them: they
are searched before (`cbvc_jax.modules.pointers`), and what the networks see of that group is 0.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import GROUPS, POINTING_GROUP, POINTING_STAGE, STAGE_STRIDES
from cbvc_jax.modules.blocks import AttentionBlock, Chain, Conv3, ResidualBlock, ResidualDown, ResidualUp
from cbvc_jax.modules.compact import CompactBlock, CompactStack, KindAffine, Pointwise
from cbvc_jax.modules.search import (
    IndexCosts,
    costs_of_groups,
    fill_grid,
    look_up,
    rated_search,
    search,
    straight_through,
)
from cbvc_jax.presets import Preset

STAGES = len(STAGE_STRIDES)
Codebooks = tuple[Float[Array, "g k d"], ...]
Grids = tuple[tuple[int, int], ...]


class StageCode(NamedTuple):
    """What one stage sends, and what learning needs of it.

    Attributes:
      z: input of the search.
      indices: nearest codewords, as the decoder will have them.
      codewords: what the decoder looks up, with the gradient of z; z itself where the stage does not quantise.
    """

    z: Float[Array, "b h w g d"]
    indices: Int[Array, "b h w g"]
    codewords: Float[Array, "b h w g d"]


def _search_stage(
    z: Float[Array, "b h w g d"],
    stage: int,
    groups: slice,
    codebooks: Codebooks,
    grids: Grids | None,
    quantised_stages: int | Int[Array, ""],
    costs: list[IndexCosts] | None,
) -> StageCode:
    """Codes of some groups of one stage."""
    codebook = codebooks[stage][groups]
    indices = search(z, codebook) if costs is None else rated_search(z, codebook, costs_of_groups(costs[stage], groups))
    return stage_code(z, indices, stage, codebook, grids, quantised_stages)


def stage_code(
    z: Float[Array, "b h w g d"],
    indices: Int[Array, "b h w g"],
    stage: int,
    codebook: Float[Array, "g k d"],
    grids: Grids | None,
    quantised_stages: int | Int[Array, ""] = STAGES,
) -> StageCode:
    """What a stage sends of z with these indices, those outside of its grid being what a decoder fills in."""
    if grids is not None:
        indices = fill_grid(indices, *grids[stage])
    # A traced number of stages: one compiled program serves warm-up and training alike.
    quantised = jnp.where(stage < quantised_stages, look_up(indices, codebook), z)
    return StageCode(z, indices, straight_through(z, quantised))


def _side_by_side(first: StageCode, rest: StageCode) -> StageCode:
    """Codes of all groups from those of the first ones and of the others."""
    return StageCode(
        jnp.concatenate([first.z, rest.z], axis=-2),
        jnp.concatenate([first.indices, rest.indices], axis=-1),
        jnp.concatenate([first.codewords, rest.codewords], axis=-2),
    )


class VectorQuantizer(nn.Module):
    """Latents <-> codewords of three stages. Heads are shared by frames of all `kinds`.

    Attributes:
      preset: what it is built of.
      kinds: of frames: "key", rates, or both.
      floor: of its normalisations.
      points: its frames send displacements.
    """

    preset: Preset
    kinds: tuple[str, ...]
    floor: float = CompactBlock.floor
    points: bool = False

    def setup(self):
        compact = self.preset.blocks == "compact"
        heads = _compact_heads(self.preset, self.floor) if compact else _conv_heads(self.preset)
        self.stage_encoders = heads["stage_encoder"]
        self.quantize_heads = heads["quantize"]
        self.latent_heads = heads["latent"]
        self.dequantize_heads = heads["dequantize"]
        self.side_heads = heads["side"]
        self.restore_heads = heads["restore"]
        if compact:
            self.encode_affines = [KindAffine(self.kinds) for _ in range(STAGES)]
            self.decode_affines = [KindAffine(self.kinds) for _ in range(STAGES)]

    def encode(
        self,
        y: Float[Array, "b h w c"],
        codebooks: Codebooks,
        kind: str,
        grids: Grids | None = None,
        quantised_stages: int | Int[Array, ""] = STAGES,
        costs: list[IndexCosts] | None = None,
        pointers: StageCode | None = None,
    ) -> list[StageCode]:
        """Codes of the three stages.

        Args:
          y: latents, or context latents of a predicted frame; sides divisible by 8.
          codebooks: one of [2, K, d] a stage.
          kind: one of `kinds`.
          grids: (rows, columns) that are sent, a stage; indices outside repeat their nearest neighbour inside.
          quantised_stages: stages after these pass z on as it is: for warming up and for starting codebooks.
          costs: of each stage's indices, to weigh against distance.
          pointers: what `cbvc_jax.modules.pointers` found, where frames send displacements.
        """
        options = codebooks, grids, quantised_stages, costs
        codes = []
        u = y
        for s in range(STAGES):
            z_stage = self.stage_encoders[s](u)
            if self.preset.blocks == "compact":
                z_stage = self.encode_affines[s](z_stage, kind)
            z = _split_groups(self.quantize_heads[s](z_stage))
            if pointers is None or s != POINTING_STAGE:
                code = _search_stage(z, s, slice(GROUPS), *options)
            else:
                own = slice(POINTING_GROUP + 1, GROUPS)
                code = _side_by_side(pointers, _search_stage(z[..., own, :], s, own, *options))
            codes.append(code)
            if s < STAGES - 1:
                u = self.latent_heads[s](z_stage) - _merge_groups(self._seen(code.codewords, s))
        return codes

    def _seen(self, codewords: Float[Array, "b h w g d"], stage: int) -> Float[Array, "b h w g d"]:
        """The codewords of a stage, with 0 for those that are displacements."""
        if not self.points or stage != POINTING_STAGE:
            return codewords
        pointers, own = jnp.split(codewords, [POINTING_GROUP + 1], axis=-2)
        return jnp.concatenate([jnp.zeros_like(pointers), own], axis=-2)

    def decode(self, codewords: list[Float[Array, "b h w g d"]], kind: str) -> Float[Array, "b h w c"]:
        """Quantised latents from the codewords of the three stages, from the coarsest to the finest."""
        restored = None
        for s in reversed(range(STAGES)):
            u = self.dequantize_heads[s](_merge_groups(self._seen(codewords[s], s)))
            if restored is not None:
                u = u + self.side_heads[s](restored)
            if self.preset.blocks == "compact":
                u = self.decode_affines[s](u, kind)
            restored = self.restore_heads[s](u)
        return restored  # pyright: ignore[reportReturnType]


def _split_groups(z: Float[Array, "b h w gd"]) -> Float[Array, "b h w g d"]:
    return z.reshape(*z.shape[:-1], GROUPS, -1)


def _merge_groups(z: Float[Array, "b h w g d"]) -> Float[Array, "b h w gd"]:
    return z.reshape(*z.shape[:-2], -1)


def _conv_heads(p: Preset) -> dict[str, list[nn.Module]]:
    """Heads of the paper-size members. Their widths are all 128, so that a sum of any two of them is defined."""
    c = p.stage_channels

    def rb():
        return ResidualBlock(c)

    def ab():
        return AttentionBlock(c)

    def conv(features: int):
        return lambda: Conv3(features)

    to_search = GROUPS * p.codeword_dim
    inner = range(STAGES - 1)
    return {
        "stage_encoder": [Chain((lambda: ResidualDown(c), rb, ab)) for _ in range(STAGES)],
        "quantize": [Chain((rb, ab, conv(to_search))) for _ in range(STAGES)],
        "latent": [Chain((rb, ab, conv(to_search))) for _ in inner],
        "dequantize": [Chain((ab, conv(c), rb)) for _ in range(STAGES)],
        "side": [Chain((ab, conv(c), rb)) for _ in inner],
        "restore": [Chain((ab, rb, lambda s=s: ResidualUp(p.latent_channels if s == 0 else c))) for s in range(STAGES)],
    }


def _compact_heads(p: Preset, floor: float) -> dict[str, list[nn.Module]]:
    """Heads of the small members: blocks where a stage starts and where it is restored, plain products elsewhere."""
    c, depth = p.stage_channels, p.quantizer_depth
    to_search = GROUPS * p.codeword_dim
    inner = range(STAGES - 1)

    def stack(depth: int, features: int | None = None, **options):
        return CompactStack(depth, c, features, floor=floor, **options)

    return {
        "stage_encoder": [stack(depth + (s > 0), down=2) for s in range(STAGES)],
        "quantize": [stack(1, to_search) for _ in range(STAGES)],
        "latent": [Pointwise(to_search) for _ in inner],
        "dequantize": [stack(1) for _ in range(STAGES)],
        "side": [Pointwise(c) for _ in inner],
        "restore": [
            stack(depth + (s > 0), p.inner_channels if s == 0 else c, up=2, small_output=True) for s in range(STAGES)
        ],
    }
