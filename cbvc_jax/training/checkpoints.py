"""Checkpoints of a training run: Orbax, asynchronous, the last N and the best one.

A save is written beside the others and takes its name when it is whole, and only then is an older one deleted: whatever
stops it, the ones before stay. A checkpoint that cannot be read is put aside, and the one before it is used.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from cbvc_jax.errors import CbvcError
from cbvc_jax.training.sharding import Layout, single
from cbvc_jax.training.state import Config, TrainState, empty_carry, init_state, phases


class CheckpointError(CbvcError):
    """A checkpoint cannot be written, or none of those that are there can be read."""


class Checkpoints:
    """The checkpoints below `workdir/checkpoints`."""

    def __init__(self, workdir: str | Path, config: Config, layout: Layout | None = None):
        self.config, self.layout = config, layout or single()
        self.folder = Path(workdir).resolve() / "checkpoints"
        last = LatestN(n=config.keep_checkpoints)
        best = BestN(get_metric_fn=lambda m: m["score"], n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([last, best]),
            cleanup_tmp_directories=jax.process_count() == 1,
        )
        try:
            self.manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise CheckpointError(f"'{self.folder}' cannot be used for checkpoints: {error}") from error

    def save(self, state: TrainState, score: float | None = None) -> None:
        """Saves in the background; the one with the highest `score` (of those that have one) is kept beside the last.

        Raises:
          CheckpointError: this save cannot start, or the one before has failed.
        """
        step = int(state.step)
        metrics = None if score is None or math.isnan(score) else {"score": score}
        try:
            if self.manager.latest_step() != step:
                args = ocp.args.StandardSave(state)  # pyright: ignore[reportCallIssue]
                self.manager.save(step, args=args, metrics=metrics)
        except Exception as error:  # file systems and Orbax raise many kinds
            raise self._failed(error) from error

    def check(self) -> None:
        """CheckpointError where a save in the background has failed: training on would risk everything since."""
        try:
            self.manager.check_for_errors()
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> CheckpointError:
        kept = ", ".join(map(str, sorted(self.manager.all_steps(read=True)))) or "none"
        reason = str(error).strip().splitlines()
        return CheckpointError(
            f"a checkpoint cannot be written to '{self.folder}': {reason[0][:300] if reason else repr(error)}; "
            f"whole ones there, by step: {kept}"
        )

    def restore_latest(self) -> TrainState | None:
        """The newest state that can be read, laid out as the layout says, or None in a fresh folder.

        One that cannot be read is moved to `workdir/damaged`, with a line in the log.

        Raises:
          CheckpointError: there are checkpoints, and none of them can be read.
        """
        steps = sorted(self.manager.all_steps(read=True), reverse=True)
        first: Exception | None = None
        for step in steps:
            try:
                state = self._restore(step)
            except Exception as error:  # damage shows in as many ways as there are files
                first = first or error
                logging.error("checkpoint %d cannot be read: %s", step, str(error).strip()[:300])
                continue
            self._put_aside([s for s in steps if s > step])
            return state
        if first is not None:
            raise CheckpointError(
                f"none of the checkpoints {steps} in '{self.folder}' fits this configuration and can be read: "
                f"{str(first).strip()[:300]}"
            )
        return None

    def _restore(self, step: int) -> TrainState:
        abstract = jax.eval_shape(lambda: self._state_like(step))
        abstract = jax.tree.map(
            lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, self.layout.of_state(abstract)
        )
        state: Any = self.manager.restore(step, args=ocp.args.StandardRestore(abstract))  # pyright: ignore[reportCallIssue]
        return state

    def _put_aside(self, steps: list[int]) -> None:
        """Moves checkpoints that cannot be read out of the way: their steps come again."""
        if not steps:
            return
        logging.error("going on from the checkpoint before %s", ", ".join(map(str, sorted(steps))))
        aside = self.folder.parent / "damaged"
        if jax.process_index() == 0:
            aside.mkdir(exist_ok=True)
            for step in steps:
                number = sum(1 for _ in aside.glob(f"{step}.*"))
                (self.folder / str(step)).rename(aside / f"{step}.{number}")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints are put aside")
        self.manager.reload()

    def _state_like(self, step: int) -> TrainState:
        """A state in the shapes of `step`: the carried latents have those of the phase that the step ended in."""
        start, phase = 0, phases(self.config)[0]
        for phase in phases(self.config):
            if step <= start + phase.steps:
                break
            start += phase.steps
        return init_state(self.config).replace(carry=empty_carry(self.config, phase))

    def close(self) -> None:
        """Waits for saves under way; CheckpointError where one fails."""
        try:
            self.manager.wait_until_finished()
            self.manager.check_for_errors()
        except Exception as error:
            raise self._failed(error) from error
        finally:
            self.manager.close()
