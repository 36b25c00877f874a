"""Encoder search: indices that make a better picture than the nearest codewords do, found with the real decoder.

    indices --> VQ^-1, ctxD, D --> squared error of the picture --> its slope at every codeword c
                                                                              |
    a stage, a quarter of its blocks at once:  c - slope / (2 a) --> nearest codeword --> tried, kept where that helps

The quarters are every second row and column, and a trial is judged by the picture in its block and half a block around
it. These tiles meet but do not overlap: hence what is kept of a trial has the trial's errors there, but for what
reaches beyond a tile. The next round begins with the true errors, and the best of all rounds is what is returned: the
picture is never worse for it. The decoder knows nothing of this.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, UInt16

from cbvc_jax.errors import UsageError
from cbvc_jax.geometry import STAGE_STRIDES
from cbvc_jax.model import CodecModel
from cbvc_jax.modules.search import IndexCosts, cost_of, look_up, rated_search, search
from cbvc_jax.presets import Preset
from cbvc_jax.programs import Frame, Programs, fill

MAX_EFFORT = 9
CELL = STAGE_STRIDES[0] // 2
"""Side of the squares that errors are summed in, in pixels."""
PHASES = 4
CAUTIONS = (12.0, 6.0, 3.0, 1.5, 0.75)
"""Curvatures that are tried, over what the sensitivity of a stage says: the larger, the nearer what they lead to."""
NOTHING = -1
"""In place of a stage, a trial that changes no index."""
Indices = list[UInt16[Array, "1 rows cols g"]]
Cells = Float[Array, "rows cols"]


class Plan(NamedTuple):
    """What is tried in a round.

    Attributes:
      wanted: the index to be tried at each place of each stage.
      step: which of `CAUTIONS` it was found with; their number where none finds another index than there is.
    """

    wanted: list[Int32[Array, "1 rows cols g"]]
    step: list[Int32[Array, "rows cols"]]


def check_effort(effort: int) -> int:
    """The effort itself.

    Raises:
      UsageError: there is no such effort.
    """
    if not 0 <= effort <= MAX_EFFORT:
        raise UsageError(f"an effort of {effort} makes no sense: it goes from 0 to {MAX_EFFORT}")
    return effort


def refine(
    programs: Programs,
    frame: Frame,
    indices: Indices,
    y_ref: Float[Array, "1 h8 w8 c"] | None,
    kind: str,
    sensitivity: Float[Any, "stages"],
    effort: int,
    costs: list[IndexCosts] | None = None,
) -> Indices:
    """Indices of no more squared error, or where bits have a price of no more error plus price x bits.

    Args:
      programs: of the model and the frame's size.
      frame: uint8 RGB.
      indices: of each stage, from `programs.search`.
      y_ref: of the frame before; None for a keyframe.
      kind: "key" or a rate.
      sensitivity: of each stage, from `programs.sensitivity`.
      effort: the number of rounds: 1 + 3 x 4 pictures each, and a backward pass.
      costs: of the indices, where bits have a price: those that the search took.
    """
    size = (programs.height, programs.width)
    static = (programs.preset, programs.padded, size, kind)
    fixed = (programs.params, programs.codebooks[kind], frame, y_ref, sensitivity, costs)
    plan = Plan(indices, [jnp.zeros(i.shape[1:3], jnp.int32) for i in indices])
    best: tuple[Array, Indices] = jnp.float32(jnp.inf), indices
    for _ in range(effort):
        score, cells, plan = _look(*static, *fixed, indices, plan)
        best = _better(best, (score, indices))
        for stage in reversed(range(len(indices))):
            for phase in range(PHASES):
                indices, cells, _ = _try(*static, *fixed, indices, plan.wanted, cells, stage, phase)
    *_, score = _try(*static, *fixed, indices, indices, cells, NOTHING, 0)
    return _better(best, (score, indices))[1]


@jax.jit
def _better(one: tuple[Array, Indices], other: tuple[Array, Indices]) -> tuple[Array, Indices]:
    """That of the lower score; the first on a tie."""
    return jax.tree.map(lambda a, b: jnp.where(other[0] < one[0], b, a), one, other)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _look(
    preset: Preset, padded, size, kind: str, params, codebooks, frame, y_ref, sensitivity, costs, indices, last
) -> tuple[Array, Cells, Plan]:
    """(score, errors, the index to be tried at each place of each stage)."""
    codewords = [look_up(i, codebook) for i, codebook in zip(indices, codebooks, strict=True)]

    def total(codewords: list[Array]) -> tuple[Array, Cells]:
        cells = _errors(preset, padded, size, kind, params, codewords, frame, y_ref)
        return jnp.sum(cells), cells

    (error, cells), slopes = jax.value_and_grad(total, has_aux=True)(codewords)
    plan = Plan([], [])
    for s, (codeword, slope, codebook) in enumerate(zip(codewords, slopes, codebooks, strict=True)):
        taken = jnp.all(last.wanted[s] == indices[s], axis=-1)[0]
        start = jnp.where(taken, last.step[s], last.step[s] + 1) % len(CAUTIONS)
        wanted, step = indices[s].astype(jnp.int32), jnp.full_like(start, len(CAUTIONS))
        for n, caution in reversed([*enumerate(CAUTIONS)]):
            z = codeword - slope / (2.0 * caution * sensitivity[s])
            found = search(z, codebook) if costs is None else rated_search(z, codebook, _scaled(costs[s], caution))
            use = (n >= start) & jnp.any(found != indices[s], axis=-1)[0]
            wanted, step = jnp.where(use[None, :, :, None], found, wanted), jnp.where(use, n, step)
        plan.wanted.append(wanted)
        plan.step.append(step)
    return error + sum(jnp.sum(p) for p in _paid(indices, sensitivity, costs)), cells, plan


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _try(
    preset: Preset,
    padded,
    size,
    kind: str,
    params,
    codebooks,
    frame,
    y_ref,
    sensitivity,
    costs,
    indices,
    wanted,
    cells,
    stage,
    phase,
) -> tuple[Indices, Cells, Array]:
    """(indices with those of `wanted` that help, their errors, score of all that were tried)."""
    on = []
    for s, i in enumerate(indices):
        rows, columns = i.shape[1:3]
        row, column = jnp.arange(rows)[:, None], jnp.arange(columns)[None]
        on.append((row % 2 == phase // 2) & (column % 2 == phase % 2) & (s == stage))
    tried = [jnp.where(o[None, :, :, None], w.astype(i.dtype), i) for o, w, i in zip(on, wanted, indices, strict=True)]
    codewords = [look_up(i, codebook) for i, codebook in zip(tried, codebooks, strict=True)]
    after = _errors(preset, padded, size, kind, params, codewords, frame, y_ref)
    old, new = _paid(indices, sensitivity, costs), _paid(tried, sensitivity, costs)
    kept = []
    for s, i in enumerate(indices):
        gain = _tiles(cells - after, s)[: i.shape[1], : i.shape[2]] + old[s] - new[s]
        keep = on[s] & (gain > 0)
        kept.append(jnp.where(keep[None, :, :, None], tried[s], i))
        cells = jnp.where(_spread(keep, s, cells.shape), after, cells)
    return kept, cells, jnp.sum(after) + sum(jnp.sum(p) for p in new)


def _errors(preset: Preset, padded, size, kind: str, params, codewords, frame, y_ref) -> Cells:
    """Squared error in each cell, in 8-bit levels, mean over R, G and B, given the codewords that are sent."""
    model, variables = CodecModel(preset), {"params": params}
    full = [_fill_codewords(c, padded, s) for s, c in enumerate(codewords)]
    y_hat = model.apply(variables, full, y_ref, kind, method="restore")
    x_hat: Any = model.apply(variables, y_hat, method="picture")
    picture = 255.0 * jnp.clip(x_hat[0, : size[0], : size[1]], 0.0, 1.0)
    error = jnp.mean(jnp.square(picture - frame.astype(jnp.float32)), axis=-1)
    error = jnp.pad(error, ((0, padded[0] - size[0]), (0, padded[1] - size[1])))
    return jnp.sum(error.reshape(padded[0] // CELL, CELL, padded[1] // CELL, CELL), axis=(1, 3))


def _fill_codewords(codewords: Array, padded: tuple[int, int], stage: int) -> Array:
    return fill(codewords, padded[0] // STAGE_STRIDES[stage], padded[1] // STAGE_STRIDES[stage])


def _paid(indices: Indices, sensitivity: Array, costs: list[IndexCosts] | None) -> list[Array]:
    """Price x bits of each block's indices [rows, columns], in squared error."""
    if costs is None:
        return [jnp.zeros(i.shape[1:3]) for i in indices]
    return [a * jnp.sum(cost_of(i, c), axis=-1)[0] for i, c, a in zip(indices, costs, sensitivity, strict=True)]


