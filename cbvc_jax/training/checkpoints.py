"""Checkpoints of a training run: Orbax, asynchronous, the last N."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from cbvc_jax.training.state import Config, TrainState, config_preset, empty_reference, init_state, phases


class Checkpoints:
    """The checkpoints below `workdir/checkpoints`."""

    def __init__(self, workdir: str | Path, config: Config):
        self.config = config
        options = ocp.CheckpointManagerOptions(max_to_keep=config.keep_checkpoints)
        self.manager = ocp.CheckpointManager(Path(workdir).resolve() / "checkpoints", options=options)

    def save(self, state: TrainState) -> None:
        """Saves in the background; an earlier save that failed raises here."""
        step = int(state.step)
        if self.manager.latest_step() != step:
            self.manager.save(step, args=ocp.args.StandardSave(state))  # pyright: ignore[reportCallIssue]

    def restore_latest(self) -> TrainState | None:
        """The newest state, or None in a fresh folder."""
        step = self.manager.latest_step()
        if step is None:
            return None
        abstract = jax.eval_shape(lambda: self._state_like(step))
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), abstract)
        state: Any = self.manager.restore(step, args=ocp.args.StandardRestore(abstract))  # pyright: ignore[reportCallIssue]
        return state

    def _state_like(self, step: int) -> TrainState:
        """A state in the shapes of `step`: the carried latents have those of the phase that the step ended in."""
        start, phase = 0, phases(self.config)[0]
        for phase in phases(self.config):
            if step <= start + phase.steps:
                break
            start += phase.steps
        return init_state(self.config).replace(y_ref=empty_reference(config_preset(self.config), phase))

    def close(self) -> None:
        """Waits for saves under way."""
        self.manager.wait_until_finished()
        self.manager.close()
