"""TFLite through jax2tf, for LiteRT: one file a kind of frame, for frames of one size."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from cbvc_jax.export.savedmodel import as_function
from cbvc_jax.export.steps import step_arguments, step_kinds
from cbvc_jax.weights import Model


def write(model: Model, folder: Path, size: tuple[int, int] | None) -> dict[str, str]:
    """Writes the programs into `folder`, and returns the file of each kind of frame."""
    programs = {}
    for kind in step_kinds(model):
        function = as_function(model, kind, step_arguments(model, kind, size))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], function)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        programs[kind] = f"{kind}.tflite"
        (folder / programs[kind]).write_bytes(converter.convert())
    return programs
