"""A SavedModel in plain TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from cbvc_jax.errors import ModelError
from cbvc_jax.export.backends import Steps
from cbvc_jax.export.manifest import SAVED_MODEL_FOLDER, Manifest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf


def load(folder: Path, manifest: Manifest) -> Steps:
    """The steps of every kind of frame."""
    module: Any = tf.saved_model.load(str(folder / SAVED_MODEL_FOLDER))
    programs = {kind: module.signatures[name] for kind, name in manifest.programs.items()}

    def run(kind: str, arguments: dict[str, Any]) -> tuple[np.ndarray, Any]:
        try:
            out = programs[kind](**{name: tf.convert_to_tensor(a) for name, a in arguments.items()})
        except tf.errors.InvalidArgumentError as error:
            if "deserialize" not in str(error):
                raise
            raise ModelError(
                f"TensorFlow {tf.__version__} cannot read what JAX {manifest.versions.get('jax')} wrote for frames of "
                "any size: export for one size, with --size"
            ) from None
        # Signatures of a model that was loaded lose it, and the model with it, unless something holds both.
        run.module = module  # pyright: ignore[reportFunctionMemberAccess]
        return out["x_hat"].numpy(), out["y_hat"]

    return run
