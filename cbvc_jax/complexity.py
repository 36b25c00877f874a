"""Parameters and multiply-accumulates (MACs) of a preset, counted from its modules as they trace a frame of each kind.

    encode:  E, ctxE, VQ encode, search   and, for the next frame's y_ref,   VQ decode, ctxD
    decode:                                                                  VQ decode, ctxD, D

That is a predicted frame. A keyframe has no ctxE and no ctxD; where latents are pictures, what its own networks make of
them counts as E and D.

Two rules of counting:

- Table 3 of the paper, which is that of a common profiler of modules: convolutions (without bias), dense layers and
  normalisations, each part once. It leaves out GDN, codebooks, their search, and the products inside attention, and
  it has keys and values projected on the overlapping windows of figure 3.
- Actual: all that runs. Our attention projects keys and values once, before windows are cut. The search depends on the
  rate, so it stands apart.

Nothing is computed: the modules only see shapes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from math import prod
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from cbvc_jax.geometry import GROUPS, LATENT_STRIDE, STAGE_STRIDES, padded_size
from cbvc_jax.model import CodecModel, init_params
from cbvc_jax.modules.attention import CrossAttention
from cbvc_jax.modules.blocks import GDN
from cbvc_jax.modules.compact import CornersDense
from cbvc_jax.modules.context import Displacement
from cbvc_jax.modules.displacement import SIDE, displace_macs
from cbvc_jax.modules.motion_estimation import find_macs
from cbvc_jax.modules.norms import RMSNorm
from cbvc_jax.modules.quantizer import Codebooks
from cbvc_jax.presets import KEYFRAME, Preset

NORM_MACS = 4
"""MACs an element of a normalisation: mean, variance, scale and offset, as profilers count them."""

_PART_OF = {
    ("encoder", "__call__"): "E",
    ("key_encoder", "__call__"): "E",
    ("context_encoder", "__call__"): "ctxE",
    ("quantizer", "encode"): "VQ encode",
    ("quantizer", "decode"): "VQ decode",
    ("residual_quantizer", "encode"): "VQ encode",
    ("residual_quantizer", "decode"): "VQ decode",
    ("context_decoder", "__call__"): "ctxD",
    ("decoder", "__call__"): "D",
    ("key_decoder", "__call__"): "D",
}
_PART_AROUND = {"to_context": "ctxE", "moved": "ctxD", "from_context": "ctxD"}
PARTS = tuple(dict.fromkeys(_PART_OF.values()))
ENCODE_PARTS = ("E", "ctxE", "VQ encode", "VQ decode", "ctxD")
DECODE_PARTS = ("VQ decode", "ctxD", "D")


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one part of the codec holds and does for one frame.

    Attributes:
      table3_parameters: of convolutions, dense layers and normalisations.
      table3_macs: MACs by the rule of Table 3.
      layer_macs: MACs of the same layers as they run, keys and values projected once.
      attention_macs: of the two products inside attention, and of finding displacements and displacing.
      gdn_macs: of the products inside GDN and its inverse.
    """

    table3_parameters: int = 0
    table3_macs: int = 0
    layer_macs: int = 0
    attention_macs: int = 0
    gdn_macs: int = 0

    @property
    def macs(self) -> int:
        """All that runs, the search aside."""
        return self.layer_macs + self.attention_macs + self.gdn_macs

    def __add__(self, other: Cost) -> Cost:
        mine, its = dataclasses.astuple(self), dataclasses.astuple(other)
        return Cost(*(a + b for a, b in zip(mine, its, strict=True)))


@dataclasses.dataclass(frozen=True)
class Complexity:
    """Complexity of one preset at one frame size.

    Attributes:
      height, width: true frame size in pixels; MACs are those of the padded frame.
      parts: cost of each of `PARTS` for a predicted frame.
      keyframe_parts: the same for a keyframe.
      search_macs: MACs of the codebook search of one frame, by kind: "key" and every rate.
      network_parameters: everything trained but codebooks.
      codebook_parameters: numbers in the codebooks, by kind.
    """

    preset: Preset
    height: int
    width: int
    parts: dict[str, Cost]
    keyframe_parts: dict[str, Cost]
    search_macs: dict[str, int]
    network_parameters: int
    codebook_parameters: dict[str, int]

    @property
    def table3(self) -> Cost:
        """All parts once: encoding plus decoding of one predicted frame, as Table 3 sums them."""
        return _total(self.parts, PARTS)

    def all_parameters(self, *rates: str) -> int:
        """Networks, codebooks of keyframes, and those of `rates`: the paper's models have one rate each."""
        return self.network_parameters + sum(self.codebook_parameters[kind] for kind in (KEYFRAME, *rates))

    def encode_macs(self, rate: str) -> int:
        """MACs that an encoder runs for one predicted frame, search and its own reference included."""
        return _total(self.parts, ENCODE_PARTS).macs + self.search_macs[rate]

    def decode_macs(self) -> int:
        """MACs that a decoder runs for one predicted frame, the same at every rate: look-ups are free."""
        return _total(self.parts, DECODE_PARTS).macs

    def per_pixel(self, macs: int) -> float:
        """MACs a pixel of the true frame."""
        return macs / (self.height * self.width)


