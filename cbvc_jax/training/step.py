"""One training step: loss and gradient of a batch, one update of everything that learns.

The step is one program for all devices of a layout: the state goes in and comes out sharded, and is donated.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, UInt8

from cbvc_jax.compilation import compiler_options
from cbvc_jax.geometry import POINTING_GROUP, POINTING_STAGE
from cbvc_jax.model import CodebookSet
from cbvc_jax.modules.quantizer import STAGES
from cbvc_jax.modules.transforms import to_unit
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.training.chunk import Schedule, run_chunk
from cbvc_jax.training.codebooks import batch_counts, update_codebook, usage_and_perplexity, with_held_group
from cbvc_jax.training.loss import Seen, loss_of
from cbvc_jax.training.price import drawn_share, index_costs, quality_of, restart_share
from cbvc_jax.training.sharding import Layout, single
from cbvc_jax.training.state import (
    Carry,
    Config,
    TrainState,
    codebook_decay,
    init_state,
    learned,
    make_optimizer,
)

Metrics = dict[str, Array]


@functools.cache
def make_step(config: Config, rate: str, layout: Layout | None = None):
    """The compiled step of one rate: (state, frames uint8 [b, t, h, w, 3], schedule) -> (state, metrics).

    The state is donated. `layout` is that of one device by default.
    """
    layout = layout or single()
    optimizer = make_optimizer(config)

    def step(state: TrainState, frames: UInt8[Array, "b t h w 3"], schedule: Schedule) -> tuple[TrainState, Metrics]:
        trained: Any = learned(config, state.params, state.codebooks)
        grads, seen = _accumulated(trained, state, frames, schedule, config, rate, layout)
        updates, opt_state = optimizer.update(grads, state.opt_state, trained)
        new_trained: Any = optax.apply_updates(trained, updates)
        params, gradient_books = new_trained
        codebooks, averages, health = _learn_codebooks(state, gradient_books, seen, config, schedule)
        norm = optax.global_norm(grads)
        # A frame alone has no chain that could run away.
        limit = config.max_norm if frames.shape[1] > 1 else jnp.inf
        sound = jnp.isfinite(seen.metrics["loss"]) & jnp.isfinite(norm) & (norm <= limit)
        new = state.replace(
            params=params, codebooks=codebooks, averages=averages, opt_state=opt_state, carry=seen.carry
        )
        # A step that is not finite, or too long, changes nothing; the loop counts such steps and stops if they persist.
        new = jax.tree.map(lambda a, b: jnp.where(sound, a, b), new, state)
        metrics = {
            **seen.metrics,
            "grad_norm": norm,
            "skipped": ~sound,
            **health,
        }
        return new.replace(step=state.step + 1), metrics

    shardings = layout.of_state(jax.eval_shape(lambda: init_state(config)))
    return jax.jit(
        step,
        donate_argnums=0,
        compiler_options=compiler_options(layout.platform),
        in_shardings=(shardings, layout.rows, layout.copy),
        out_shardings=(shardings, layout.copy),
    )


def _accumulated(trained, state: TrainState, frames, schedule: Schedule, config, rate: str, layout: Layout):
    """Mean gradient over the batch, and what was seen of it, `accumulate` parts of the batch after each other."""
    parts = config.accumulate
    layout.check_batch(frames.shape[0], parts)
    grad_fn = jax.value_and_grad(loss_of, has_aux=True)
    costs = index_costs(config, state.codebooks, state.averages, drawn_share(config, state))
    quality, of_keyframes = (quality_of(config, state, kind) for kind in (rate, KEYFRAME))
    if of_keyframes is not None:
        costs[KEYFRAME] = of_keyframes.costs

    def part(frames: Array, carry: Carry) -> tuple[Any, Seen]:
        x = to_unit(frames)
        (_, seen), grads = grad_fn(trained, state.codebooks, x, carry, schedule, config, rate, layout, costs, quality)
        return grads, seen

    if parts == 1:
        return part(frames, state.carry)

    def add(total: Any, rows: tuple[Array, Carry]) -> tuple[Any, Seen]:
        grads, seen = part(*rows)
        return jax.tree.map(jnp.add, total, grads), seen

    # Row i goes to part i modulo `parts`, which leaves every row on the device that has it.
    cut = jax.tree.map(lambda a: a.reshape(-1, parts, *a.shape[1:]).swapaxes(0, 1), (frames, state.carry))
    zeros = jax.tree.map(jnp.zeros_like, trained)
    total, seen = jax.lax.scan(add, zeros, cut, unroll=config.unroll)
    grads = jax.tree.map(lambda g: g / parts, total)
    joined = jax.tree.map(lambda a: a.swapaxes(0, 1).reshape(-1, *a.shape[2:]), seen[1:])
    return grads, Seen(jax.tree.map(lambda m: jnp.mean(m, axis=0), seen.metrics), *joined)


def _learn_codebooks(state: TrainState, gradient_books: CodebookSet, seen: Seen, config, schedule: Schedule):
    """Codebooks, averages and their health (by stage) after the step, from every latent quantised in it."""
    codebooks, averages, health = {**state.codebooks, **gradient_books}, dict(state.averages), {}
    rng = jax.random.fold_in(state.rng, state.step)
    decay = jnp.asarray(codebook_decay(config)(state.step))
    for kind, codes in seen.searched.items():
        books, means = list(codebooks[kind]), list(averages[kind])
        for s, code in enumerate(codes):
            z = code.z.reshape(-1, *code.z.shape[-2:])
            book, mean, restarted = update_codebook(
                books[s],
                means[s],
                z,
                code.indices.reshape(z.shape[:2]),
                jax.random.fold_in(rng, s + STAGES * sorted(codebooks).index(kind)),
                decay=decay,
                restart_below=restart_share(config, kind),
                learn_by_average=config.codebook.learn == "ema",
                sent=code.sent.reshape(-1),
            )
            if kind != KEYFRAME and kind in config.quality.prices and s == POINTING_STAGE:
                book, mean = with_held_group(book, mean, books[s], POINTING_GROUP)
            live = (s < schedule.stages(kind)) & (not config.learn)
            before = (books[s], means[s])
            books[s], means[s] = jax.tree.map(lambda a, b, live=live: jnp.where(live, a, b), (book, mean), before)
            name = f"{kind}_{s + 1}"
            health[f"restarts/{name}"] = jnp.where(live, restarted, 0)
            health[f"batch_perplexity/{name}"] = jnp.where(live, _batch_perplexity(code.indices, book.shape[1]), 0.0)
        codebooks[kind], averages[kind] = tuple(books), tuple(means)
    return codebooks, averages, health


def _batch_perplexity(indices: Int[Array, "*s g"], size: int) -> Float[Array, ""]:
    """Perplexity of the batch's own indices, as a share of the most that so many indices can have."""
    flat = indices.reshape(-1, indices.shape[-1])
    _, perplexity = usage_and_perplexity(batch_counts(flat, size))
    return jnp.mean(perplexity) / min(size, flat.shape[0])


@functools.cache
def make_probe(config: Config, rate: str, layout: Layout | None = None):
    """A forward pass that changes nothing: (state, frames, schedule) -> (x_hat, inputs of each search, last y_hat).

    What it returns every device has whole.
    """
    layout = layout or single()

    def probe(state: TrainState, frames: UInt8[Array, "b t h w 3"], schedule: Schedule):
        x = to_unit(frames)
        costs = index_costs(config, state.codebooks, state.averages)
        chunk = run_chunk(config, state.params, state.codebooks, x, state.carry, rate, schedule, layout, costs)
        z = {k: [_vectors(c.z) for c in codes] for k, codes in chunk.codes.items()}
        return chunk.x_hat, z, chunk.y_hat[:, -1]

    shardings = layout.of_state(jax.eval_shape(lambda: init_state(config)))
    return jax.jit(
        probe,
        compiler_options=compiler_options(layout.platform),
        in_shardings=(shardings, layout.rows, layout.copy),
        out_shardings=layout.copy,
    )


def _vectors(z: Float[Array, "t b h w g d"]) -> Float[Array, "n g d"]:
    return z.astype(jnp.float32).reshape(-1, *z.shape[-2:])
