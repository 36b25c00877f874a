"""What each part of a model costs and how long it takes, several models side by side: as in the paper's Table 3.

    E, ctxE, VQ encode (search included), VQ decode, ctxD, D        each a program of its own, on one predicted frame

The models take turns, part by part, and the best time of each counts, so that a machine with other work still gives
usable ratios. Times do not depend on the weights.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cbvc_jax import complexity
from cbvc_jax.compilation import compiled
from cbvc_jax.complexity import DECODE_PARTS, ENCODE_PARTS, PARTS
from cbvc_jax.errors import UsageError
from cbvc_jax.geometry import GROUPS, LATENT_STRIDE, padded_size, stage_grids
from cbvc_jax.model import CodecModel
from cbvc_jax.modules.search import look_up
from cbvc_jax.video.atomic import write_whole
from cbvc_jax.weights import Model

CONTEXT_PARTS = ("ctxE", "ctxD")
REPETITIONS = 5
FILE = "parts.json"
PRODUCT_SIDE = 1024
PRODUCTS = 20
PAPER_SIZE = (1024, 1920)
"""Height and width of the paper's frames, for which complexity is given whatever the size that is timed."""


@dataclass(frozen=True)
class ModelParts:
    """Complexity of one model and the times of its parts.

    Attributes:
      name: of the model.
      sha256: of its weights in hexadecimal digits; empty for random ones.
      width, height: of the frame that was timed, in pixels.
      device: what it was timed on, as JAX names it.
      parameters: by the rule of the paper's Table 3, without GDN and codebooks.
      macs: multiply-accumulates of encoding and decoding a predicted frame of 1920x1024, by the same rule.
      context_macs: of one context module there, the mean of the two, as it runs: products inside attention included.
      seconds: best time of each part of a predicted frame that was timed.
    """

    name: str
    sha256: str
    width: int
    height: int
    device: str
    parameters: int
    macs: int
    context_macs: float
    seconds: dict[str, float]

    @property
    def context_s(self) -> float:
        """Of one context module, the mean of the two; NaN if they were not timed."""
        return self._sum(CONTEXT_PARTS) / len(CONTEXT_PARTS)

    @property
    def encode_s(self) -> float:
        """Of all that an encoder runs, its own reference included; NaN if a part was not timed."""
        return self._sum(ENCODE_PARTS)

    @property
    def decode_s(self) -> float:
        """Of all that a decoder runs; NaN if a part was not timed."""
        return self._sum(DECODE_PARTS)

    def _sum(self, parts: Sequence[str]) -> float:
        return math.fsum(self.seconds.get(part, math.nan) for part in parts)


def measure_parts(
    models: Sequence[Model],
    height: int,
    width: int,
    repetitions: int = REPETITIONS,
    parts: Sequence[str] = PARTS,
    tell: Callable[[str], None] = lambda _: None,
) -> list[ModelParts]:
    """The models' complexity, and the times of their parts at a frame size, in the order given.

    Args:
      models: with any weights; their first rates are used.
      height, width: of the frame in pixels; like the codec, it is padded to a multiple of 64.
      repetitions: how often each part is timed after it was compiled.
      parts: those to time, out of `cbvc_jax.complexity.PARTS`.
      tell: is told "model, part" before each is compiled.

    Raises:
      UsageError: there is no such part, or nothing to repeat.
    """
    if set(parts) - set(PARTS) or not parts:
        raise UsageError(f"the parts of a model are {', '.join(PARTS)}")
    if repetitions < 1:
        raise UsageError(f"{repetitions} repetitions: there must be at least one")
    best: list[dict[str, float]] = [{} for _ in models]
    # All models advance a part at a time: what is compared is timed within seconds of each other.
    for part in (part for part in PARTS if part in parts):
        calls = []
        for model in models:
            tell(f"{model.name}, {part}")
            calls.append(_program(model, part, *padded_size(height, width)))
        for _ in range(repetitions):
            for seconds, call in zip(best, calls, strict=True):
                start = time.perf_counter()
                jax.block_until_ready(call())
                seconds[part] = min(seconds.get(part, math.inf), time.perf_counter() - start)
    return [_described(model, height, width, seconds) for model, seconds in zip(models, best, strict=True)]


