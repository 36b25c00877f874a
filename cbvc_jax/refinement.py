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
import numpy as np
from jaxtyping import Array, Float, Int32, UInt16

from cbvc_jax.compilation import compiled
from cbvc_jax.errors import UsageError
from cbvc_jax.geometry import STAGE_STRIDES, padded_size, stage_grids
from cbvc_jax.model import Params
from cbvc_jax.modules.quantizer import Codebooks
from cbvc_jax.modules.search import IndexCosts, cost_of, look_up, rated_search, search
from cbvc_jax.presets import KEYFRAME, Preset
from cbvc_jax.programs import Frame, Programs, fill, levels, sum_squares

CELL = STAGE_STRIDES[0] // 2
"""Side of the squares that errors are summed in, in pixels."""
PHASES = 4
TRIALS = len(STAGE_STRIDES) * PHASES
"""Of a whole round: every quarter of every stage."""


class Level(NamedTuple):
    """What an effort takes.

    Attributes:
      keyframe: rounds for a keyframe, which all frames up to the next one refer to.
      predicted: rounds for a predicted frame.
      trials: of each of these; where fewer than all, those of the most promise, and only with one round: to the next
        one, what was not tried would look as if tried in vain.
    """

    keyframe: int
    predicted: int
    trials: int = TRIALS


LEVELS = (
    Level(0, 0),
    Level(3, 1, 2),
    Level(3, 1, 4),
    Level(3, 1, 8),
    Level(3, 1),
    Level(3, 2),
    Level(4, 3),
    Level(6, 4),
    Level(8, 6),
    Level(9, 9),
)
MAX_EFFORT = len(LEVELS) - 1
CAUTIONS = (12.0, 6.0, 3.0, 1.5, 0.75)
"""Curvatures that are tried, over what the sensitivity of a codebook says: the larger, the nearer what they lead to."""
LEAST_SENSITIVITY = 1e-6
NOTHING = -1
"""In place of a stage, a trial that changes no index."""
Indices = list[UInt16[Array, "1 rows cols g"]]
Cells = Float[Array, "rows cols"]


class Case(NamedTuple):
    """What stays as it is while a frame is refined; fields as the arguments of `refine`."""

    params: Params
    codebooks: Codebooks
    frame: Frame
    y_ref: Float[Array, "1 h8 w8 c"] | None
    sensitivity: Float[Array, "stages groups"]
    costs: list[IndexCosts] | None


class Plan(NamedTuple):
    """What is tried in a round.

    Attributes:
      wanted: the index to be tried at each place of each stage.
      step: which of `CAUTIONS` it was found with; their number where none finds another index than there is.
      promise: what the slopes lead to expect of each quarter of each stage, in the unit of the score.
    """

    wanted: list[Int32[Array, "1 rows cols g"]]
    step: list[Int32[Array, "rows cols"]]
    promise: Float[Array, "stages phases"]


def check_effort(effort: int) -> int:
    """The effort itself.

    Raises:
      UsageError: there is no such effort.
    """
    if not 0 <= effort <= MAX_EFFORT:
        raise UsageError(f"an effort of {effort} makes no sense: it goes from 0 to {MAX_EFFORT}")
    return effort


def rounds_of(effort: int, kind: str) -> tuple[int, int]:
    """(rounds for a frame of this kind, trials of each)."""
    level = LEVELS[effort]
    return (level.keyframe, TRIALS) if kind == KEYFRAME else (level.predicted, level.trials)


