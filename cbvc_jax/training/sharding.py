"""Where a training run's arrays lie: a mesh of devices with named axes, and the sharding of every array of a step.

    devices, data x fsdp        batch: rows over both axes        parameters, optimiser: a slice an "fsdp" member,
                                                                  a copy a "data" member
                                codebooks, averages, metrics: a copy on every device

A step is one program for all devices (`jax.jit` with these shardings in and out), so what it computes from the batch,
the statistics of codebooks and their restarts included, is of the global batch however many devices share it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cbvc_jax.errors import UsageError

DATA, FSDP = "data", "fsdp"
ROWS = P((DATA, FSDP))
"""The batch axis lies over the whole mesh."""
COPY = P()
MIN_SLICED = 1 << 14
"""Arrays with fewer numbers are copied: a collective costs more than the memory is worth."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """A mesh with the axes "data" and "fsdp", and what follows from it."""

    mesh: Mesh

    @property
    def devices(self) -> int:
        """Devices that share a batch."""
        return self.mesh.size

    @property
    def platform(self) -> str:
        """What the devices are, as JAX names it."""
        return self.mesh.devices.flat[0].platform

    @property
    def rows(self) -> NamedSharding:
        """Sharding of arrays whose first axis is the batch."""
        return NamedSharding(self.mesh, ROWS)

    @property
    def copy(self) -> NamedSharding:
        """Sharding of what every device has."""
        return NamedSharding(self.mesh, COPY)

    def sliced(self, array: Any) -> NamedSharding:
        """Sharding of a parameter or of a moment of it: its longest axis that can be divided, over "fsdp"."""
        parts, shape = self.mesh.shape[FSDP], np.shape(array)
        axes = [a for a in range(len(shape)) if shape[a] % parts == 0]
        if parts == 1 or not axes or np.prod(shape) < MIN_SLICED:
            return self.copy
        axis = max(axes, key=lambda a: shape[a])
        return NamedSharding(self.mesh, P(*(FSDP if a == axis else None for a in range(len(shape)))))

    def of_state(self, state: Any) -> Any:
        """Shardings of a TrainState, in its own structure."""
        copied = jax.tree.map(lambda _: self.copy, state)
        return copied.replace(
            params=jax.tree.map(self.sliced, state.params),
            opt_state=jax.tree.map(self.sliced, state.opt_state),
            carry=jax.tree.map(lambda _: self.rows, state.carry),
        )

    def place(self, tree: Any, shardings: Any) -> Any:
        """Arrays of the host, the same in every process, laid out as `shardings` says (one, or one an array)."""
        if isinstance(shardings, NamedSharding):
            shardings = jax.tree.map(lambda _: shardings, tree)
        return jax.tree.map(_place, tree, shardings)

    def place_state(self, state: Any) -> Any:
        """A TrainState of the host, or one laid out for one device, on the whole mesh."""
        return self.place(state, self.of_state(state))

    def local_rows(self, batch: int) -> tuple[int, int]:
        """First row of a batch that this process makes, and the one after its last."""
        spans = [s[0].indices(batch)[:2] for s in self.rows.addressable_devices_indices_map((batch,)).values() if s]
        return min(first for first, _ in spans), max(last for _, last in spans)

    def gather_rows(self, local: np.ndarray, batch: int) -> jax.Array:
        """The global batch from the rows that this process has made."""
        return jax.make_array_from_process_local_data(self.rows, local, (batch, *local.shape[1:]))

    def row_by_row(self, function: Callable, out_specs: Any) -> Callable:
        """`function(shared, rows)` run by each device on its own rows, with nothing said between devices.

        The gradient of what is shared is summed over devices once, at the very end, in its own precision.
        """
        if self.devices == 1:
            return function

        def local(shared, rows):
            return function(jax.lax.pcast(shared, (DATA, FSDP), to="varying"), rows)

        return jax.shard_map(local, mesh=self.mesh, in_specs=(COPY, ROWS), out_specs=out_specs)

    def check_batch(self, batch: int, accumulate: int) -> None:
        """UsageError where devices and parts do not divide a batch evenly."""
        if batch % (self.devices * accumulate):
            raise UsageError(
                f"a batch of {batch} cannot be shared by {self.devices} devices in {accumulate} part(s): "
                f"make it a multiple of {self.devices * accumulate}"
            )


def make_layout(fsdp: int = 1, devices: Sequence[Any] | None = None) -> Layout:
    """A layout over `devices` (all, if None), `fsdp` of which share one copy of the parameters.

    Raises:
      UsageError: `fsdp` does not divide the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise UsageError(f"mesh.fsdp = {fsdp} does not divide the {len(devices)} devices")
    shape = (len(devices) // fsdp, fsdp)
    return Layout(jax.make_mesh(shape, (DATA, FSDP), axis_types=(AxisType.Auto,) * 2, devices=devices))


@functools.cache
def single() -> Layout:
    """The layout of one device."""
    return make_layout(devices=jax.local_devices()[:1])


def _place(array: Any, sharding: NamedSharding) -> jax.Array:
    # An array that lies right by another kind of sharding is made anew all the same: `jit` compiles once more for it.
    if isinstance(array, jax.Array) and array.sharding == sharding and array.committed:
        return array
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
