"""Starting codebooks from data: k-means over latents, stage after stage, since each codes what the last one left."""

from __future__ import annotations

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np

from cbvc_jax.data.batches import ClipBatches
from cbvc_jax.errors import ModelError
from cbvc_jax.geometry import STAGE_STRIDES
from cbvc_jax.model import Params, quantizer_kinds
from cbvc_jax.modules.quantizer import STAGES
from cbvc_jax.presets import ADDED, KEYFRAME
from cbvc_jax.training.chunk import Schedule
from cbvc_jax.training.codebooks import kmeans, start_averages
from cbvc_jax.training.sharding import Layout, single
from cbvc_jax.training.state import Config, TrainState, config_preset, phases
from cbvc_jax.training.step import make_probe
from cbvc_jax.weights import Model, load_model

START_BATCHES = 1 << 30
"""Batches from here on start codebooks: training never comes that far, so they are not seen twice."""
MAX_VECTORS = 65536
MAX_BATCHES = 200


def start_from_model(state: TrainState, config: Config) -> TrainState:
    """The state with the parameters and codebooks of the model that `config.init_from` names.

    The preset may have what `cbvc_jax.presets.ADDED` names where the model has none: blocks of detail begin as nothing.
    Codewords count as used as the model's tables say, alike where it has none, until batches say otherwise.

    Raises:
      ModelError: there is no such model, or it is of another preset.
    """
    model, preset = with_rates(load_model(config.init_from), config.rates), config_preset(config)
    lacking = dict.fromkeys(name for name in ADDED if getattr(model.preset, name) is None)
    if dataclasses.replace(preset, **lacking) != model.preset:
        raise ModelError(
            f"model '{model.name}' is of preset '{model.preset.name}', and '{preset.name}' as configured differs"
        )
    phase = phases(config)[0]
    averages = {}
    for kind, of_kind in model.codebooks.items():
        frames = phase.batch * (1 if kind == KEYFRAME else max(1, phase.frames - 1))
        vectors = [float(frames * (phase.crop // stride) ** 2) for stride in STAGE_STRIDES]
        usage = model.tables[kind] if model.tables else [None] * STAGES
        averages[kind] = tuple(start_averages(*stage) for stage in zip(of_kind, vectors, usage, strict=True))
    return state.replace(params=_over(state.params, model.params), codebooks=model.codebooks, averages=averages)


def _over(fresh: Params, params: Params) -> Params:
    """The parameters, and fresh ones where there are none."""
    return {
        name: _over(value, params[name]) if name in params and isinstance(value, dict) else params.get(name, value)
        for name, value in fresh.items()
    }


def with_rates(model: Model, rates: tuple[str, ...]) -> Model:
    """The model with these rates alone, in this order: their codebooks, and their rows of what layers keep by kind."""
    missing = [rate for rate in rates if rate not in model.preset.rates]
    if missing:
        raise ModelError(f"model '{model.name}' has no rate {', '.join(missing)}: training cannot start from it")
    preset = model.preset.with_rates(*rates)
    params = dict(model.params)
    for network, have in quantizer_kinds(model.preset).items():
        rows = np.array([have.index(kind) for kind in quantizer_kinds(preset)[network]])
        params[network] = {
            name: jax.tree.map(lambda value, rows=rows: value[rows], part) if "affines" in name else part
            for name, part in params[network].items()
        }
    books = {kind: model.codebooks[kind] for kind in (KEYFRAME, *rates)}
    return dataclasses.replace(model, preset=preset, params=params, codebooks=books)


def start_codebooks(
    state: TrainState, config: Config, batches: ClipBatches, kinds: tuple[str, ...], layout: Layout | None = None
) -> TrainState:
    """The state with the codebooks of `kinds` started from latents of fresh sessions.

    Every process gathers the same latents of whole batches and computes the same codebooks from them.
    """
    layout = layout or single()
    codebooks, averages = dict(state.codebooks), dict(state.averages)
    for kind in kinds:
        for s in range(STAGES):
            z, per_step = _gather(state.replace(codebooks=codebooks), config, batches, kind, s, layout)
            size = codebooks[kind][s].shape[1]
            rng = jax.random.fold_in(np.asarray(state.rng), START_BATCHES + s)
            books = [kmeans(jax.random.fold_in(rng, g), jnp.asarray(z[:, g]), size) for g in range(z.shape[1])]
            stacked = jnp.stack(books)
            book, average = layout.place((stacked, start_averages(stacked, per_step)), layout.copy)
            codebooks[kind] = (*codebooks[kind][:s], book, *codebooks[kind][s + 1 :])
            averages[kind] = (*averages[kind][:s], average, *averages[kind][s + 1 :])
            logging.info("codebook %s, stage %d: %d codewords from %d latents", kind, s + 1, size, len(z))
    return state.replace(codebooks=codebooks, averages=averages)


def _gather(
    state: TrainState, config: Config, batches: ClipBatches, kind: str, stage: int, layout: Layout
) -> tuple[np.ndarray, float]:
    """Inputs [n, groups, d] of one stage's search with the stages before it quantised, and how many a step gives."""
    schedule = Schedule(True, stage, STAGES) if kind == KEYFRAME else Schedule(True, STAGES, stage)
    probe = make_probe(config, config.rates[0] if kind == KEYFRAME else kind, layout)
    wanted = min(MAX_VECTORS, config.codebook.start_vectors * state.codebooks[kind][stage].shape[1])
    gathered: list[np.ndarray] = []
    chunks = batches.shape.chunks
    for i in range(MAX_BATCHES):
        frames = layout.place(batches((START_BATCHES // chunks + i) * chunks), layout.rows)
        _, z, _ = probe(state, frames, schedule)
        gathered.append(np.asarray(z[kind][stage]))
        if sum(map(len, gathered)) >= wanted:
            break
    return np.concatenate(gathered)[: max(wanted, 1)], float(len(gathered[0]))
