"""One frame of a chunk as an encoder codes it, differentiable.

y, y_ref --search--> codes --VQ^-1, ctxD--> y_hat
                       |                      |  under a quality: blocks of 16x16 pixels that cost less as they were, or
                       '-- bits of each block-+--> as displacements move them, are left so, and y_hat is restored again
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cbvc_jax.geometry import CODED
from cbvc_jax.model import CodebookSet, CodecModel, coded_places
from cbvc_jax.modules.quantizer import STAGES, StageCode
from cbvc_jax.modules.search import IndexCosts
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.training.precision import rounded
from cbvc_jax.training.price import Costs, Quality, skipped


class FrameCode(NamedTuple):
    """What becomes of a frame.

    Attributes:
      codes: of each stage.
      y_hat: what a decoder restores.
      sent: where each stage's residual is sent.
      spent: bits of the blocks that are coded, by the running counts; 0 without a quality.
      skip: what becomes of blocks of 16x16 pixels; None without a quality.
    """

    codes: list[StageCode]
    y_hat: Float[Array, "b h w c"]
    sent: list[Bool[Array, "b hs ws"]]
    spent: Float[Array, "b"]
    skip: Int[Array, "b h2 w2"] | None


@dataclasses.dataclass(frozen=True)
class FrameCoder:
    """Codes frames with the networks and codebooks of a step.

    Attributes:
      model, variables: the networks, at the precision of activations.
      codebooks: by kind.
      stages: that quantise, of a kind of frame.
      dtype: of activations.
      costs: of indices, of kinds of frames that are searched under a price.
      quality: of predicted frames, which are searched under its price and may skip blocks; None: nothing is skipped.
    """

    model: CodecModel
    variables: Any
    codebooks: CodebookSet
    stages: Callable[[str], Int[Array, ""] | int]
    dtype: Any
    costs: Costs
    quality: Quality | None

    def code(self, y: Float[Array, "b h w c"], y_ref: Float[Array, "b h w c"] | None, kind: str) -> FrameCode:
        """One frame; y_ref is None for a keyframe."""
        if kind != KEYFRAME and y_ref is not None and self.quality is not None:
            return self._code_skipping(y, y_ref, kind, self.quality)
        search = self.codebooks[kind], kind, None, self.stages(kind), self.costs.get(kind)
        codes: Any = self._apply("encode", y, y_ref, *search)
        sent = [jnp.ones(c.indices.shape[:-1], bool) for c in codes]
        return FrameCode(codes, self.restored(codes, y_ref, kind), sent, jnp.zeros(len(y)), None)

    def _code_skipping(self, y: Array, y_ref: Array, kind: str, quality: Quality) -> FrameCode:
        books = self.codebooks[kind]
        found = self._apply("find", y, y_ref)
        unit = jnp.broadcast_to(1.0 / found.unit[..., 0], found.displacement.shape[:3])
        pointing = [IndexCosts(quality.pointing, scale=unit)] * STAGES
        pointers = self._apply("point", y, y_ref, found, books, None, pointing, False)
        codes: Any = self._apply("encode", y, y_ref, books, kind, None, self.stages(kind), quality.costs, pointers)
        coded = jax.lax.stop_gradient(self.restored(codes, y_ref, kind))
        moved = jax.lax.stop_gradient(self._apply("moved", [c.codewords for c in codes], y_ref))
        skip, bits = skipped(y, y_ref, moved, coded, [c.indices for c in codes], quality)
        spent = jnp.sum(jnp.where(skip == CODED, bits, 0.0), axis=(1, 2))
        return FrameCode(codes, self.restored(codes, y_ref, kind, skip), coded_places(skip), spent, skip)

    def restored(
        self, codes: list[StageCode], y_ref: Array | None, kind: str, skip: Array | None = None
    ) -> Float[Array, "b h w c"]:
        """y_hat, float32."""
        codewords = rounded([c.codewords for c in codes], self.dtype)
        if skip is None or y_ref is None:
            return self._apply("restore", codewords, y_ref, kind).astype(jnp.float32)
        return self._apply("restore_skipping", codewords, y_ref, kind, skip, False).astype(jnp.float32)

    def _apply(self, method: str, *args: Any) -> Any:
        return self.model.apply(self.variables, *args, method=method)