def product_rate() -> float:
    """MACs a second of float32 products of square matrices, the best of several: the peak to compare others with."""
    a = jnp.asarray(np.random.default_rng(0).normal(size=(PRODUCT_SIDE, PRODUCT_SIDE)), jnp.float32)
    multiply = jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST))
    multiply(a).block_until_ready()
    best = float("inf")
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        multiply(a).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return PRODUCT_SIDE**3 / best


def _program(model: Model, part: str, height: int, width: int) -> Callable[[], Any]:
    """One part on random input, compiled and run once, ready to be run again."""
    preset, random = model.preset, np.random.default_rng(0)
    rate, h, w = preset.rates[0], height // LATENT_STRIDE, width // LATENT_STRIDE
    books = model.codebooks[rate]

    def latents(channels: int = preset.latent_channels) -> Any:
        return jnp.asarray(random.normal(size=(1, h, w, channels)), jnp.float32)

    def inner() -> Any:
        return latents(preset.inner_channels)

    def indices() -> Any:
        grids = zip(stage_grids(height, width), preset.codebook_sizes(rate), strict=True)
        return [jnp.asarray(random.integers(0, size, (1, *grid, GROUPS)), jnp.int32) for grid, size in grids]

    def codewords(indices: Any, books: Any) -> Any:
        return [look_up(i, b) for i, b in zip(indices, books, strict=True)]

    def search(m: Any, u: Any, books: Any) -> Any:
        return [code.indices for code in m.residual_quantizer.encode(u, books, rate)]

    def restore(m: Any, indices: Any, books: Any) -> Any:
        return m.residual_quantizer.decode(codewords(indices, books), rate)

    def add(m: Any, u: Any, y_ref: Any, indices: Any, books: Any) -> Any:
        return m.from_context(u, m.moved(codewords(indices, books), y_ref))

    method, inputs = {
        "E": (lambda m, x: m.latents(x), lambda: (jnp.asarray(random.random((1, height, width, 3)), jnp.float32),)),
        "ctxE": (lambda m, y, y_ref, books: m.to_context(y, y_ref, books)[0], lambda: (latents(), latents(), books)),
        "VQ encode": (search, lambda: (inner(), books)),
        "VQ decode": (restore, lambda: (indices(), books)),
        "ctxD": (add, lambda: (inner(), latents(), indices(), books)),
        "D": (lambda m, y_hat: m.picture(y_hat), lambda: (latents(),)),
    }[part]

    def apply(variables: Any, inputs: Any) -> Any:
        return CodecModel(preset).apply(variables, *inputs, method=method)

    run = compiled(apply)
    arguments = {"params": model.params}, inputs()
    jax.block_until_ready(run(*arguments))
    return lambda: run(*arguments)


def _described(model: Model, height: int, width: int, seconds: dict[str, float]) -> ModelParts:
    cost = complexity.measure(model.preset, *PAPER_SIZE)
    return ModelParts(
        name=model.name,
        sha256=model.sha256.hex() if any(model.sha256) else "",
        width=width,
        height=height,
        device=jax.devices()[0].device_kind,
        parameters=cost.table3.table3_parameters,
        macs=cost.table3.table3_macs,
        context_macs=sum(cost.parts[part].macs for part in CONTEXT_PARTS) / len(CONTEXT_PARTS),
        seconds=seconds,
    )


def save_parts(out: Path, found: Sequence[ModelParts]) -> None:
    """Writes OUT/parts.json; returns nothing."""
    write_whole(out / FILE, json.dumps([asdict(one) for one in found], indent=1) + "\n")


def load_parts(out: Path) -> list[ModelParts]:
    """What `save_parts` wrote below `out`, or nothing where it wrote nothing; UsageError if the file is damaged."""
    file = out / FILE
    if not file.exists():
        return []
    try:
        return [ModelParts(**one) for one in json.loads(file.read_text())]
    except (ValueError, TypeError) as error:
        raise UsageError(f"{file} does not hold the times of models ({error}); remove it") from None