def refine(
    programs: Programs,
    frame: Frame,
    indices: Indices,
    y_ref: Float[Array, "1 h8 w8 c"] | None,
    kind: str,
    sensitivity: Float[Any, "stages groups"],
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
      sensitivity: of each codebook, from `programs.sensitivity`.
      effort: 0 .. `MAX_EFFORT`: what `LEVELS` says. A whole round makes 13 pictures and goes back through one.
      costs: of the indices, where bits have a price: those that the search took.
    """
    rounds, trials = rounds_of(effort, kind)
    if not rounds:
        return indices
    static = (programs.preset, (programs.height, programs.width), kind)
    case = Case(programs.params, programs.codebooks[kind], frame, y_ref, sensitivity, costs)
    # Of the types that a round returns, so that nothing is compiled twice.
    nothing = [i.astype(jnp.int32) for i in indices], [jnp.zeros(i.shape[1:3], jnp.int32) for i in indices]
    plan = Plan(*nothing, jnp.zeros((len(indices), PHASES)))
    score, cells, plan = _look(*static, case, indices, plan)
    best = score, indices
    for turn in range(rounds):
        if turn:
            score, cells, plan = _look(*static, case, indices, plan)
            best = _better(best, (score, indices))
        for stage, phase in _order(plan, trials):
            indices, cells, _ = _try(*static, case, indices, plan.wanted, cells, stage, phase)
    *_, score = _try(*static, case, indices, plan.wanted, cells, NOTHING, 0)
    return _better(best, (score, indices))[1]


def _order(plan: Plan, trials: int) -> list[tuple[Any, Any]]:
    """(stage, quarter) of each trial: all, from the largest blocks to the smallest, or those of the most promise."""
    stages = len(plan.wanted)
    if trials >= TRIALS:
        return [(stage, phase) for stage in reversed(range(stages)) for phase in range(PHASES)]
    best = np.argsort(-np.asarray(plan.promise), axis=None, kind="stable")[:trials]
    return [(int(n) // PHASES, int(n) % PHASES) for n in best]


@jax.jit
def _better(one: tuple[Array, Indices], other: tuple[Array, Indices]) -> tuple[Array, Indices]:
    """That of the lower score; the first on a tie."""
    return jax.tree.map(lambda a, b: jnp.where(other[0] < one[0], b, a), one, other)


@functools.partial(compiled, static_argnums=(0, 1, 2))
def _look(
    preset: Preset, size: tuple[int, int], kind: str, case: Case, indices: Indices, last: Plan
) -> tuple[Array, Cells, Plan]:
    """(score, errors, what to try next)."""
    books, costs = case.codebooks, case.costs
    codewords = [look_up(i, codebook) for i, codebook in zip(indices, books, strict=True)]

    def total(codewords: list[Array]) -> tuple[Array, Cells]:
        cells = _errors(preset, size, kind, case, codewords)
        return jnp.sum(cells), cells

    (error, cells), slopes = jax.value_and_grad(total, has_aux=True)(codewords)
    paid = _paid(case, indices)
    plan = Plan([], [], jnp.zeros((0,)))
    for s, (now, codeword, slope, codebook) in enumerate(zip(indices, codewords, slopes, books, strict=True)):
        taken = jnp.all(last.wanted[s] == now, axis=-1)[0]
        start = jnp.where(taken, last.step[s], last.step[s] + 1) % len(CAUTIONS)
        stride = slope / (2.0 * jnp.maximum(case.sensitivity[s], LEAST_SENSITIVITY)[:, None])
        find = functools.partial(_find, now, codeword, stride, codebook, None if costs is None else costs[s], start)
        nothing = now.astype(jnp.int32), jnp.full_like(start, len(CAUTIONS))
        # A loop: unrolled, it takes long to compile.
        trials = jnp.arange(len(CAUTIONS)), jnp.asarray(CAUTIONS)
        (wanted, step), _ = jax.lax.scan(find, nothing, trials, reverse=True)
        plan.wanted.append(wanted)
        plan.step.append(step)
    promise = _promise(case, codewords, slopes, plan.wanted, paid)
    return error + sum(jnp.sum(p) for p in paid), cells, plan._replace(promise=promise)


def _promise(case: Case, codewords, slopes, wanted, paid) -> Float[Array, "stages phases"]:
    """What the blocks of a quarter gain together, by a parabola with each codebook's sensitivity; losses count as 0."""
    found = []
    terms = zip(codewords, slopes, wanted, case.codebooks, case.sensitivity, paid, _paid(case, wanted), strict=True)
    for codeword, slope, index, codebook, curvature, old, new in terms:
        change = look_up(index, codebook) - codeword
        loss = jnp.sum(change * (slope + curvature[:, None] * change), axis=(0, 3, 4)) + new - old
        gain = jnp.maximum(-loss, 0.0)
        found.append(jnp.stack([jnp.sum(gain[phase // 2 :: 2, phase % 2 :: 2]) for phase in range(PHASES)]))
    return jnp.stack(found)


def _find(now, codeword, stride, codebook, costs, start, found, trial) -> tuple[tuple[Array, Array], None]:
    """`found` (indices, steps) where this trial (step, caution) leads to no other index than `now`, or is not due."""
    n, caution = trial
    z = codeword - stride / caution
    new = search(z, codebook) if costs is None else rated_search(z, codebook, _scaled(costs, caution))
    use = (n >= start) & jnp.any(new != now, axis=-1)[0]
    return (jnp.where(use[None, :, :, None], new, found[0]), jnp.where(use, n, found[1])), None


@functools.partial(compiled, static_argnums=(0, 1, 2))
def _try(
    preset: Preset, size: tuple[int, int], kind: str, case: Case, indices: Indices, wanted, cells: Cells, stage, phase
) -> tuple[Indices, Cells, Array]:
    """(indices with those of `wanted` that help, their errors, score of all that were tried)."""
    on = []
    for s, i in enumerate(indices):
        rows, columns = i.shape[1:3]
        row, column = jnp.arange(rows)[:, None], jnp.arange(columns)[None]
        on.append((row % 2 == phase // 2) & (column % 2 == phase % 2) & (s == stage))
    tried = [jnp.where(o[None, :, :, None], w.astype(i.dtype), i) for o, w, i in zip(on, wanted, indices, strict=True)]
    codewords = [look_up(i, codebook) for i, codebook in zip(tried, case.codebooks, strict=True)]
    after = _errors(preset, size, kind, case, codewords)
    old, new = _paid(case, indices), _paid(case, tried)
    kept = []
    for s, i in enumerate(indices):
        gain = _tiles(cells - after, s)[: i.shape[1], : i.shape[2]] + old[s] - new[s]
        keep = on[s] & (gain > 0)
        kept.append(jnp.where(keep[None, :, :, None], tried[s], i))
        cells = jnp.where(_spread(keep, s, cells.shape), after, cells)
    return kept, cells, jnp.sum(after) + sum(jnp.sum(p) for p in new)


def _errors(preset: Preset, size: tuple[int, int], kind: str, case: Case, codewords: list[Array]) -> Cells:
    """Squared error in each cell, in 8-bit levels, mean over R, G and B, given the codewords that are sent."""
    padded = padded_size(*size)
    full = [fill(c, *grid) for c, grid in zip(codewords, stage_grids(*padded), strict=True)]
    (picture,) = levels(preset, size, kind, case.params, case.y_ref, full)
    error = jnp.mean(jnp.square(picture - case.frame.astype(jnp.float32)), axis=-1)
    return sum_squares(error, CELL, *padded)


def _paid(case: Case, indices: Indices) -> list[Array]:
    """Price x bits of each block's indices [rows, columns], in squared error."""
    if case.costs is None:
        return [jnp.zeros(i.shape[1:3]) for i in indices]
    terms = zip(indices, case.costs, case.sensitivity, strict=True)
    return [jnp.sum(a * cost_of(i, c), axis=-1)[0] for i, c, a in terms]


def _scaled(costs: IndexCosts, caution: Array) -> IndexCosts:
    """The costs beside distances that count so many times as much."""
    of_index, repeats, scale = costs
    if repeats is not None:
        repeats = repeats._replace(of_repeat=repeats.of_repeat / caution, of_change=repeats.of_change / caution)
    return IndexCosts(of_index / caution, repeats, scale)


def _tiles(cells: Cells, stage: int) -> Float[Array, "rows cols"]:
    """Sum over each block of a stage and half a block around it."""
    halves = sum_squares(cells, 1 << stage, *cells.shape)
    return jax.lax.reduce_window(halves, 0.0, jax.lax.add, (4, 4), (2, 2), ((1, 1), (1, 1)))


def _spread(blocks: Array, stage: int, shape: tuple[int, ...]) -> Array:
    """Cells of the tiles of the blocks that are True."""
    halves = blocks.repeat(2, axis=0).repeat(2, axis=1)
    rest = [(1, n // (1 << stage) - m + 1) for n, m in zip(shape, halves.shape, strict=True)]
    halves = jax.lax.reduce_window(halves, False, jax.lax.bitwise_or, (3, 3), (1, 1), rest)
    return halves.repeat(1 << stage, axis=0).repeat(1 << stage, axis=1)