def measure(preset: Preset, height: int, width: int) -> Complexity:
    """Complexity of `preset` for frames of `height` x `width` pixels."""
    h, w = padded_size(height, width)
    x = jax.ShapeDtypeStruct((1, h, w, 3), jnp.float32)
    y_ref = jax.ShapeDtypeStruct((1, h // LATENT_STRIDE, w // LATENT_STRIDE, preset.latent_channels), jnp.float32)
    params, codebooks = jax.eval_shape(lambda: init_params(jax.random.key(0), preset))

    def parts(method: Callable, *arrays: Any) -> dict[str, Cost]:
        counter = _Counter()
        with nn.intercept_methods(counter):
            jax.eval_shape(functools.partial(CodecModel(preset).init, method=method), jax.random.key(0), *arrays)
        return counter.parts

    positions = [GROUPS * (h // stride) * (w // stride) for stride in STAGE_STRIDES]
    return Complexity(
        preset=preset,
        height=height,
        width=width,
        parts=parts(_predicted_frame, x, y_ref, codebooks[preset.rates[0]]),
        keyframe_parts=parts(_keyframe, x, codebooks[KEYFRAME]),
        search_macs={
            kind: sum(n * prod(book.shape[1:]) for n, book in zip(positions, books, strict=True))
            for kind, books in codebooks.items()
        },
        network_parameters=_size(params),
        codebook_parameters={kind: _size(books) for kind, books in codebooks.items()},
    )


def _predicted_frame(model: CodecModel, x: Array, y_ref: Array, codebooks: Codebooks) -> Array:
    """Encodes and decodes one predicted frame: every part runs once."""
    kind = model.preset.rates[0]
    codes = model.encode(model.latents(x), y_ref, codebooks, kind)
    return model.picture(model.restore([code.codewords for code in codes], y_ref, kind))


def _keyframe(model: CodecModel, x: Array, codebooks: Codebooks) -> Array:
    """Encodes and decodes one keyframe."""
    codes = model.encode(model.latents(x), None, codebooks, KEYFRAME)
    return model.picture(model.restore([code.codewords for code in codes], None, KEYFRAME))


class _Counter:
    """Flax interceptor that adds up the cost of every layer that is called, part by part."""

    def __init__(self):
        self.parts = dict.fromkeys(PARTS, Cost())
        self._part: list[str] = []
        self._attention: list[CrossAttention] = []

    def __call__(self, run: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module, method = context.module, context.method_name
        part = _PART_OF.get((module.path[0], method)) if len(module.path) == 1 else None
        if not module.path:
            part = _PART_AROUND.get(method)
        with ExitStack() as stack:
            if part:
                stack.enter_context(_pushed(self._part, part))
            if isinstance(module, CrossAttention):
                stack.enter_context(_pushed(self._attention, module))
            out = run(*args, **kwargs)
            cost = self._cost(module, method, args, out)
            if cost is not None:
                self.parts[self._part[-1]] += cost
        return out

    def _cost(self, module: nn.Module, method: str, args: tuple, out: Any) -> Cost | None:
        if isinstance(module, Displacement) and method in ("find", "__call__"):
            b, h, w, c = args[0].shape
            blocks = b * h * w // (SIDE // LATENT_STRIDE) ** 2
            way = module.interpolation
            macs = find_macs(blocks, way) if method == "find" else displace_macs(blocks, c // LATENT_STRIDE**2, way)
            return Cost(attention_macs=macs)
        if method != "__call__":
            return None
        if isinstance(module, GDN):
            return Cost(gdn_macs=out.size * out.shape[-1])
        if isinstance(module, CrossAttention):
            return Cost(attention_macs=_attention_macs(module, out.shape))
        if isinstance(module, (nn.Conv, nn.Dense, CornersDense)):
            macs = out.size * prod(module.variables["params"]["kernel"].shape[:-1])
        elif isinstance(module, (nn.LayerNorm, RMSNorm)):
            macs = NORM_MACS * out.size
        else:
            return None
        as_windows = macs * self._overlap(module.path)
        return Cost(_size(module.variables["params"]), int(as_windows), macs)

    def _overlap(self, path: tuple[str, ...]) -> Fraction:
        """How often Table 3 counts a layer's positions: those of keys and values once for every window they are in."""
        for attention in self._attention:
            if path[len(attention.path)] in ("norm_reference", "key", "value"):
                return Fraction(attention.window + 2 * attention.padding, attention.window) ** 2
        return Fraction(1)


@contextmanager
def _pushed(stack: list, item: Any) -> Iterator[None]:
    stack.append(item)
    yield
    stack.pop()


def _attention_macs(module: CrossAttention, shape: tuple[int, ...]) -> int:
    """Both products, q k and (softmax) v, over all windows that the latents of `shape` [b, h, w, c] fill."""
    b, h, w, _ = shape
    windows = b * (h // module.window) * (w // module.window)
    queries, keys = module.window**2, (module.window + 2 * module.padding) ** 2
    return 2 * windows * queries * keys * module.heads * module.head_dim


def _total(parts: dict[str, Cost], names: tuple[str, ...]) -> Cost:
    return sum((parts[name] for name in names), Cost())


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