def _scaled(costs: IndexCosts, caution: float) -> IndexCosts:
    """The costs beside distances that count so many times as much."""
    of_index, repeats = costs
    if repeats is not None:
        repeats = repeats._replace(of_repeat=repeats.of_repeat / caution, of_change=repeats.of_change / caution)
    return IndexCosts(of_index / caution, repeats)


def _tiles(cells: Cells, stage: int) -> Float[Array, "rows cols"]:
    """Sum over each block of a stage and half a block around it."""
    side = 1 << stage
    halves = jnp.sum(cells.reshape(cells.shape[0] // side, side, cells.shape[1] // side, side), axis=(1, 3))
    return jax.lax.reduce_window(halves, 0.0, jax.lax.add, (4, 4), (2, 2), ((1, 1), (1, 1)))


def _spread(blocks: Array, stage: int, shape: tuple[int, ...]) -> Array:
    """Cells of the tiles of the blocks that are True."""
    halves = blocks.repeat(2, axis=0).repeat(2, axis=1)
    rest = [(1, n // (1 << stage) - m + 1) for n, m in zip(shape, halves.shape, strict=True)]
    halves = jax.lax.reduce_window(halves, False, jax.lax.bitwise_or, (3, 3), (1, 1), rest)
    return halves.repeat(1 << stage, axis=0).repeat(1 << stage, axis=1)
