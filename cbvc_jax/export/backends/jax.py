"""JAX with the model's own code: the reference of every comparison."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp

from cbvc_jax.export.backends import Steps, as_steps
from cbvc_jax.export.steps import make_step, step_kinds
from cbvc_jax.weights import Model, load_model


def load(model: Model | str | Path, rounded_to: str | None = None) -> Steps:
    """The steps of every kind of frame; `rounded_to` "bfloat16" or "float16" rounds parameters and codebooks."""
    model = model if isinstance(model, Model) else load_model(model)
    if rounded_to is not None:
        tensors = (model.params, model.codebooks)
        params, codebooks = jax.tree.map(lambda a: jnp.asarray(a, rounded_to).astype(jnp.float32), tensors)
        model = dataclasses.replace(model, params=params, codebooks=codebooks)
    return as_steps({kind: jax.jit(make_step(model, kind)) for kind in step_kinds(model)})
