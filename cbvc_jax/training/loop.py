"""The training run as one page: batches in, steps, codebooks started after a warm-up, metrics and checkpoints out."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path

import jax
import ml_collections
import numpy as np
from jax.experimental import multihost_utils

from cbvc_jax.data.batches import BatchShape, ClipBatches, prefetch
from cbvc_jax.data.clips import Clip, load_all
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.modules.quantizer import STAGES
from cbvc_jax.modules.transforms import to_8bit
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.training.checkpoints import Checkpoints
from cbvc_jax.training.chunk import Schedule
from cbvc_jax.training.sharding import Layout, make_layout
from cbvc_jax.training.start import start_codebooks, start_from_model
from cbvc_jax.training.state import Config, TrainState, empty_carry, init_state, phases
from cbvc_jax.training.step import Metrics, make_probe, make_step
from cbvc_jax.training.watch import Watch


class TrainingError(CbvcError):
    """Training cannot go on: the gradients are not finite."""


def train(config: Config, workdir: str | Path, stop_after_s: float | None = None) -> TrainState:
    """Trains, or goes on with, the run in `workdir` on all devices, and returns the last state.

    SIGTERM and Ctrl-C save a checkpoint and return; so does the end of `stop_after_s` seconds.

    Raises:
      UsageError: there is no data, or the devices do not divide a batch.
      CheckpointError: a checkpoint cannot be written, or none can be read.
      TrainingError: too many steps in a row had a gradient that is not finite or longer than max_norm.
    """
    stop = _Stop(stop_after_s)
    layout = make_layout(config.mesh.fsdp)
    for phase in phases(config):
        layout.check_batch(phase.batch, config.accumulate)
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "done").unlink(missing_ok=True)
    if jax.process_index() == 0:
        (workdir / "config.json").write_text(config.to_json_best_effort(indent=2))
    clips = load_data(config)
    checkpoints = Checkpoints(workdir, config, layout)
    state = checkpoints.restore_latest()
    if state is None:
        state = init_state(config)
        state = layout.place_state(start_from_model(state, config) if config.init_from else state)
    watch = Watch(workdir, config, int(state.step))
    frozen = ml_collections.FrozenConfigDict(config)
    end = 0
    for phase in phases(config):
        start, end = end, end + phase.steps
        if int(state.step) < end and not stop.reason:
            state = _run_phase(state, frozen, phase, start, clips, layout, watch, checkpoints, stop)
    _save(state, watch, checkpoints, quantised=True)
    checkpoints.close()
    watch.close()
    if int(state.step) == end and jax.process_index() == 0:
        (workdir / "done").touch()
    return state


def _run_phase(state, config, phase, start, clips, layout, watch, checkpoints, stop) -> TrainState:
    shape = BatchShape(phase.batch, phase.frames, phase.chunks, phase.crop, phase.still_share)
    batches = ClipBatches(clips, shape, config.seed + start)
    first = int(state.step) - start
    if first == 0:
        state = state.replace(carry=layout.place(empty_carry(config, phase), layout.rows))
    rows = layout.local_rows(phase.batch)
    # Each process makes its own rows of a batch; they are on their way to the devices before the step asks for them.
    workers = config.data.workers
    feed = prefetch(
        lambda n: layout.gather_rows(batches(n, rows), phase.batch), first, phase.steps, 4 * workers, workers
    )
    skipped = 0
    quantised_from = max(phase.key_warmup, phase.predicted_warmup)
    for n in range(first, phase.steps):
        frames = watch.clock.timed("input", next, feed)
        state = _start_due_codebooks(state, config, phase, n, batches, layout)
        rate, schedule = plan_for(config, phase, n)
        step = start + n + 1
        _profile(config, step, watch.workdir)
        state, metrics = watch.clock.timed(
            "step", _finished_step, make_step(config, rate, layout), state, frames, schedule
        )
        watch.add(rate, metrics)
        skipped = skipped + 1 if bool(metrics["skipped"]) else 0
        if skipped >= config.max_skipped:
            raise TrainingError(
                f"step {step}: {skipped} steps in a row had a gradient that is not finite or too long; lower lr"
            )
        if step % config.log_every == 0:
            watch.write(step, state)
            checkpoints.check()
        if step % config.images_every == 0:
            watch.write_images(step, _pairs(state, config, rate, layout, frames))
        stopping = stop.now(step, config.log_every)
        if step % config.checkpoint_every == 0 or stopping:
            _save(state, watch, checkpoints, quantised=n >= quantised_from)
        if stopping:
            logging.info("stopped after step %d (%s); the same command goes on from here", step, stop.reason)
            break
    feed.close()
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


def _finished_step(step, state: TrainState, frames, schedule: Schedule) -> tuple[TrainState, Metrics]:
    state, metrics = step(state, frames, schedule)
    return state, jax.device_get(metrics)


def _start_due_codebooks(state, config, phase, n: int, batches: ClipBatches, layout: Layout) -> TrainState:
    """Codebooks whose warm-up ends with step n start from data; keyframes' first, since predicted frames see them."""
    if phase.key_warmup and n == phase.key_warmup:
        state = start_codebooks(state, config, batches, (KEYFRAME,), layout)
    if phase.predicted_warmup and n == phase.predicted_warmup:
        state = start_codebooks(state, config, batches, tuple(config.rates), layout)
    return state


