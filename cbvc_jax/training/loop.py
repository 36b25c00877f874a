"""The training run as one page: batches in, steps, codebooks started after a warm-up, metrics and checkpoints out."""

from __future__ import annotations

import json
import logging
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from clu import metric_writers

from cbvc_jax.data.batches import BatchShape, ClipBatches, prefetch
from cbvc_jax.data.clips import Clip, load_clips
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.modules.quantizer import STAGES
from cbvc_jax.modules.transforms import to_8bit
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.training.checkpoints import Checkpoints
from cbvc_jax.training.codebooks import usage_and_perplexity
from cbvc_jax.training.start import start_codebooks
from cbvc_jax.training.state import Config, TrainState, config_preset, empty_reference, init_state, phases
from cbvc_jax.training.step import Metrics, Schedule, make_probe, make_step


class TrainingError(CbvcError):
    """Training cannot go on: the gradients are not finite, or a checkpoint cannot be written."""


def train(config: Config, workdir: str | Path, stop_after_s: float | None = None) -> TrainState:
    """Trains, or goes on with, the run in `workdir`, and returns the last state.

    SIGTERM and Ctrl-C save a checkpoint and return; so does the end of `stop_after_s` seconds.
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(config.to_json_best_effort(indent=2))
    clips = _load_data(config)
    checkpoints = Checkpoints(workdir, config)
    state = checkpoints.restore_latest()
    if state is None:
        state = init_state(config)
    frozen = ml_collections.FrozenConfigDict(config)
    writer = metric_writers.create_default_writer(str(workdir), asynchronous=False)
    deadline = time.monotonic() + stop_after_s if stop_after_s else None
    stop = _stop_on_signals()
    end = 0
    for phase in phases(config):
        start, end = end, end + phase.steps
        if int(state.step) < end and not stop:
            state = _run_phase(state, frozen, phase, start, clips, writer, checkpoints, stop, deadline)
    checkpoints.save(state)
    checkpoints.close()
    writer.close()
    return state


def _run_phase(state, config, phase, start, clips, writer, checkpoints, stop, deadline) -> TrainState:
    shape = BatchShape(phase.batch, phase.frames, phase.chunks, phase.crop, phase.still_share)
    batches = ClipBatches(clips, shape, config.seed + start)
    first = int(state.step) - start
    if first == 0:
        state = state.replace(y_ref=empty_reference(config_preset(config), phase))
    window: list[tuple[str, Metrics]] = []
    skipped, began = 0, time.perf_counter()
    for n, frames in zip(range(first, phase.steps), prefetch(batches, first, phase.steps), strict=True):
        state = _start_due_codebooks(state, config, phase, n, batches)
        rate, schedule = plan_for(config, phase, n)
        state, metrics = make_step(config, rate)(state, frames, schedule)
        window.append((rate, metrics))
        step = start + n + 1
        skipped = skipped + 1 if bool(metrics["skipped"]) else 0
        if skipped >= config.max_skipped:
            raise TrainingError(f"step {step}: {skipped} steps in a row had a gradient that is not finite; lower lr")
        if step % config.log_every == 0:
            seconds = time.perf_counter() - began
            _write_metrics(writer, step, state, window, seconds)
            window, began = [], time.perf_counter()
        if step % config.images_every == 0:
            _write_images(writer, step, state, config, rate, frames)
        stopping = bool(stop) or (deadline is not None and time.monotonic() > deadline)
        if step % config.checkpoint_every == 0 or stopping:
            checkpoints.save(state)
        if stopping:
            stop.append("stopped")
            logging.info("stopped after step %d; the same command goes on from here", step)
            break
    return state


def plan_for(config: Config, phase: Config, n: int) -> tuple[str, Schedule]:
    """Rate and schedule of step n of a phase: sessions take turns through the rates, shifted from chunk to chunk."""
    session, chunk = divmod(n, phase.chunks)
    schedule = Schedule(
        starts=chunk == 0,
        key_stages=0 if n < phase.key_warmup else STAGES,
        predicted_stages=0 if n < phase.predicted_warmup else STAGES,
    )
    return config.rates[(session + chunk) % len(config.rates)] if phase.frames > 1 else config.rates[0], schedule


def _start_due_codebooks(state, config, phase, n: int, batches: ClipBatches) -> TrainState:
    """Codebooks whose warm-up ends with step n start from data; keyframes' first, since predicted frames see them."""
    if phase.key_warmup and n == phase.key_warmup:
        state = start_codebooks(state, config, batches, (KEYFRAME,))
    if phase.predicted_warmup and n == phase.predicted_warmup:
        state = start_codebooks(state, config, batches, tuple(config.rates))
    return state


def _load_data(config: Config) -> list[Clip]:
    if not config.data.folders:
        raise UsageError("no training data: set --config.data.folders=DIR (several separated by ':')")
    crop = max(phase.crop for phase in phases(config))
    cache = Path(config.data.cache).expanduser()
    return [clip for folder in config.data.folders.split(":") for clip in load_clips(folder, cache, crop)]


def _stop_on_signals() -> list[str]:
    """A list that is empty until SIGTERM or SIGINT arrives."""
    received: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _: received.append(signal.Signals(n).name))
    return received


def _write_metrics(writer, step: int, state: TrainState, window: list[tuple[str, Metrics]], seconds: float) -> None:
    """Means over the window: PSNR by kind and position, losses, restarts, usage and perplexity of every codebook."""
    scalars: dict[str, list[float]] = {}
    for rate, m in jax.device_get(window):
        for name in ("loss", "commitment", "misfit", "autoencoding", "grad_norm", "skipped"):
            scalars.setdefault(name, []).append(float(m[name]))
        for name in (k for k in m if k.startswith("restarts/")):
            scalars.setdefault(name, []).append(float(m[name]))
        scalars.setdefault("psnr/key", []).append(float(m["psnr"][0]))
        if len(m["psnr"]) > 1:
            scalars.setdefault(f"psnr/{rate}", []).append(float(m["psnr"][1:].mean()))
    values = {name: float(np.mean(v)) for name, v in scalars.items()}
    values["steps_per_s"] = len(window) / seconds
    for kind, stages in state.averages.items():
        for s, average in enumerate(stages):
            if float(jnp.sum(average.count)):
                usage, perplexity = usage_and_perplexity(average.count)
                values[f"usage/{kind}_{s + 1}"] = float(jnp.mean(usage))
                values[f"perplexity/{kind}_{s + 1}"] = float(jnp.mean(perplexity))
    writer.write_scalars(step, values)
    writer.flush()
    logging.info("step %d %s", step, json.dumps({k: round(v, 4) for k, v in values.items()}))


def _write_images(writer, step: int, state: TrainState, config, rate: str, frames: np.ndarray) -> None:
    """The last frame of the first clips above its reconstruction."""
    x_hat, _, _ = make_probe(config, rate)(state, frames, Schedule())
    pair = np.concatenate([frames[:4, -1], np.asarray(to_8bit(x_hat[:4, -1]))], axis=1)
    writer.write_images(step, {"frame_and_reconstruction": pair})
