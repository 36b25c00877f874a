"""TensorFlow SavedModel through jax2tf with native serialisation: a signature a kind of frame."""

from __future__ import annotations

from pathlib import Path

import jax
import tensorflow as tf
from jax.experimental import jax2tf

from cbvc_jax.export.steps import make_step, step_arguments, step_kinds
from cbvc_jax.weights import Model

FOLDER = "saved_model"


def write(model: Model, folder: Path, size: tuple[int, int] | None) -> dict[str, str]:
    """Writes the SavedModel below `folder`, and returns the signature of each kind of frame."""
    module = tf.Module()
    signatures = {}
    for kind in step_kinds(model):
        arguments = step_arguments(model, kind, size)
        shapes = [str(a.shape) for a in arguments.values()]
        converted = jax2tf.convert(
            jax.jit(make_step(model, kind)),
            polymorphic_shapes=shapes,
            native_serialization_platforms=("cpu", "cuda"),
            with_gradient=False,
        )
        specs = [_spec(name, a) for name, a in arguments.items()]
        # A dictionary of outputs gives them names in the signature.
        function = tf.function(_named(converted), input_signature=specs, autograph=False)
        setattr(module, kind, function)
        signatures[kind] = function.get_concrete_function()
    tf.saved_model.save(module, str(folder / FOLDER), signatures=signatures)
    return {kind: kind for kind in signatures}


def _named(converted):
    def step(*arguments):
        x_hat, y_hat = converted(*arguments)
        return {"x_hat": x_hat, "y_hat": y_hat}

    return step


def _spec(name: str, argument: jax.ShapeDtypeStruct) -> tf.TensorSpec:
    shape = [d if isinstance(d, int) else None for d in argument.shape]
    return tf.TensorSpec(shape, tf.as_dtype(argument.dtype), name=name)
