"""TensorFlow SavedModel through jax2tf with native serialisation: a signature a kind of frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import tensorflow as tf
from jax.experimental import jax2tf

from cbvc_jax.export.manifest import SAVED_MODEL_FOLDER
from cbvc_jax.export.steps import make_step, step_arguments, step_kinds
from cbvc_jax.weights import Model


def write(model: Model, folder: Path, size: tuple[int, int] | None) -> dict[str, str]:
    """Writes the SavedModel below `folder`, and returns the signature of each kind of frame."""
    module = tf.Module()
    signatures = {}
    for kind in step_kinds(model):
        function = as_function(model, kind, step_arguments(model, kind, size), ("cpu", "cuda"))
        setattr(module, kind, function)
        signatures[kind] = function.get_concrete_function()
    tf.saved_model.save(module, str(folder / SAVED_MODEL_FOLDER), signatures=signatures)
    return {kind: kind for kind in signatures}


def as_function(
    model: Model, kind: str, arguments: dict[str, jax.ShapeDtypeStruct], platforms: tuple[str, ...] | None = None
) -> Any:
    """The step of one kind of frame as a tf.function of named arguments, with outputs "x_hat" and "y_hat"."""
    converted = jax2tf.convert(
        jax.jit(make_step(model, kind)),
        polymorphic_shapes=[str(a.shape) for a in arguments.values()],
        native_serialization_platforms=platforms,
        with_gradient=False,
    )

    def step(*tensors):
        x_hat, y_hat = converted(*tensors)
        return {"x_hat": x_hat, "y_hat": y_hat}

    specs = [
        tf.TensorSpec([d if isinstance(d, int) else None for d in a.shape], tf.as_dtype(a.dtype), name=name)
        for name, a in arguments.items()
    ]
    return tf.function(step, input_signature=specs, autograph=False)
