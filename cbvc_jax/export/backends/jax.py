"""JAX with the model's own code: the reference of every comparison."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cbvc_jax.errors import UsageError
from cbvc_jax.export.backends import Steps, as_steps
from cbvc_jax.export.manifest import REFERENCE_NAMES
from cbvc_jax.export.steps import make_step, step_arguments, step_kinds
from cbvc_jax.weights import Model, load_model


def load(model: Model | str | Path, rounded_to: str | None = None, devices: int = 1) -> Steps:
    """The steps of every kind of frame.

    Args:
      model: from `load_model`, or what that takes.
      rounded_to: "bfloat16" or "float16": parameters and codebooks are rounded to it.
      devices: how many processors of JAX's platform "cpu" share a frame: each computes an equal share of the rows of
        y_hat and x_hat, and they exchange the rows that convolutions and attention need beyond. With 1, JAX's default.

    Raises:
      UsageError: JAX has fewer devices.
    """
    model = model if isinstance(model, Model) else load_model(model)
    if rounded_to is not None:
        tensors = (model.params, model.codebooks)
        params, codebooks = jax.tree.map(lambda a: jnp.asarray(a, rounded_to).astype(jnp.float32), tensors)
        model = dataclasses.replace(model, params=params, codebooks=codebooks)
    if devices == 1:
        return as_steps({kind: jax.jit(make_step(model, kind)) for kind in step_kinds(model)})
    return as_steps({kind: sharded_step(model, kind, devices) for kind in step_kinds(model)})


def sharded_step(model: Model, kind: str, devices: int) -> jax.stages.Wrapped:
    """The step of one kind of frame on `devices` processors, as `load` says: a jitted function of its arguments."""
    cpus = jax.devices("cpu")[:devices]
    if len(cpus) < devices:
        raise UsageError(
            f"{devices} devices were asked for, and JAX has {len(cpus)}: "
            f"set XLA_FLAGS=--xla_force_host_platform_device_count={devices}"
        )
    mesh = Mesh(np.array(cpus), ("rows",))
    # Latents have 8 rows for each 64 of the padded frame, so that eight devices always get whole ones.
    rows, whole = NamedSharding(mesh, PartitionSpec(None, "rows")), NamedSharding(mesh, PartitionSpec())
    names = step_arguments(model, kind, None)
    shardings = tuple(rows if name == REFERENCE_NAMES[0] else whole for name in names)
    return jax.jit(make_step(model, kind), in_shardings=shardings, out_shardings=(rows, rows))