def load_data(config: Config) -> list[Clip]:
    """Clips of the folders and then of the TFDS data sets that the configuration names.

    Raises:
      UsageError: it names none, or a data set that is not there.
      VideoError: nothing in them can be used.
    """
    data, crop = config.data, max(phase.crop for phase in phases(config))
    if not data.folders and not data.tfds:
        raise UsageError("no training data: set --config.data.folders=DIR (several separated by ':') or data.tfds")
    clips = load_all(data.folders, Path(data.cache).expanduser(), crop) if data.folders else []
    if data.tfds:
        from cbvc_jax.data.tfds.reader import load_prepared

        clips += load_prepared(data.tfds, data.tfds_dir, crop)
    return clips


class _Stop:
    """Why the run is to stop, once it is: a signal, or its time is over. All processes agree on the step."""

    def __init__(self, after_s: float | None):
        self.reason = ""
        self.deadline = time.monotonic() + after_s if after_s else None
        self.alone = jax.process_count() == 1
        if self.alone:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _) -> None:
        self.reason = signal.Signals(number).name

    def now(self, step: int, every: int) -> bool:
        """Whether to stop after `step`; processes compare their clocks every `every` steps."""
        late = self.deadline is not None and time.monotonic() > self.deadline
        if not self.alone:
            if multihost_utils.reached_preemption_sync_point(step):
                self.reason = "SIGTERM"
            if self.deadline is not None:
                late = step % every == 0 and bool(multihost_utils.broadcast_one_to_all(np.array(late)))
        if late:
            self.reason = self.reason or "time is over"
        return bool(self.reason)


def _save(state: TrainState, watch: Watch, checkpoints: Checkpoints, quantised: bool) -> None:
    """A checkpoint; only those that quantise can be the best."""
    score = watch.score()
    watch.keep_window(int(state.step))
    checkpoints.save(state, score if quantised else None)


def _profile(config: Config, step: int, workdir: Path) -> None:
    if config.profile_at and step == config.profile_at:
        jax.profiler.start_trace(str(workdir / "profile"))
    if config.profile_at and step == config.profile_at + config.profile_steps:
        jax.profiler.stop_trace()


def _pairs(state: TrainState, config, rate: str, layout: Layout, frames) -> np.ndarray:
    """The last frame of the first clips above its reconstruction."""
    x_hat, _, _ = make_probe(config, rate, layout)(state, frames, Schedule())
    x = jax.jit(lambda frames: frames[:, -1], out_shardings=layout.copy)(frames)
    return np.concatenate([np.asarray(x[:4]), np.asarray(to_8bit(x_hat[:4, -1]))], axis=1)
